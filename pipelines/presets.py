"""All presets: those of the library, and those whose calibration lies with the embedded model."""

from __future__ import annotations

import functools
from typing import Any

import toca
from toca.methods.magcache import MagCache
from toca.methods.smoothcache import SmoothCache
from toca.methods.teacache import TeaCache
from toca.pipelines.calibration import calibration_beside
from toca.pipelines.registry import EMBEDDED

_FOR_EMBEDDED: dict[Any, dict[str, Any]] = {
    SmoothCache: {"alpha": 0.1},
    MagCache: {"threshold": 0.12},
    TeaCache: {"threshold": 0.2},
}


def presets() -> dict[str, Any]:
    """Every preset that `--method` knows, by name."""
    return {**toca.presets(), **_embedded()}


@functools.cache
def _embedded() -> dict[str, Any]:
    """Settings for the embedded model, with what was measured of it."""
    files = {cls: calibration_beside(EMBEDDED, cls.name) for cls in _FOR_EMBEDDED}
    return {
        f"{cls.name}/{EMBEDDED.name}": cls(calibration=str(files[cls]), **fields)
        for cls, fields in _FOR_EMBEDDED.items()
        if files[cls].is_file()
    }
