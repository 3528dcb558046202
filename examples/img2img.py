"""A picture made anew from another one: the steps that are run are those that the strength leaves."""

from pathlib import Path

import torch
import typer
from diffusers import FluxImg2ImgPipeline
from diffusers.utils import load_image

import toca


def main(
    image: str,
    model: str = "black-forest-labs/FLUX.1-dev",
    prompt: str = "the same, in watercolours",
    strength: float = 0.8,
    steps: int = 50,
    size: int = 1024,
    device: str = "cuda",
    output: Path = Path("img2img.png"),
) -> None:
    pipe = FluxImg2ImgPipeline.from_pretrained(model, torch_dtype=torch.bfloat16).to(device)
    toca.enable_cache(pipe, toca.FORA(interval=2))
    options = {"strength": strength, "num_inference_steps": steps, "height": size, "width": size}
    generator = torch.Generator().manual_seed(0)
    pipe(prompt, image=load_image(image), generator=generator, **options).images[0].save(output)
    print(toca.summary(pipe))


if __name__ == "__main__":
    typer.run(main)
