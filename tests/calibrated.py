"""Calibrated methods for the tiny models, for tests that run every method."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import toca
from toca.engine.calibration_run import Recorder
from toca.methods.router import Router
from toca.models import describe, family_of
from toca.models.fingerprint import fingerprint
from toca.plan.schedulers import SchedulerMark

from .helpers import TINY, inputs_for, run_steps


def calibrated(family: str, name: str, steps: int, **fields: Any) -> Any:
    """A method with a calibration of a family's tiny model, bare, for a number of steps."""
    return toca.methods()[name](calibration=_file(family, name, steps), **fields)


@functools.cache
def _file(family: str, name: str, steps: int) -> str:
    transformer = TINY[family]()
    path = Path(folder().name) / f"{family}-{name}-{steps}.json"
    record(transformer, name, steps, lambda: run_steps(transformer, inputs_for(family, steps, batch_size=2)), path)
    return str(path)


def record(transformer: nn.Module, name: str, steps: int, generate: Callable[[], Any], path: Path) -> None:
    """Write the calibration of a method for a bare transformer, measured in a generation."""
    with Recorder(transformer, toca.methods()[name](), steps) as recorder:
        generate()
    recorder.calibration().save(path)


def routed(family: str, steps: int, scheduler: Any, **fields: Any) -> Any:
    """A learned router of random scores for a family's tiny model, a number of steps and a scheduler."""
    return toca.LearnedRouter(router=_router(family, steps, SchedulerMark.of(scheduler).name), **fields)


@functools.cache
def _router(family: str, steps: int, scheduler: str) -> str:
    path = Path(folder().name) / f"{family}-{scheduler}-{steps}.json"
    draw_router(TINY[family](), steps, scheduler, path)
    return str(path)


def draw_router(transformer: nn.Module, steps: int, scheduler: str, path: Path) -> None:
    """Write a router of random scores for a model, a number of steps and a scheduler by its name."""
    layout = describe(transformer, family_of(transformer))
    drawn = torch.rand(steps, len(layout.sites), generator=torch.Generator().manual_seed(0)).tolist()
    scores = (None, *(tuple(row) for row in drawn[1:]))
    Router("harmonica", fingerprint(layout), steps, SchedulerMark(scheduler, {}), scores).save(path)


@functools.cache
def folder() -> tempfile.TemporaryDirectory:
    """Kept until the interpreter ends, and no longer."""
    return tempfile.TemporaryDirectory(prefix="toca-calibrations-")
