"""A LoRA adapter with a cache on: each generation is with the adapters that are there. Needs `pip install peft`.

One that comes or goes in the middle of a generation is seen too: what was kept is forgotten.
"""

from pathlib import Path

import torch
import typer
from diffusers import FluxPipeline

import toca


def main(
    model: str = "black-forest-labs/FLUX.1-dev",
    adapter: str = "XLabs-AI/flux-RealismLora",
    prompt: str = "an owl standing on a telephone wire",
    steps: int = 28,
    size: int = 1024,
    device: str = "cuda",
    output: Path = Path("lora.png"),
) -> None:
    pipe = FluxPipeline.from_pretrained(model, torch_dtype=torch.bfloat16).to(device)
    toca.enable_cache(pipe, toca.FORA(interval=2))
    pipe.load_lora_weights(adapter)
    generator = torch.Generator().manual_seed(0)
    image = pipe(prompt, num_inference_steps=steps, height=size, width=size, generator=generator).images[0]
    image.save(output)
    print(toca.summary(pipe))


if __name__ == "__main__":
    typer.run(main)
