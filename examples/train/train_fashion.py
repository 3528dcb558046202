"""Trains `fashion`: class-conditional pictures of clothes by a stock DiTPipeline, 256 tokens.

python examples/train/train_fashion.py --compile
"""

import torch
from common import export, fashion_data, vae
from common.flow import Flow, compile_blocks, fit, start
from common.loop import Stage, accelerator, train
from common.options import parse
from common.patches import refine, share_positions
from diffusers import AutoencoderKL, DiTTransformer2DModel

NOTHING = 1000  # the class that DiTPipeline takes for "no class"; it fixes the size of the table
COARSE = 0.75  # of the steps run on 64 tokens


def build(patch: int, layers: int = 6, heads: int = 4) -> DiTTransformer2DModel:
    """Width 128; 16 x 16 latents in patches. At the start every block passes its input on and the output is zero."""
    torch.manual_seed(2)
    model = DiTTransformer2DModel(
        num_attention_heads=heads, attention_head_dim=32, in_channels=4, out_channels=4, num_layers=layers,
        sample_size=16, patch_size=patch, num_embeds_ada_norm=NOTHING, dropout=0.0,
    )  # fmt: skip
    gates = [block.norm1.linear for block in model.transformer_blocks]
    # In training mode every block would drop labels by a chance of its own; they are dropped once, by hand.
    return start(model, [*gates, model.proj_out_1, model.proj_out_2]).eval()


class Objective(Flow):
    """Rectified flow on latents with labels."""

    def __init__(self, model, latents: torch.Tensor, labels: torch.Tensor, batch: int):
        super().__init__(model, latents, batch)
        self.register_buffer("labels", labels, persistent=False)

    def condition(self, index: torch.Tensor, drop: torch.Tensor) -> torch.Tensor:
        return torch.where(drop, NOTHING, self.labels[index])

    def velocity(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return self.model(x, timestep=1000 * t, class_labels=condition, return_dict=False)[0]


def train_vae(options, pixels: torch.Tensor, machine) -> tuple[AutoencoderKL, dict]:
    """An autoencoder that halves the picture."""
    model = vae.build((24, 48), size=32).to(machine.device, memory_format=torch.channels_last)
    stage = Stage("fashion-vae", 2 if options.smoke else 900, lr=2e-3, seed=options.seed)
    result = train(vae.Objective(model, pixels, 32), stage, machine, options.checkpoints / "fashion-vae.pt")
    vae.standardise(model.eval(), pixels[:4096])
    return model, {**result, "psnr": vae.psnr(model, pixels[:1024])}


def train_transformer(options, latents, labels, machine) -> tuple[DiTTransformer2DModel, dict]:
    """First on patches of 2 x 2 latents, then on single ones."""
    fine = build(patch=1).to(machine.device)
    coarse = build(patch=2).to(machine.device)
    share_positions(coarse, fine)
    first = round(options.steps * COARSE)
    done = {}
    for name, model, steps, batch in (
        ("coarse", coarse, first, 2 * options.batch), ("fine", fine, options.steps - first, options.batch)
    ):  # fmt: skip
        if model is fine:
            refine(coarse, fine, "proj_out_2")
        if options.compile:
            compile_blocks(model.transformer_blocks)
        objective = Objective(model, latents, labels, batch).to(machine.device)
        stage = Stage(f"fashion-{name}", steps, options.lr, seed=options.seed)
        done[name] = fit(objective, stage, machine, options.checkpoints)
    return fine, done


def main() -> None:
    options = parse(__doc__, out="pipelines/fashion", steps=2667, batch=64, lr=1e-3)
    machine = accelerator()
    data = fashion_data.load(options.data / "fashion.npz")
    count = 64 if options.smoke else len(data["images"])
    images = fashion_data.in_colour(data["images"][:count])
    pixels = vae.to_pixels(images, machine.device)
    autoencoder, first = train_vae(options, pixels, machine)
    latents = vae.encode(autoencoder, pixels)
    del pixels, images
    labels = torch.from_numpy(data["labels"][:count]).long().to(machine.device)
    model, then = train_transformer(options, latents, labels, machine)
    if machine.is_main_process:
        export.save_class_conditional(options.out, autoencoder, model, fashion_data.CLASSES)
        export.write_training(options.out, {"vae": first, **then})


if __name__ == "__main__":
    main()
