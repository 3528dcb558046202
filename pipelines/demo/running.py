"""A wish, made twice: by the full model, and with a cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import toca
from toca.api import plan_of
from toca.pipelines.compare import mean_psnr
from toca.pipelines.config import GenerationConfig
from toca.pipelines.demo.kept import Kept, Picture
from toca.pipelines.demo.limits import Wish
from toca.pipelines.demo.steps import steps_told
from toca.pipelines.demo.subject import Subject
from toca.pipelines.generate import cached_for, progress_bar, run_batch
from toca.pipelines.token_recorder import TokenRecorder
from toca.plan.table import PlanTable

Progress = Callable[[int, int, str], None]
"""Called with the steps that are done, how many there are, and what runs."""
SHORT_SECONDS, TURNS = 1.0, 2
"""Where the quicker of the two runs is no longer than this, both are timed again, so often."""
TOKEN_WISE = "t"
"""The letter of a step in which some tokens were recomputed."""


@dataclass(frozen=True)
class Made:
    """What came of a wish.

    Args:
        wish (`Wish`): the wish.
        full, cached (`Picture`): the pictures, with their seconds.
        summary (`toca.Summary`): of the cached run.
        plan (`PlanTable`): that it followed.
        full_steps (`int`): steps of the full run.
        shares (`np.ndarray`, *optional*): share of the chances to be computed that each token was (1, frames, rows,
            columns); `None` where the method chooses no tokens, or decides while it runs.
    """

    wish: Wish
    full: Picture
    cached: Picture
    summary: toca.Summary
    plan: PlanTable
    full_steps: int
    shares: np.ndarray | None

    @property
    def psnr(self) -> float:
        """Decibels between the two; infinite if they are identical."""
        return mean_psnr(list(self.cached.frames), list(self.full.frames))

    @property
    def flops(self) -> tuple[float, float]:
        """Of the transformer, full and cached: a full step is as much work in a run of few steps as of many."""
        return self.summary.flops_full * self.full_steps / len(self.summary.steps), self.summary.flops

    @property
    def speedup(self) -> float:
        return self.full.seconds / self.cached.seconds


@torch.no_grad()
def make(subject: Subject, wish: Wish, kept: Kept, progress: Progress) -> Made:
    """Make a wish come true. One at a time has the pipeline: others wait here.

    Args:
        subject (`Subject`): the model.
        wish (`Wish`): what was asked for.
        kept (`Kept`): pictures of the full model.
        progress (`Callable`): told each step.

    Raises:
        ValueError: for what the model does not offer, or cannot make.
    """
    plan = subject.plan(wish)
    with subject.lock:
        full_steps = wish.steps or subject.full_steps
        steps = getattr(plan, "num_inference_steps", full_steps)
        full_config, config = subject.config(wish, full_steps), subject.config(wish, steps)
        full = _full(subject, wish, full_config, kept, progress)
        with cached_for(subject.pipe, plan, steps):
            cached = _run(subject.pipe, config, "with the cache", progress)
            summary, table = toca.summary(subject.pipe), plan_of(subject.pipe.transformer)
            assert table is not None, "a generation has run"
            shares = _shares(subject.pipe, config, summary, table, progress)
        full, cached = _timed_in_turns(subject.pipe, plan, (full_config, full), (config, cached))
    return Made(wish, full, cached, summary, table, full_steps, shares)


def _full(subject: Subject, wish: Wish, config: GenerationConfig, kept: Kept, progress: Progress) -> Picture:
    key = subject.model, wish.prompt, wish.seed, config.num_inference_steps, config.height, config.width
    found = kept.find(key)
    if found is None:
        found = _run(subject.pipe, config, "the full model", progress)
        kept.keep(key, found)
    return found


def _run(pipe: Any, config: GenerationConfig, what: str, progress: Progress) -> Picture:
    """One generation, timed end to end."""
    with steps_told(pipe, lambda step, steps: progress(step, steps, what)):
        return _timed(pipe, config)


def _timed(pipe: Any, config: GenerationConfig) -> Picture:
    _wait_for(pipe)
    start = time.perf_counter()
    (sample,) = run_batch(pipe, config, range(1))
    _wait_for(pipe)
    return Picture(tuple(sample.frames), time.perf_counter() - start)


def _timed_in_turns(
    pipe: Any, plan: Any, full: tuple[GenerationConfig, Picture], cached: tuple[GenerationConfig, Picture]
) -> tuple[Picture, Picture]:
    """Short runs timed anew, one after the other, so that a slow moment of the machine hits both; the fastest counts.
    Long ones are as they are."""
    if min(full[1].seconds, cached[1].seconds) > SHORT_SECONDS:
        return full[1], cached[1]
    taken = []
    with progress_bar(pipe, None):
        for _ in range(TURNS):
            whole = _timed(pipe, full[0]).seconds
            with cached_for(pipe, plan, cached[0].num_inference_steps):
                taken.append((whole, _timed(pipe, cached[0]).seconds))
    seconds = [min(each) for each in zip(*taken, strict=True)]
    return replace(full[1], seconds=seconds[0]), replace(cached[1], seconds=seconds[1])


def _wait_for(pipe: Any) -> None:
    if pipe.device.type == "cuda":
        torch.cuda.synchronize(pipe.device)


def _shares(
    pipe: Any, config: GenerationConfig, summary: toca.Summary, plan: PlanTable, progress: Progress
) -> np.ndarray | None:
    """Which tokens are computed: by another run, for whoever looks on takes time."""
    if TOKEN_WISE not in summary.steps or plan.gate is not None:
        return None
    try:
        with TokenRecorder(pipe.transformer) as recorder:
            _run(pipe, config, "once more, looking at the tokens", progress)
        return recorder.shares(samples=1)
    except ValueError:  # the tokens form no grid, or the calls differ in size: there is no map
        return None
