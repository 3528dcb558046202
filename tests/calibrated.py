"""Calibrated methods for the tiny models, for tests that run every method."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import toca
from toca.engine.recorder import Recorder

from .helpers import TINY, inputs_for, run_steps


def calibrated(family: str, name: str, steps: int, **fields: Any) -> Any:
    """A method with a calibration of a family's tiny model, bare, for a number of steps."""
    return toca.methods()[name](calibration=_file(family, name, steps), **fields)


@functools.cache
def _file(family: str, name: str, steps: int) -> str:
    transformer = TINY[family]()
    with Recorder(transformer, toca.methods()[name](), steps) as recorder:
        run_steps(transformer, inputs_for(family, steps, batch_size=2))
    path = Path(_folder().name) / f"{family}-{name}-{steps}.json"
    recorder.calibration().save(path)
    return str(path)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    """Kept until the interpreter ends, and no longer."""
    return tempfile.TemporaryDirectory(prefix="toca-calibrations-")
