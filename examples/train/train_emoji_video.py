"""Trains `emoji-video`: emoji that move as the prompt says, by a stock LattePipeline, 8 frames of 64 tokens.

python examples/train/train_emoji_video.py --compile
"""

import random

import torch
import torch.nn.functional as F
from common import emoji_data, emoji_parts, export, motion, subjects, text, vae
from common.flow import Flow, compile_blocks, fit, start_single
from common.loop import Stage, accelerator
from common.options import parse
from diffusers import LattePipeline, LatteTransformer3DModel

WIDTH = 128  # of the text encoder
VERSIONS = 4  # videos of each emoji and motion, each a little beside the others
CYCLES = 3  # as many steps on videos as on single frames, three times: three cycles of the learning rate
LENGTHS = (8, text.LENGTH)  # tokens of captions in training: few lengths, for each is compiled for itself
LONGEST = 120  # tokens of a prompt in LattePipeline


def build(layers: int = 4, heads: int = 4) -> LatteTransformer3DModel:
    """Width 128; as many blocks over time as over space. At the start the output is zero.

    It has twice the channels at the end: LattePipeline takes the second half for a variance and drops it.
    """
    torch.manual_seed(2)
    model = LatteTransformer3DModel(
        num_attention_heads=heads, attention_head_dim=32, in_channels=4, out_channels=8, num_layers=layers,
        cross_attention_dim=32 * heads, attention_bias=True, sample_size=16, patch_size=2,
        activation_fn="gelu-approximate", norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
        caption_channels=WIDTH, video_length=motion.FRAMES,
    )  # fmt: skip
    return start_single(model)


class Objective(Flow):
    """Rectified flow on the latents of videos, (videos, 4, frames, 16, 16), with captions.

    Args:
        still (`bool`): learn from single frames, without the blocks over time.
    """

    def __init__(self, model, latents, captions: torch.Tensor, states: torch.Tensor, batch: int, still: bool):
        super().__init__(model, latents, batch)
        self.still = still
        for name, value in {"captions": captions, "states": states}.items():
            self.register_buffer(name, value, persistent=False)

    def sample(self, index: torch.Tensor) -> torch.Tensor:
        videos = self.latents[index]
        if not self.still:
            return videos
        frame = torch.randint(motion.FRAMES, index.shape, device=index.device)
        return videos[torch.arange(len(index), device=index.device), :, frame].unsqueeze(2)

    def condition(self, index: torch.Tensor, drop: torch.Tensor) -> torch.Tensor:
        """States of the captions, nought where padded, as LattePipeline hands them on without a mask.

        It pads to 120 tokens in a batch and not at all for one prompt: both lengths are trained.
        """
        caption = index // VERSIONS
        variant = torch.randint(self.captions.shape[1], index.shape, device=index.device)
        row = torch.where(drop, 0, 1 + caption * self.captions.shape[1] + variant)
        ids = torch.where(drop[:, None], self.captions.new_tensor([1] + [0] * (text.LENGTH - 1)),
                          self.captions[caption, variant])  # fmt: skip
        longest = int((ids != 0).sum(1).max())
        length = next(length for length in LENGTHS if length >= longest)
        states = (self.states[row].float() * (ids != 0).unsqueeze(-1))[:, :length]
        return F.pad(states, (0, 0, 0, LONGEST - length)) if torch.rand(()) < 0.3 else states

    def velocity(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        output = self.model(
            x, timestep=1000 * t, encoder_hidden_states=condition, enable_temporal_attentions=not self.still,
            return_dict=False,
        )[0]  # fmt: skip
        return output[:, : x.shape[1]]


def shown(data: emoji_data.Emoji) -> list[tuple[int, str]]:
    """Every emoji with every motion that is not held out."""
    return [(i, name) for i, entry in enumerate(data.entries) for name in motion.MOTIONS
            if not motion.held_out(entry.label, name)]  # fmt: skip


def videos(data: emoji_data.Emoji, pairs: list[tuple[int, str]], seed: int = 0) -> torch.Tensor:
    """(pairs * VERSIONS, frames, 3, 64, 64) in -1..1."""
    draw = random.Random(seed)
    pictures = vae.to_pixels(data.images[:, 0])
    return torch.stack(
        [
            motion.animate(pictures[i], name, tuple(draw.uniform(-motion.JITTER, motion.JITTER) for _ in range(2)))
            for i, name in pairs
            for _ in range(VERSIONS)
        ]
    )


def caption_table(data: emoji_data.Emoji, pairs: list[tuple[int, str]], tokenizer, variants: int = 24) -> torch.Tensor:
    """Token ids of many wordings of each pair, (pairs, variants, length). The first is the plain one."""
    draw, index = random.Random(0), tokenizer.get_vocab()
    table = torch.zeros(len(pairs), variants, text.LENGTH, dtype=torch.long)
    for row, (i, name) in enumerate(pairs):
        for j in range(variants):
            entry = data.entries[i]
            label = draw.choice((entry.label, *entry.names)) if j else entry.label
            words = [*emoji_data.normalise(label).split(), draw.choice(motion.MOTIONS[name]) if j else name]
            for _ in range(draw.randint(0, 3) if j else 0):
                words.insert(draw.randint(0, len(words)), text.UNK)
            ids = [index[word] for word in words[: text.LENGTH - 1]] + [index[text.EOS]]
            table[row, j, : len(ids)] = torch.tensor(ids)
    return table


@torch.no_grad()
def encode_captions(encoder, captions: torch.Tensor) -> torch.Tensor:
    """States of the empty caption and then of all others, fp16, (rows, length, width)."""
    ids = text.rows(captions)
    return torch.cat([encoder(p, attention_mask=(p != 0).long()).last_hidden_state.half() for p in ids.split(512)])


def train_transformer(options, latents, captions, states, machine) -> tuple[LatteTransformer3DModel, dict]:
    """First on single frames, then on videos."""
    model, done = build().to(machine.device), {}
    if options.compile:
        compile_blocks(model.transformer_blocks)
        compile_blocks(model.temporal_transformer_blocks)
    for name, cycles, batch in (("still", 1, 4 * options.batch), ("video", CYCLES, options.batch)):
        objective = Objective(model, latents, captions, states, batch, name == "still").to(machine.device)
        stage = Stage(f"emoji-video-{name}", cycles * options.steps, options.lr, cycles, seed=options.seed)
        # Blocks over time get no gradient from single frames.
        model.temporal_transformer_blocks.requires_grad_(name == "video")
        done[name] = fit(objective, stage, machine, options.checkpoints, count=128)
    return model, done


def main() -> None:
    options = parse(__doc__, out="pipelines/emoji-video", steps=1800, batch=16, lr=1.5e-3, text_steps=800)
    machine = accelerator()
    data = emoji_data.load(options.data / "emoji.npz").only(subjects.MOVING[: 3 if options.smoke else None])
    pairs = shown(data)
    pixels = videos(data, pairs)
    autoencoder = emoji_parts.autoencoder(options.vae).to(machine.device)
    words = [word for group in motion.MOTIONS.values() for word in group]
    tokenizer, encoder = emoji_parts.dictionary(data, WIDTH, extra=words)
    captions = caption_table(data, pairs, tokenizer)
    vectors = emoji_parts.video_vectors(options.clip, pixels[::VERSIONS])
    encoder, lessons = emoji_parts.taught(encoder, tokenizer, "t5", captions, vectors, options, machine, masked=True)
    states = encode_captions(encoder.float(), captions.to(machine.device))
    latents = vae.encode(autoencoder, pixels.flatten(0, 1).to(machine.device))
    latents = latents.unflatten(0, (-1, motion.FRAMES)).transpose(1, 2).contiguous()
    model, then = train_transformer(options, latents, captions, states, machine)
    if machine.is_main_process:
        pipe = LattePipeline(
            tokenizer=tokenizer, text_encoder=encoder, vae=autoencoder, transformer=model,
            scheduler=export.scheduler(),
        )  # fmt: skip
        prompts = sorted(f"{data.entries[i].label} {name}" for i, name in pairs)
        subjects_said = [name for entry in data.entries for name in (entry.label, *entry.names)]
        names = sorted(f"{subject} {word}" for subject in subjects_said for word in words)
        export.save(options.out, pipe, prompts=prompts, names=names)
        export.write_training(options.out, {"t5": lessons, **then})


if __name__ == "__main__":
    main()
