"""A study of any size with a denoiser of a few microseconds: whether its memory stays flat, and where its time goes.

`python -m tests.eval.simulated 3000` and `... 30000` print the peak of memory after each stage.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image
from rich.progress import Progress

from tests.helpers import tiny_pixart_pipeline
from toca.eval.config.settings import Settings
from toca.eval.run import write
from toca.eval.samples import pictures
from toca.eval.samples.noise import noise_seed
from toca.eval.samples.prompts import Item, Prompt
from toca.eval.samples.running import Facts, Run
from toca.eval.samples.subject import Subject
from toca.eval.store.store import Store
from toca.eval.study import Study
from toca.eval.variants import Variant, parse_variant
from toca.pipelines.config import GenerationConfig

SIDE = 32
SETTINGS = Settings(batch_size=64, bench_batch_size=1, repeats=2, warmups=1, fewer_steps=(3,), float_pictures=False)


def picture(item: Item, seed: int, error: float) -> np.ndarray:
    """(SIDE, SIDE, 3), uint8: noise that depends on the sample alone, and an error of some levels."""
    random = np.random.default_rng(noise_seed(seed, *item.key))
    made = random.integers(20, 236, (SIDE, SIDE, 3)) + error * random.standard_normal((SIDE, SIDE, 3))
    return made.round().clip(0, 255).astype(np.uint8)


def denoise(subject: Subject, variant: Variant, items: list[Item], seed: int, floats: bool = False) -> Run:
    """In the place of `toca.eval.samples.running.run_items`."""
    error = 0.0 if variant.method is None and variant.steps is None else 5.0
    frames = [[Image.fromarray(picture(item, seed, error))] for item in items]
    return Run(frames, Facts(6, "FrFrFr" if variant.method is not None else "", 3, 6))


@contextmanager
def simulated() -> Iterator[None]:
    """No denoiser runs, and the disk is not waited for."""
    with patch.object(pictures, "run_items", denoise), patch.object(os, "fsync", lambda descriptor: None):
        yield


def study(output: Path, samples: int) -> Study:
    """Of the full run, one of three steps, and FORA."""
    config = GenerationConfig(num_inference_steps=6, guidance_scale=4.0, height=64, width=64)
    prompts = [Prompt(i, f"a picture of the number {i}, as a caption would tell it") for i in range(samples)]
    subject = Subject("tiny/pixart", tiny_pixart_pipeline(), config, prompts, "weights", "float32")
    return Study(subject, parse_variant("fora:interval=2"), SETTINGS, Store(output), Progress(disable=True))


def main(samples: int) -> None:
    """Every stage, with its seconds and the peak of memory since the process began."""
    with tempfile.TemporaryDirectory() as folder, simulated():
        made = study(Path(folder) / "stages", samples)
        stages: dict[str, Callable[[], object]] = {
            "generate": made.generate, "time": made.time, "score": made.score,
            "report": lambda: write(made.report("toca eval run"), Path(folder)),
        }  # fmt: skip
        for name, stage in stages.items():
            begun = time.monotonic()
            stage()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name}: {time.monotonic() - begun:.0f} s, peak {peak:.0f} MiB", flush=True)
        for path in sorted(Path(folder).glob("tiny*")):
            print(f"{path.name}: {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]))
