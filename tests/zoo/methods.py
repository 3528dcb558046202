"""The methods that the models of the zoo are run with: those of the other tests of the promises, with files of the
models at hand."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from diffusers import DDIMScheduler

import toca
from toca.methods.calibrated import Calibrated
from toca.registry import field_types

from ..calibrated import draw_router, folder, record
from ..conformance.common import CACHING, GENERIC, SMALL, method_of
from ..fronts import front_of
from .subject import subject_of
from .tiny import STEPS, run

KINDS = ("tokens", "sites", "forecast", "blocks")
"""What a method does in a step that is not full."""


def kind_of(method: toca.Method) -> str:
    """The one of `KINDS` that asks most of a model."""
    if method.selection() is not None:
        return "tokens"
    if method.gate() is not None or method.leaves_out_blocks:
        return "blocks"
    return "sites" if method.filling() is None else "forecast"


@functools.cache
def by_kind() -> dict[str, tuple[str, ...]]:
    """The names of `CACHING` by kind."""
    kinds = {name: kind_of(_without_file(name)) for name in CACHING}
    return {kind: tuple(name for name in CACHING if kinds[name] == kind) for kind in KINDS}


def _without_file(name: str) -> toca.Method:
    return method_of("", name) if name == "preset" or name in GENERIC else toca.methods()[name]()


def method_for(entry: str, name: str) -> toca.Method:
    """A method of `CACHING` for a model of the zoo, in settings that skip something on it."""
    if name == "preset" or name in GENERIC:
        return method_of(subject_of(entry).spec.name, name)
    cls, fields = toca.methods()[name], dict(SMALL.get(name, {}))
    if issubclass(cls, Calibrated):
        return cls(calibration=_calibration(entry, name), **fields)
    if issubclass(cls, toca.LearnedRouter):
        return cls(router=_router(entry), **fields)
    if issubclass(cls, toca.Tuned):
        return cls(front=_front(entry), **fields)
    if "threshold" in field_types(cls):
        fields.setdefault("threshold", 1e9)
    return cls(**fields)


def in_full(method: toca.Method) -> toca.Method | None:
    """The same with every step computed in full, where it has an interval that says so."""
    names = {field.name for field in dataclasses.fields(method)}
    if "interval" not in names:
        return None
    changes = {"interval": 1} | ({"module_interval": {}} if "module_interval" in names else {})
    return dataclasses.replace(method, **changes)


@functools.cache
def _calibration(entry: str, name: str) -> str:
    subject, path = subject_of(entry), _path(entry, name)
    record(subject.model, name, STEPS, lambda: run(subject.model, subject.calls()), path)
    return str(path)


@functools.cache
def _router(entry: str) -> str:
    path = _path(entry, "router")
    draw_router(subject_of(entry).model, STEPS, DDIMScheduler.__name__, path)
    return str(path)


@functools.cache
def _front(entry: str) -> str:
    path = _path(entry, "front")
    front_of(subject_of(entry).model, DDIMScheduler(), steps=STEPS, schedules=()).save(path)
    return str(path)


def _path(entry: str, name: str) -> Path:
    return Path(folder().name) / f"{entry.replace('/', '-')}-{name}.json"
