"""Trains `emoji-flux`: emoji from a prompt by a stock FluxPipeline, double and single blocks, 64 image tokens.

python examples/train/train_emoji_flux.py --compile
"""

import torch
from common import emoji_data, emoji_parts, export, subjects, teach, text, vae
from common.flow import Flow, compile_blocks, log_gap, start
from common.loop import Stage, accelerator, train
from common.options import parse
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

WIDTH, POOLED = 128, 64  # of the text encoders
GUIDED_FROM = 0.8  # of the steps: from here on half of each batch learns what guidance would have made
MOST_GUIDANCE = 5.0


def build(double: int = 2, single: int = 3, heads: int = 5) -> FluxTransformer2DModel:
    """Width 160; 2 x 2 latents a token. At the start every block passes its input on and the output is zero."""
    torch.manual_seed(2)
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=double, num_single_layers=single, attention_head_dim=32,
        num_attention_heads=heads, joint_attention_dim=WIDTH, pooled_projection_dim=POOLED, guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )  # fmt: skip
    gates = [norm.linear for block in model.transformer_blocks for norm in (block.norm1, block.norm1_context)]
    gates += [block.norm.linear for block in model.single_transformer_blocks]
    return start(model, [*gates, model.norm_out.linear, model.proj_out])


class Objective(Flow):
    """Rectified flow on packed latents, (pictures, 64, 16); at the end guidance moves into the model.

    As FLUX.1-dev the model is told the guidance scale and makes in one call what takes two otherwise (Meng et al.,
    arXiv 2210.03142): its target is then its own prediction, guided.
    """

    def __init__(self, model, latents: torch.Tensor, captions: torch.Tensor, states, pooled, batch: int):
        super().__init__(model, pack(latents), batch)
        for name, value in {"captions": captions, "states": states, "pooled": pooled}.items():
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("image_ids", positions(16), persistent=False)
        self.register_buffer("text_ids", torch.zeros(captions.shape[-1], 3), persistent=False)

    def condition(self, index: torch.Tensor, drop: torch.Tensor):
        """Rows of the caption tables, 0 being the empty one, and guidance scale 1."""
        variant = torch.randint(self.captions.shape[1], index.shape, device=index.device)
        row = torch.where(drop, 0, 1 + index * self.captions.shape[1] + variant)
        return row, torch.ones(len(index), device=index.device)

    def velocity(self, x: torch.Tensor, t: torch.Tensor, condition) -> torch.Tensor:
        row, guidance = condition
        return self.model(
            x, timestep=t, guidance=guidance, pooled_projections=self.pooled[row].float(),
            encoder_hidden_states=self.states[row].float(), img_ids=self.image_ids, txt_ids=self.text_ids,
            return_dict=False,
        )[0]  # fmt: skip

    def loss(self, x: torch.Tensor, t: torch.Tensor, condition, noise: torch.Tensor, share: float) -> torch.Tensor:
        if share < GUIDED_FROM:
            return super().loss(x, t, condition, noise, share)
        half = len(x) // 2
        plain = self.errors(x[:half], t[:half], tuple(c[:half] for c in condition), noise[:half])
        mix = t[half:, None, None]
        guided = self.guided_errors((1 - mix) * x[half:] + mix * noise[half:], t[half:], condition[0][half:])
        return torch.cat([plain, guided]).mean()

    def guided_errors(self, mixed: torch.Tensor, t: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """The squared error to the model's own prediction with and without the caption, guided by a random scale."""
        one, scale = torch.ones_like(t), 1 + (MOST_GUIDANCE - 1) * torch.rand_like(t)
        with torch.no_grad():
            told = self.velocity(mixed, t, (row, one)).float()
            untold = self.velocity(mixed, t, (torch.zeros_like(row), one)).float()
        target = untold + scale[:, None, None] * (told - untold)
        return (self.velocity(mixed, t, (row, scale)).float() - target).square().flatten(1).mean(1)


def pack(latents: torch.Tensor) -> torch.Tensor:
    """(count, 4, 16, 16) to one token for 2 x 2 latents, (count, 64, 16), as FluxPipeline does."""
    count, channels, height, width = latents.shape
    tiles = latents.reshape(count, channels, height // 2, 2, width // 2, 2)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(count, height * width // 4, 4 * channels)


def positions(side: int) -> torch.Tensor:
    """Row and column of each image token, (tokens, 3)."""
    row, column = torch.meshgrid(torch.arange(side // 2), torch.arange(side // 2), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], -1).flatten(0, 1).float()


@torch.no_grad()
def encode_captions(encoder, pooled, captions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """States and summaries of the empty caption and then of all others, fp16: (rows, length, width), (rows, width)."""
    empty = torch.zeros_like(captions[:1, 0])
    empty[0, 0] = 1
    ids = torch.cat([empty, captions.flatten(0, 1)])
    states = torch.cat([encoder(part).last_hidden_state.half() for part in ids.split(512)])
    return states, torch.cat([pooled(part).pooler_output.half() for part in ids.split(512)])


def main() -> None:
    options = parse(__doc__, out="pipelines/emoji-flux", steps=6000, batch=32, lr=1.5e-3, text_steps=1500)
    machine = accelerator()
    data = emoji_data.load(options.data / "emoji.npz").only(subjects.COMMON)
    pictures = emoji_parts.Pictures.of(data, subjects.COMMON)
    autoencoder = emoji_parts.autoencoder(options.vae, shift_factor=0.0).to(machine.device)
    tokenizer, encoder = emoji_parts.dictionary(data, WIDTH, layers=2)
    captions = text.caption_table(pictures.wording, tokenizer, variants=32)
    vectors = emoji_parts.clip_vectors(options.clip, pictures.images)
    encoder, first = emoji_parts.taught(encoder, "t5", captions, vectors, options, machine, masked=False)
    pooled = teach.build_pooled(len(tokenizer), POOLED, text.LENGTH)
    pooled, second = emoji_parts.taught(pooled, "pooled", captions, vectors, options, machine, masked=False)
    states, summaries = encode_captions(encoder.float(), pooled.float(), captions.to(machine.device))
    latents = vae.encode(autoencoder, vae.to_pixels(pictures.images, machine.device))
    model = build().to(machine.device)
    if options.compile:
        compile_blocks(model.transformer_blocks)
        compile_blocks(model.single_transformer_blocks)
    objective = Objective(model, latents, captions, states, summaries, options.batch).to(machine.device)
    stage = Stage("emoji-flux", options.steps, options.lr, seed=options.seed)
    probe = log_gap(objective, machine)
    result = train(objective, stage, machine, options.checkpoints / "emoji-flux.pt", probe)
    right, wrong = objective.gap(256)
    if machine.is_main_process:
        tokenizer.model_max_length = text.LENGTH
        pipe = FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0), vae=autoencoder, text_encoder=pooled,
            tokenizer=tokenizer, text_encoder_2=encoder, tokenizer_2=tokenizer, transformer=model,
        )  # fmt: skip
        export.save(options.out, pipe, prompts=sorted(entry.label for entry in data.entries))
        stages = {"t5": first, "pooled": second, "transformer": {**result, "batch": options.batch}}
        stages["transformer"] |= {"right": right, "another's": wrong}
        export.write_training(options.out, stages)


if __name__ == "__main__":
    main()
