"""Qwen-Image with MeanCache's list of 17 steps of 50: the other steps go on along the output's mean velocity.

Guidance is two calls a step here; each has a cache of its own, and nothing need be said of it.
"""

from pathlib import Path

import torch
import typer
from diffusers import QwenImagePipeline

import toca


def main(
    model: str = "Qwen/Qwen-Image",
    prompt: str = "a shop window with the words TOKEN CACHE painted on it",
    method: str = "meancache/qwenimage-17",
    steps: int = 50,
    size: int = 1024,
    device: str = "cuda",
    output: Path = Path("qwen-image.png"),
) -> None:
    pipe = QwenImagePipeline.from_pretrained(model, torch_dtype=torch.bfloat16).to(device)
    toca.enable_cache(pipe, method)
    options = {"num_inference_steps": steps, "height": size, "width": size, "true_cfg_scale": 4.0}
    generator = torch.Generator().manual_seed(0)
    image = pipe(prompt, negative_prompt=" ", generator=generator, **options).images[0]
    image.save(output)
    print(toca.summary(pipe))


if __name__ == "__main__":
    typer.run(main)
