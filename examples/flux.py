"""FLUX.1-dev with ToCa, as published for it, or at a speed that `toca tune` found a plan for.

python examples/flux.py --prompt "an owl standing on a telephone wire"
python examples/flux.py --speedup 2        # after `toca tune black-forest-labs/FLUX.1-dev`
"""

from pathlib import Path

import torch
import typer
from diffusers import FluxPipeline

import toca


def main(
    model: str = "black-forest-labs/FLUX.1-dev",
    prompt: str = "an owl standing on a telephone wire",
    speedup: float | None = None,
    steps: int = 50,
    size: int = 1024,
    device: str = "cuda",
    output: Path = Path("flux.png"),
) -> None:
    pipe = FluxPipeline.from_pretrained(model, torch_dtype=torch.bfloat16).to(device)
    toca.enable_cache(pipe, speedup=speedup)
    generator = torch.Generator().manual_seed(0)
    image = pipe(prompt, num_inference_steps=steps, height=size, width=size, generator=generator).images[0]
    image.save(output)
    print(toca.summary(pipe))


if __name__ == "__main__":
    typer.run(main)
