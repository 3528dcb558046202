"""A large model on a small card: its parts come to the device when they run, and the cache is kept in eight bits."""

from pathlib import Path

import torch
import typer
from diffusers import DiffusionPipeline

import toca


def main(
    model: str = "black-forest-labs/FLUX.1-dev",
    prompt: str = "an owl standing on a telephone wire",
    gigabytes: float = 1.5,
    steps: int = 50,
    size: int = 1024,
    device: str = "cuda",
    output: Path = Path("offload.png"),
) -> None:
    pipe = DiffusionPipeline.from_pretrained(model, torch_dtype=torch.bfloat16)
    pipe.enable_model_cpu_offload(device=device)
    # The widest dtype with which it fits, down to fp8; if none does, the first step says so with the numbers.
    toca.enable_cache(pipe, toca.FORA(interval=3), max_cache_bytes=int(gigabytes * 2**30))
    generator = torch.Generator().manual_seed(0)
    image = pipe(prompt, num_inference_steps=steps, height=size, width=size, generator=generator).images[0]
    image.save(output)
    print(toca.summary(pipe))


if __name__ == "__main__":
    typer.run(main)
