"""What it costs that each image of a batch decides for itself, and what deciding together changes.

`python -m toca.eval.benchmarks.per_sample` makes batches of the embedded pipeline, every image another prompt,
uncached, with one decision for the whole batch (as the published code takes it), with a decision for each image, and
image by image. All take turns in one run; times are those of the denoising loop, speed-ups are ratios turn by turn,
with quartiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import toca
from toca.eval.benchmarks.tables import print_table
from toca.eval.store.environment import environment
from toca.eval.store.sealed import write_json
from toca.eval.timing.latency import Timing, paired_ratio
from toca.methods.dicache import DiCache
from toca.methods.easycache import EasyCache
from toca.methods.fbcache import FBCache
from toca.methods.speca import SpeCa
from toca.methods.teacache import TeaCache
from toca.pipelines.arguments import call_arguments
from toca.pipelines.config import GenerationConfig
from toca.pipelines.generate import cached_for, progress_bar
from toca.pipelines.loading import load, resolve_source
from toca.pipelines.prompts import known_prompts
from toca.tuning.clock import LoopClock
from toca.tuning.turns import take_turns

MODEL = "emoji"
UNCACHED, TOGETHER, EACH, ALONE = "uncached", "whole batch", "each image", "one at a time"
METHODS: dict[str, FBCache | TeaCache | EasyCache | DiCache | SpeCa] = {
    "fbcache": FBCache(threshold=0.2),
    "teacache": TeaCache(threshold=0.2),
    "easycache": EasyCache(threshold=0.2, warmup_steps=2),
    "dicache": DiCache(threshold=0.04),
    "speca": SpeCa(threshold=0.1, decay=0.3, min_drafts=0, max_drafts=6, order=0),
}
"""At thresholds that save about half of the embedded model's FLOPs."""


@dataclass(frozen=True)
class Made:
    """What one way of making a batch made.

    Args:
        seconds (`float`): Of the denoising loop, of all calls together.
        images (`np.ndarray`): (N, height, width, 3), uint8.
        steps (`tuple[str, ...]`): The steps of each image; empty uncached.
        passes (`float`): Runs of a step, on average: more than 1 where images part.
        flops_speedup (`float`): FLOPs uncached over FLOPs.
    """

    seconds: float
    images: np.ndarray
    steps: tuple[str, ...] = ()
    passes: float = 1.0
    flops_speedup: float = 1.0


@dataclass(frozen=True)
class Way:
    """One way of making a batch, a row of the table with a field a column. Speed-ups are against the uncached batch;
    PSNR is against the uncached images."""

    batch: int
    method: str
    decides: str
    seconds: float
    speedup: float
    speedup_quartiles: tuple[float, float]
    flops_speedup: float
    passes: float
    courses: int
    largest_difference_to_alone: int
    psnr_to_alone: float | None
    psnr: float | None
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Maker:
    """Makes one batch in several ways.

    Args:
        pipe: The pipeline.
        config (`GenerationConfig`): Its steps, size and guidance.
        prompts (`tuple[str, ...]`): One for each image.
    """

    pipe: Any
    config: GenerationConfig
    prompts: tuple[str, ...]

    def together(self, method: toca.Method | None) -> Made:
        """All images in one call."""
        return self._call(method, list(self.prompts), range(len(self.prompts)))

    def one_at_a_time(self, method: toca.Method | None) -> Made:
        """Every image in a call of its own."""
        made = [self._call(method, [prompt], range(i, i + 1)) for i, prompt in enumerate(self.prompts)]
        return Made(
            seconds=sum(each.seconds for each in made),
            images=np.concatenate([each.images for each in made]),
            steps=tuple(steps for each in made for steps in each.steps),
            flops_speedup=len(made) / sum(1 / each.flops_speedup for each in made),
        )

    @torch.no_grad()
    def _call(self, method: toca.Method | None, prompts: list[str], numbers: range) -> Made:
        arguments = call_arguments(self.pipe, self.config, numbers) | {"prompt": prompts}
        with cached_for(self.pipe, method, self.config.num_inference_steps):
            with LoopClock(self.pipe) as clock:
                images = np.stack([np.asarray(image) for image in self.pipe(**arguments).images])
            if method is None:
                return Made(clock.seconds, images)
            summary = toca.summary(self.pipe)
        steps = tuple(summary.steps_of(image) for image in range(len(prompts)))
        passes = len(summary.trace) / len(summary.steps)
        return Made(clock.seconds, images, steps, passes, summary.flops_speedup)


def measure(maker: Maker, repeats: int) -> list[Way]:
    """All ways of making the batch, in turns."""
    ways: dict[tuple[str, str], Callable[[], Made]] = {("", UNCACHED): partial(maker.together, None)}
    for name, method in METHODS.items():
        ways[name, TOGETHER] = partial(maker.together, replace(method, per_sample=False))
        ways[name, EACH] = partial(maker.together, method)
        ways[name, ALONE] = partial(maker.one_at_a_time, method)
    made = take_turns(ways, repeats)
    return [_row(made, *way) for way in ways]


def _row(made: dict[tuple[str, str], list[Made]], name: str, way: str) -> Way:
    mine, full = made[name, way], made["", UNCACHED]
    alone = made.get((name, ALONE), full)[0].images
    timings = [Timing(tuple(each.seconds for each in taken)) for taken in (full, mine)]
    speedup, first, third = paired_ratio(*timings)
    images = mine[0].images
    return Way(
        batch=len(images),
        method=name,
        decides=way,
        seconds=timings[1].median,
        speedup=speedup,
        speedup_quartiles=(first, third),
        flops_speedup=mine[0].flops_speedup,
        passes=mine[0].passes,
        courses=len(set(mine[0].steps)),
        largest_difference_to_alone=int(np.abs(images.astype(int) - alone.astype(int)).max()),
        psnr_to_alone=_psnr(images, alone),
        psnr=_psnr(images, full[0].images),
        steps=mine[0].steps,
    )


def _psnr(images: np.ndarray, references: np.ndarray) -> float | None:
    """Mean over the images that differ, in decibels; `None` where none does."""
    errors = ((images.astype(float) - references) ** 2).mean(axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / errors[errors > 0]))) if errors.any() else None


def print_rows(rows: list[Way]) -> None:
    """The table people read."""
    columns = (
        "method", "decides", "seconds", "speed-up (quartiles)", "FLOPs", "passes a step", "courses",
        "most levels off alone", "PSNR to alone", "PSNR to uncached",
    )  # fmt: skip
    print_table(f"{MODEL}, {rows[0].batch} prompts in a batch", columns, map(_cells, rows), width=140, names=2)


def _cells(row: Way) -> list[str]:
    low, high = row.speedup_quartiles
    return [
        row.method,
        row.decides,
        f"{row.seconds:.2f}",
        f"{row.speedup:.2f} ({low:.2f}-{high:.2f})",
        f"{row.flops_speedup:.2f}",
        f"{row.passes:.2f}",
        str(row.courses),
        str(row.largest_difference_to_alone),
        *("equal" if value is None else f"{value:.1f}" for value in (row.psnr_to_alone, row.psnr)),
    ]


def main(
    batch_sizes: Annotated[list[int] | None, typer.Argument(help="Images in a batch; 4 and 8 by default.")] = None,
    repeats: int = 5,
    device: str = "cpu",
    output: Annotated[Path | None, typer.Option(help="JSON file.")] = None,
) -> None:
    """Measure every method at every batch size, and print a table of each."""
    where = torch.device(device)
    pipe = load(MODEL, dtype="float32", device=where)
    names = known_prompts(resolve_source(MODEL))
    results: dict[str, Any] = {"environment": environment(where), "rows": []}
    for count in batch_sizes or [4, 8]:
        prompts = tuple(names[len(names) * i // count] for i in range(count))
        with progress_bar(pipe, None):
            rows = measure(Maker(pipe, GenerationConfig(prompt=MODEL), prompts), repeats)
        print_rows(rows)
        results["rows"] += [asdict(row) for row in rows]
        if output is not None:
            write_json(output, results)


if __name__ == "__main__":
    typer.run(main)
