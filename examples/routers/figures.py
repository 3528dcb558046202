"""What trained routers do to the embedded model: how close their pictures come to those of full steps, what they save.

python -m examples.routers.figures pipelines/emoji/calibration/learned.json --drawing examples/pictures/routers.png
"""

from __future__ import annotations

import argparse
import random
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import toca
from toca.methods.learned import LearnedRouter, Router
from toca.pipelines.loading import load, resolve_source
from toca.pipelines.prompts import known_prompts
from toca.pipelines.registry import find_model

from .conditions import split_prompts
from .drawing import draw

MODEL = "emoji"
CHANCES = 3


@dataclass
class Outcome:
    """What a method came to.

    Args:
        computed (`float`): Share of sites computed, over all steps.
        speedup (`float`): FLOPs of full steps over its own, as measured.
        psnr (`float`): To the pictures of full steps, in dB, mean over the pictures.
    """

    computed: float
    speedup: float
    psnr: float

    def row(self, name: str) -> str:
        return f"| {name} | {self.computed:.1%} | {self.speedup:.2f} | {self.psnr:.1f} dB |"


class Yardstick:
    """Prompts that no router saw in training, and their pictures in full steps."""

    def __init__(self, num_inference_steps: int, seed: int):
        self.pipe = load(MODEL, device="cpu")
        self.pipe.set_progress_bar_config(disable=True)
        self.steps, self.seed = num_inference_steps, seed
        self.prompts = split_prompts(known_prompts(resolve_source(MODEL)))[1]
        self.full = self.pictures()

    def pictures(self) -> np.ndarray:
        """One picture a prompt by the stock pipeline, (prompts, height, width, 3) in 0..1."""
        noise = [torch.Generator().manual_seed(self.seed + i) for i in range(len(self.prompts))]
        images = self.pipe(
            self.prompts, num_inference_steps=self.steps, guidance_scale=find_model(MODEL).guidance_scale,
            generator=noise, output_type="np", use_resolution_binning=False, clean_caption=False,
        ).images  # fmt: skip
        return images.astype(np.float64)

    def measure(self, method: Any) -> Outcome:
        """The pictures with a method, against those without."""
        with toca.cached(self.pipe, method):
            errors = np.square(self.pictures() - self.full).mean((1, 2, 3))
            speedup = toca.summary(self.pipe).flops_speedup
        table = method.plan(self.pipe.transformer, self.steps).table
        computed = np.mean([action.kind == "compute" for row in table for action in row])
        return Outcome(float(computed), speedup, float((-10 * np.log10(np.maximum(errors, 1e-12))).mean()))

    def measure_router(self, router: Router, threshold: float) -> Outcome:
        """The same for a router that is in no file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "router.json"
            router.save(path)
            return self.measure(LearnedRouter(str(path), threshold))

    def measure_chance(self, router: Router, threshold: float) -> Outcome:
        """The mean of routers with the same scores at places drawn by chance: what its choice of places is worth."""
        outcomes = [self.measure_router(shuffled(router, seed), threshold) for seed in range(CHANCES)]
        return Outcome(*np.mean([(o.computed, o.speedup, o.psnr) for o in outcomes], axis=0))


def shuffled(router: Router, seed: int) -> Router:
    """The same scores, each in the place of another."""
    scores = [score for row in router.scores if row is not None for score in row]
    drawn = iter(random.Random(seed).sample(scores, len(scores)))
    rows = [None if row is None else tuple(next(drawn) for _ in row) for row in router.scores]
    return replace(router, scores=tuple(rows))


def table(routers: dict[str, Router], threshold: float, seed: int) -> str:
    """Each router, as many reuses by chance, and plain intervals, as Markdown."""
    yardstick = Yardstick(next(iter(routers.values())).num_inference_steps, seed)
    lines = ["| | sites computed | FLOPs speed-up | PSNR to full steps |", "|---|---|---|---|"]
    for name, router in routers.items():
        lines.append(yardstick.measure_router(router, threshold).row(name))
        lines.append(yardstick.measure_chance(router, threshold).row(f"{name}, its scores shuffled"))
    for interval in (2, 3):
        lines.append(yardstick.measure(toca.FORA(interval)).row(f"FORA, interval {interval}"))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("routers", type=Path, nargs="+", help="files of routers of the embedded model")
    parser.add_argument("--drawing", type=Path, help="where r is drawn, a PNG")
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1000, help="of the pictures' noise")
    options = parser.parse_args()
    routers = {path.stem: Router.load(path) for path in options.routers}
    if options.drawing:
        draw(list(routers.values()), options.threshold, options.drawing)
    print(table(routers, options.threshold, options.seed))


if __name__ == "__main__":
    main()
