"""Trains `emoji-flux`: emoji from a prompt by a stock FluxPipeline, double and single blocks, 64 image tokens.

python examples/train/train_emoji_flux.py --compile
"""

import torch
from common import emoji_data, emoji_parts, export, subjects, teach, text, vae
from common.flow import Flow, compile_blocks, fit, start
from common.loop import Stage, accelerator
from common.options import parse
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

WIDTH, POOLED = 128, 64  # of the text encoders


def build(double: int = 2, single: int = 3, heads: int = 5) -> FluxTransformer2DModel:
    """Width 160; 2 x 2 latents a token. At the start every block passes its input on and the output is zero."""
    torch.manual_seed(2)
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=double, num_single_layers=single, attention_head_dim=32,
        num_attention_heads=heads, joint_attention_dim=WIDTH, pooled_projection_dim=POOLED, guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )  # fmt: skip
    gates = [norm.linear for block in model.transformer_blocks for norm in (block.norm1, block.norm1_context)]
    gates += [block.norm.linear for block in model.single_transformer_blocks]
    return start(model, [*gates, model.norm_out.linear, model.proj_out])


class Objective(Flow):
    """Rectified flow on packed latents, (pictures, 64, 16)."""

    def __init__(self, model, latents: torch.Tensor, captions: torch.Tensor, states, pooled, batch: int):
        super().__init__(model, pack(latents), batch)
        for name, value in {"captions": captions, "states": states, "pooled": pooled}.items():
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("image_ids", positions(16), persistent=False)
        self.register_buffer("text_ids", torch.zeros(captions.shape[-1], 3), persistent=False)

    def condition(self, index: torch.Tensor, drop: torch.Tensor) -> torch.Tensor:
        """Rows of the caption tables, 0 being the empty one."""
        variant = torch.randint(self.captions.shape[1], index.shape, device=index.device)
        return torch.where(drop, 0, 1 + index * self.captions.shape[1] + variant)

    def velocity(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return self.model(
            x, timestep=t, pooled_projections=self.pooled[condition].float(),
            encoder_hidden_states=self.states[condition].float(), img_ids=self.image_ids, txt_ids=self.text_ids,
            return_dict=False,
        )[0]  # fmt: skip


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
    ids = text.rows(captions)
    states = torch.cat([encoder(part).last_hidden_state.half() for part in ids.split(512)])
    return states, torch.cat([pooled(part).pooler_output.half() for part in ids.split(512)])


def main() -> None:
    options = parse(
        __doc__, out="pipelines/emoji-flux", steps=6000, batch=32, lr=1.5e-3, text_steps=1500, init_from=True
    )
    machine = accelerator()
    data = emoji_data.load(options.data / "emoji.npz").only(subjects.COMMON)
    pictures = emoji_parts.Pictures.of(data, subjects.COMMON)
    autoencoder = emoji_parts.autoencoder(options.vae, shift_factor=0.0).to(machine.device)
    tokenizer, encoder = emoji_parts.dictionary(data, WIDTH, layers=2)
    captions = text.caption_table(pictures.wording, tokenizer, variants=32)
    vectors = emoji_parts.clip_vectors(options.clip, pictures.images)
    encoder, first = emoji_parts.taught(encoder, tokenizer, "t5", captions, vectors, options, machine, masked=False)
    pooled = teach.build_pooled(len(tokenizer), POOLED, text.LENGTH)
    pooled, second = emoji_parts.taught(pooled, tokenizer, "pooled", captions, vectors, options, machine, masked=False)
    states, summaries = encode_captions(encoder.float(), pooled.float(), captions.to(machine.device))
    latents = vae.encode(autoencoder, vae.to_pixels(pictures.images, machine.device))
    model = build().to(machine.device)
    if options.init_from:
        before = FluxTransformer2DModel.from_pretrained(options.init_from / "transformer")
        model.load_state_dict(before.state_dict())
    if options.compile:
        compile_blocks(model.transformer_blocks)
        compile_blocks(model.single_transformer_blocks)
    objective = Objective(model, latents, captions, states, summaries, options.batch).to(machine.device)
    stage = Stage("emoji-flux", options.steps, options.lr, seed=options.seed)
    result = fit(objective, stage, machine, options.checkpoints)
    if machine.is_main_process:
        tokenizer.model_max_length = text.LENGTH
        pipe = FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0), vae=autoencoder, text_encoder=pooled,
            tokenizer=tokenizer, text_encoder_2=encoder, tokenizer_2=tokenizer, transformer=model,
        )  # fmt: skip
        export.save(options.out, pipe, **emoji_parts.lists(data, pictures, subjects.COMMON))
        stages = {"t5": first, "pooled": second, "transformer": result}
        export.write_training(options.out, stages)


if __name__ == "__main__":
    main()
