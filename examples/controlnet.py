"""A picture along the edges of another one. The ControlNet runs in every step; its transformer is the one cached."""

from pathlib import Path

import torch
import typer
from diffusers import FluxControlNetModel, FluxControlNetPipeline
from diffusers.utils import load_image

import toca


def main(
    image: str,
    model: str = "black-forest-labs/FLUX.1-dev",
    controlnet: str = "InstantX/FLUX.1-dev-Controlnet-Canny",
    prompt: str = "a lighthouse in a storm",
    steps: int = 28,
    size: int = 1024,
    device: str = "cuda",
    output: Path = Path("controlnet.png"),
) -> None:
    control = FluxControlNetModel.from_pretrained(controlnet, torch_dtype=torch.bfloat16)
    pipe = FluxControlNetPipeline.from_pretrained(model, controlnet=control, torch_dtype=torch.bfloat16).to(device)
    toca.enable_cache(pipe, toca.FORA(interval=2))
    options = {"num_inference_steps": steps, "height": size, "width": size}
    generator = torch.Generator().manual_seed(0)
    pipe(prompt, control_image=load_image(image), generator=generator, **options).images[0].save(output)
    print(toca.summary(pipe))


if __name__ == "__main__":
    typer.run(main)
