"""Stable Diffusion 3.5 with RAS, as published for SD3: most steps run on the regions that the model is at work on."""

from pathlib import Path

import torch
import typer
from diffusers import StableDiffusion3Pipeline

import toca


def main(
    model: str = "stabilityai/stable-diffusion-3.5-medium",
    prompt: str = "an owl standing on a telephone wire",
    method: str = "ras/sd3",
    steps: int = 28,
    size: int = 1024,
    device: str = "cuda",
    output: Path = Path("sd3.png"),
) -> None:
    pipe = StableDiffusion3Pipeline.from_pretrained(model, torch_dtype=torch.bfloat16).to(device)
    toca.enable_cache(pipe, method)
    generator = torch.Generator().manual_seed(0)
    image = pipe(prompt, num_inference_steps=steps, height=size, width=size, generator=generator).images[0]
    image.save(output)
    print(toca.summary(pipe))


if __name__ == "__main__":
    typer.run(main)
