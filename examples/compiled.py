"""Compiled blocks and a cache: the first picture compiles, the others are fast. Needs torch 2.8 or newer."""

import time

import torch
import typer
from diffusers import DiffusionPipeline

import toca


def main(
    model: str = "black-forest-labs/FLUX.1-dev",
    prompt: str = "an owl standing on a telephone wire",
    backend: str = "inductor",
    steps: int = 28,
    size: int = 1024,
    pictures: int = 3,
    device: str = "cuda",
) -> None:
    pipe = DiffusionPipeline.from_pretrained(model, torch_dtype=torch.bfloat16).to(device)
    pipe.transformer.compile_repeated_blocks(fullgraph=True, backend=backend)
    toca.enable_cache(pipe, toca.FORA(interval=2))
    for seed in range(pictures):
        began = time.perf_counter()
        generator = torch.Generator().manual_seed(seed)
        image = pipe(prompt, num_inference_steps=steps, height=size, width=size, generator=generator).images[0]
        image.save(f"compiled-{seed}.png")
        print(f"{time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    typer.run(main)
