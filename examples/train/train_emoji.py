"""Trains `emoji`: emoji from a prompt, in three styles, by a stock PixArtAlphaPipeline, 256 tokens.

python examples/train/train_emoji.py --compile
"""

from pathlib import Path

import torch
from common import emoji_data, emoji_parts, export, subjects, text, vae
from common.flow import Flow, compile_blocks, fit, start_single
from common.loop import Stage, accelerator
from common.options import parse
from common.patches import Watcher, distance, refine
from diffusers import PixArtAlphaPipeline, PixArtTransformer2DModel
from transformers import PreTrainedTokenizerFast, T5EncoderModel

WIDTH = 192  # of the text encoder
ANCHOR = 20.0  # keeps the words where an earlier pipeline had them, which training can then go on from
FOLLOW_UNTIL = 0.6  # of the fine steps
FINE = 1 / 3  # as many steps on 256 tokens as on 64
CYCLES = 2  # of the learning rate, on 64 tokens
OFTEN = 3  # times as often are noto and twemoji shown, which are drawn of a sixth of the emoji only


def build(patch: int, layers: int = 6, heads: int = 4) -> PixArtTransformer2DModel:
    """Width 256; 16 x 16 latents in patches. At the start every block passes its input on and the output is zero."""
    torch.manual_seed(2)
    model = PixArtTransformer2DModel(
        num_attention_heads=heads, attention_head_dim=64, in_channels=4, out_channels=4, num_layers=layers,
        cross_attention_dim=64 * heads, sample_size=16, patch_size=patch, caption_channels=WIDTH,
        use_additional_conditions=False, interpolation_scale=2 // patch,  # a place in the picture has one position
    )  # fmt: skip
    return start_single(model)


class Objective(Flow):
    """Rectified flow on latents with captions."""

    def __init__(self, model, latents, captions: torch.Tensor, encoder: T5EncoderModel, batch: int, often):
        super().__init__(model, latents, batch, often)
        empty = torch.zeros_like(captions[0, 0])
        empty[0] = 1
        self.encoder = encoder
        self.register_buffer("captions", captions, persistent=False)
        self.register_buffer("empty", empty, persistent=False)

    def condition(self, index: torch.Tensor, drop: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        variant = torch.randint(self.captions.shape[1], index.shape, device=index.device)
        ids = torch.where(drop[:, None], self.empty, self.captions[index, variant])
        mask = (ids != 0).long()
        with torch.no_grad():
            return self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask

    def velocity(self, x: torch.Tensor, t: torch.Tensor, condition) -> torch.Tensor:
        return self.ask(self.model, x, t, condition)

    def ask(self, model, x: torch.Tensor, t: torch.Tensor, condition) -> torch.Tensor:
        """What a transformer predicts."""
        states, mask = condition
        return model(
            x, encoder_hidden_states=states, encoder_attention_mask=mask.to(x.dtype), timestep=1000 * t,
            return_dict=False,
        )[0]  # fmt: skip


class Following(Objective):
    """The fine model at first also follows the coarse one, block by block, at the same noisy latents."""

    def __init__(self, model, coarse: PixArtTransformer2DModel, *data):
        super().__init__(model, *data)
        self.coarse = coarse.requires_grad_(False)
        self.own, self.led = (Watcher(part.transformer_blocks) for part in (model, coarse))

    def forward(self, share: float) -> torch.Tensor:
        self.own.outputs.clear()
        self.led.outputs.clear()
        self.weight = max(0.0, 1 - share / FOLLOW_UNTIL)
        loss = super().forward(share)
        return loss + self.weight * distance(self.own.outputs, self.led.outputs) if self.weight else loss

    def velocity(self, x: torch.Tensor, t: torch.Tensor, condition) -> torch.Tensor:
        if torch.is_grad_enabled() and self.weight:
            with torch.no_grad():
                self.ask(self.coarse, x, t, condition)
        return super().velocity(x, t, condition)


@torch.no_grad()
def words_of(folder: Path, tokenizer: PreTrainedTokenizerFast, encoder: T5EncoderModel) -> None:
    """Gives the words that an earlier pipeline knows the vectors they have there."""
    known = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer").get_vocab()
    table = T5EncoderModel.from_pretrained(folder / "text_encoder").shared.weight
    for word, i in tokenizer.get_vocab().items():
        if word in known:
            encoder.shared.weight[i] = table[known[word]]


def train_transformer(options, latents, captions, encoder, often, machine) -> tuple[PixArtTransformer2DModel, dict]:
    """First on patches of 2 x 2 latents, then on single ones."""
    coarse, fine = (build(patch).to(machine.device) for patch in (2, 1))
    if options.init_from:
        coarse.load_state_dict(
            PixArtTransformer2DModel.from_pretrained(options.init_from / "transformer").state_dict()
        )
    done = {}
    for name, model, steps, cycles in (
        ("coarse", coarse, options.steps, CYCLES), ("fine", fine, max(1, round(options.steps * FINE)), 1),
    ):  # fmt: skip
        if model is fine:
            refine(coarse, fine, "proj_out")
        if options.compile:
            compile_blocks(model.transformer_blocks)
        parts = (latents, captions, encoder, options.batch, often)
        objective = Objective(model, *parts) if model is coarse else Following(model, coarse, *parts)
        objective = objective.to(machine.device)
        stage = Stage(f"emoji-{name}", steps, options.lr, cycles, seed=options.seed)
        done[name] = fit(objective, stage, machine, options.checkpoints)
    return fine, done


def main() -> None:
    options = parse(
        __doc__, out="pipelines/emoji", steps=6000, batch=32, lr=5e-4, text_steps=1500, init_from=True
    )  # fmt: skip
    machine = accelerator()
    data = emoji_data.load(options.data / "emoji.npz")
    pictures = emoji_parts.Pictures.of(data, subjects.COMMON)
    autoencoder = emoji_parts.autoencoder(options.vae).to(machine.device)
    tokenizer, encoder = emoji_parts.dictionary(data, WIDTH, silent=(emoji_data.DEFAULT_STYLE, "style"))
    if options.init_from:
        words_of(options.init_from, tokenizer, encoder)
    captions = text.caption_table(pictures.wording, tokenizer)
    vectors = emoji_parts.clip_vectors(options.clip, pictures.images)
    encoder, first = emoji_parts.taught(
        encoder, tokenizer, "t5", captions, vectors, options, machine, masked=True, anchor=ANCHOR
    )
    latents = vae.encode(autoencoder, vae.to_pixels(pictures.images, machine.device))
    often = torch.tensor([1.0 if style == emoji_data.DEFAULT_STYLE else OFTEN for _, style in pictures.wording])
    model, then = train_transformer(options, latents, captions, encoder, often, machine)
    if machine.is_main_process:
        pipe = PixArtAlphaPipeline(
            tokenizer=tokenizer, text_encoder=encoder, vae=autoencoder, transformer=model,
            scheduler=export.scheduler(),
        )  # fmt: skip
        export.save(options.out, pipe, **emoji_parts.lists(data, pictures, subjects.COMMON))
        export.write_training(options.out, {"t5": first, **then})


if __name__ == "__main__":
    main()
