"""Wall-clock time of a generation with and without a method."""

from __future__ import annotations

import time
from typing import Any

import torch

from toca.pipelines.config import GenerationConfig
from toca.pipelines.generate import FREELY, Keeping, cached_for, progress_bar, run_batch

MIN_TURNS = 3
MAX_TURNS = 10
ENOUGH_SECONDS = 5.0


@torch.no_grad()
def measure_seconds(
    pipe: Any, runs: list[tuple[GenerationConfig, Any | None]], keeping: Keeping = FREELY
) -> list[float]:
    """Wall-clock seconds of the first batch, end to end, for each configuration and method: the fastest of several
    turns.

    They take turns, after one warm-up of each, so that a slow moment of the machine hits all of them alike;
    and since other work on it only ever adds time, the fastest turn is the nearest to the model's own. There are at
    least `MIN_TURNS`, and more, up to `MAX_TURNS`, until `ENOUGH_SECONDS` have gone by. Nothing is saved while the
    clock runs.
    """
    seconds: list[list[float]] = [[] for _ in runs]
    with progress_bar(pipe, None):
        for config, method in runs:
            _time_once(pipe, config, method, keeping)
        started = time.perf_counter()
        for turn in range(1, MAX_TURNS + 1):
            for (config, method), taken in zip(runs, seconds, strict=True):
                taken.append(_time_once(pipe, config, method, keeping))
            if turn >= MIN_TURNS and time.perf_counter() - started > ENOUGH_SECONDS:
                break
    return [min(taken) for taken in seconds]


def _time_once(pipe: Any, config: GenerationConfig, method: Any | None, keeping: Keeping) -> float:
    batch = next(config.batches())
    with cached_for(pipe, method, config.num_inference_steps, keeping):
        _synchronize(pipe)
        start = time.perf_counter()
        run_batch(pipe, config, batch)
        _synchronize(pipe)
        return time.perf_counter() - start


def _synchronize(pipe: Any) -> None:
    if pipe.device.type == "cuda":
        torch.cuda.synchronize(pipe.device)
