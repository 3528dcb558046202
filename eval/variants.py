"""What is compared: methods with their settings, and the uncached pipeline with all of its steps or fewer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

import toca
from toca.eval.environment import fingerprint
from toca.eval.peers import PREFIX, find_peer, peers
from toca.pipelines import method_options
from toca.pipelines.calibration import with_calibration
from toca.pipelines.presets import presets

FEWER_STEPS = "fewer steps"


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Args:
        name (`str`): Unique in a run: the group and its setting.
        group (`str`): What it is a setting of; the settings of a group are one line in the plot.
        method (`Method`, `Plan`, `Peer` or `None`): `None` for the uncached pipeline.
        steps (`int`, *optional*): Denoising steps; `None` for the pipeline's own number.
    """

    name: str
    group: str
    method: Any | None = None
    steps: int | None = None

    def describe(self) -> dict[str, Any]:
        """What its results depend on, as plain data: method, steps, and the contents of files that a field names."""
        method = None if self.method is None else _recorded(self.method)
        # The text of a plan is no path, and too long to ask whether it is one.
        texts = () if isinstance(self.method, toca.Plan) else _texts(method)
        files = [fingerprint([Path(text)]) for text in texts if Path(text).is_file()]
        return {"method": method, "steps": self.steps, "files": files}


def _recorded(method: Any) -> dict[str, Any]:
    """What a peer says of itself; methods and plans are told of by the command line."""
    own = getattr(method, "recorded", None)
    return method_options.recorded(method) if own is None else own()


def _texts(data: Any) -> Iterator[str]:
    """All text in plain data, at any depth."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from _texts(value)


BASELINE = Variant("full", FEWER_STEPS)
"""The uncached pipeline with all of its steps: what everything is measured against."""


@dataclass(frozen=True)
class Failure:
    """A variant that could not be measured, and why."""

    variant: str
    reason: str


@dataclass
class Lineup:
    """The variants of a run, and those that could not even be made."""

    variants: list[Variant] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, variant: Variant) -> None:
        """Take a variant in; the same one again changes nothing.

        Raises:
            ValueError: If another variant has its name.
        """
        other = next((other for other in self.variants if other.name == variant.name), None)
        if other is None:
            self.variants.append(variant)
        elif other != variant:
            raise ValueError(f"Two variants are called {variant.name!r}: give one of them a label.")

    def extend(self, other: Lineup) -> None:
        for variant in other.variants:
            self.add(variant)
        self.failures += other.failures

    def for_model(self, model: str) -> Lineup:
        """The same, with the calibrations that lie beside a model's weights for the methods that lack theirs."""
        made = [replace(variant, method=_for_model(variant.method, model)) for variant in self.variants]
        return Lineup(made, self.failures)


def _for_model(method: Any, model: str) -> Any:
    own = getattr(method, "for_model", None)
    return with_calibration(method, model) if own is None else own(model)


def fewer_steps(full: int, counts: Sequence[int] | None = None) -> list[Variant]:
    """The uncached pipeline with fewer steps than the full number, fewest first.

    Args:
        full (`int`): The full number of steps.
        counts (`Sequence[int]`, *optional*): Which numbers; every one from a fifth of the full number up, and from 2
            on, unless told: with one step, some pipelines cannot work.

    Raises:
        ValueError: If one of them is not fewer.
    """
    chosen = range(max(2, round(full / 5)), full) if counts is None else sorted(set(counts))
    if chosen and chosen[-1] >= full:
        raise ValueError(f"`fewer_steps`: {chosen[-1]} are no fewer than the {full} steps of the full run.")
    return [Variant(f"{steps} steps", FEWER_STEPS, steps=steps) for steps in chosen]


def every_method() -> Lineup:
    """All presets, and all methods as they are by default; each once."""
    lineup, seen = Lineup(), []
    for name in {**presets(), **toca.methods()}:
        method = method_options.find_method(name)
        if method not in seen:
            seen.append(method)
            lineup.add(Variant(name, name, method))
    return lineup


def every_peer() -> Lineup:
    """All peers that are installed, as they are by default."""
    return Lineup([Variant(name, name, cls()) for name, cls in peers().items() if cls.available() is not None])


def parse_variant(text: str) -> Lineup:
    """The variants of `NAME` or `NAME:key=value,value;key=value`, the values in YAML: `fora:interval=2,3,4`.

    The name of a peer has a colon of its own: `peer:diffusers-fbcache:threshold=0.05,0.1`.

    Raises:
        ValueError: If the name is unknown or a setting has no value.
    """
    prefix = PREFIX if text.startswith(PREFIX) else ""
    name, _, settings = text.removeprefix(prefix).partition(":")
    name = prefix + name
    if Path(text).is_file():
        name, settings = text, ""
    grid = {}
    for setting in filter(None, settings.split(";")):
        key, separator, values = setting.partition("=")
        if not separator:
            raise ValueError(f"A variant is NAME:key=value,value;key=value, got {text!r}.")
        grid[key.strip()] = yaml.safe_load(f"[{values}]")
    return expand(name, grid)


def expand(
    name: str, grid: dict[str, list[Any]], fixed: dict[str, Any] | None = None, label: str | None = None
) -> Lineup:
    """A method with every combination of the grid's values.

    Args:
        name (`str`): A preset, a method, a peer, or the file of a plan.
        grid (`dict[str, list]`): Values to try, by field; they are in the variants' names.
        fixed (`dict`, *optional*): Further fields, the same in all variants.
        label (`str`, *optional*): Name of the group, `name` unless told.

    Raises:
        ValueError: If the name is unknown. A combination that the method refuses is a failure in the lineup.
    """
    _find(name)
    lineup = Lineup()
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        title = " ".join([label or name, *_settings(chosen)])
        method = _make(name, {**(fixed or {}), **chosen})
        if isinstance(method, Failure):
            lineup.failures.append(Failure(title, method.reason))
        else:
            lineup.add(Variant(title, label or name, method))
    return lineup


def _find(name: str) -> Any:
    return find_peer(name) if name.startswith(PREFIX) else method_options.find_method(name)


def _make(name: str, settings: dict[str, Any]) -> Any:
    """The method, or the `Failure` that says why it refuses the settings."""
    try:
        return method_options.override(_find(name), _settings(settings))
    except (ValueError, TypeError, OSError) as error:
        return Failure(name, f"{error}")


def _settings(settings: dict[str, Any]) -> list[str]:
    """`key=value`, the value in JSON, which is YAML; text as it stands."""
    values: Iterable[tuple[str, Any]] = settings.items()
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values]
