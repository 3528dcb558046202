"""Methods beside fewer steps, in a few lines: seconds, and how near the pictures are to the full run's.

For intervals, more metrics, peers and a report: `toca eval run`.
"""

import time
from typing import Any

import numpy as np
import torch
import typer

import toca
from toca.pipelines import load

PROMPTS = ["an owl, noto style", "a red apple, twemoji style"]


def pictures(pipe: Any, steps: int) -> tuple[np.ndarray, float]:
    began = time.perf_counter()
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))]
    made = pipe(PROMPTS, num_inference_steps=steps, generator=generators, output_type="np").images
    return made, time.perf_counter() - began


def main(model: str = "emoji-flux", steps: int = 20) -> None:
    pipe = load(model)
    pictures(pipe, steps)  # the first run is slower
    full, seconds = pictures(pipe, steps)
    lines = [(f"no cache, {steps // 2} steps", *pictures(pipe, steps // 2))]
    for method in (toca.FORA(interval=2), toca.DMD(interval=2), toca.ToCa(interval=2)):
        with toca.cached(pipe, method):
            lines.append((method.label, *pictures(pipe, steps)))
    for name, made, took in lines:
        print(f"{name:<20} {seconds / took:.2f}x  {-10 * np.log10(np.square(made - full).mean()):.1f} dB")


if __name__ == "__main__":
    typer.run(main)
