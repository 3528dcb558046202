"""What is compared: methods with their settings, and the uncached pipeline with all of its steps or fewer."""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import toca
from toca.checks import cleaned, shown
from toca.eval.labels import VariantRecipe
from toca.eval.peers import PREFIX, Peer, find_peer, peers
from toca.eval.store.environment import fingerprint
from toca.eval.store.naming import check_name, check_shown, names_uncached
from toca.files.reading import parse_yaml
from toca.methods.presets import presets
from toca.methods.tuned import Tuned
from toca.pipelines import method_options
from toca.pipelines.calibration import with_calibration
from toca.pipelines.setting_text import settings_of, value_text

Compared: TypeAlias = toca.Method | toca.Plan | Peer
"""What can be on a pipeline."""

FEWER_STEPS = "fewer steps"
RELABEL = "give it another label"


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Args:
        name (`str`): Unique in a run: the group and its setting.
        group (`str`): What it is a setting of; the settings of a group are one line in the plot.
        method (`Method`, `Plan`, `Peer` or `None`): `None` for the uncached pipeline.
        steps (`int`, *optional*): Denoising steps; `None` for the pipeline's own number.
        recipe (`VariantRecipe`, *optional*): How it is made; `None` for the uncached pipeline.
    """

    name: str
    group: str
    method: Compared | None = None
    steps: int | None = None
    recipe: VariantRecipe | None = field(default=None, compare=False)

    def describe(self) -> dict[str, Any]:
        """What its results depend on, as plain data: method, steps, and the contents of files that a field names."""
        method = None if self.method is None else _recorded(self.method)
        # The text of a plan is no path, and too long to ask whether it is one.
        texts = () if isinstance(self.method, toca.Plan) else _texts(method)
        files = [fingerprint([Path(text)]) for text in texts if os.path.isfile(text)]
        return {"method": method, "steps": self.steps, "files": files}


def _recorded(method: Compared) -> dict[str, Any]:
    """What a peer says of itself; methods and plans are told of by the command line."""
    return method.recorded() if isinstance(method, Peer) else method_options.recorded(method)


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
    """The variants of a run, without those that come by themselves."""

    variants: list[Variant] = field(default_factory=list)

    def add(self, variant: Variant) -> None:
        """Take a variant in; the same one again changes nothing.

        Raises:
            ValueError: If its name is another variant's, or that of a run without a cache, or cannot be shown or be
                part of a file's name; or if its group holds another method's variants.
        """
        if variant in self.variants:
            return
        check_name("The variant", variant.group, RELABEL)
        check_shown("The variant", variant.name, RELABEL)
        _check_own(variant)
        for other in self.variants:
            if other.name == variant.name:
                raise ValueError(f"Two variants are called {shown(variant.name)}: give one of them a label.")
            if other.group == variant.group and type(other.method) is not type(variant.method):
                raise ValueError(
                    f"Variants of two methods, {shown(other.name)} and {shown(variant.name)}, are labelled "
                    f"{shown(variant.group)}: give one of them another label."
                )
        self.variants.append(variant)

    def extend(self, other: Lineup) -> None:
        for variant in other.variants:
            self.add(variant)

    def for_model(self, model: str) -> Lineup:
        """The same, with the calibrations that lie beside a model's weights for the methods that lack theirs."""
        return Lineup([replace(variant, method=_for_model(variant.method, model)) for variant in self.variants])


def _check_own(variant: Variant) -> None:
    """Raises `ValueError` for a name by which a reader would take a variant for what it is not."""
    for name in (variant.name, variant.group):
        if names_uncached(name):
            raise ValueError(f"A variant is labelled {shown(name)}, as runs without a cache are: {RELABEL}.")
    if variant.group.startswith(PREFIX) and not isinstance(variant.method, Peer):
        raise ValueError(f"A variant is labelled {shown(variant.group)}, and is no peer: {RELABEL}.")


def _for_model(method: Compared | None, model: str) -> Compared | None:
    return method.for_model(model) if isinstance(method, Peer) else with_calibration(method, model)


def in_own_steps(variant: Variant, full: int) -> Variant:
    """The variant in the number of steps that a search found best for its budget, if it was compared to a full run of
    `full` steps: they may be fewer."""
    method = variant.method
    if isinstance(method, Tuned) and method.front is not None and method.found.num_inference_steps == full:
        return replace(variant, steps=method.num_inference_steps)
    return variant


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
            lineup.add(Variant(name, name, method, recipe=VariantRecipe(name)))
    return lineup


def every_peer() -> Lineup:
    """All peers that are installed, as they are by default."""
    installed = {name: cls for name, cls in peers().items() if cls.available() is not None}
    return Lineup([Variant(name, name, cls(), recipe=VariantRecipe(name)) for name, cls in installed.items()])


def parse_variant(text: str) -> Lineup:
    """The variants of `NAME` or `NAME:key=value,value;key=value`, the values in YAML: `fora:interval=2,3,4`.

    The name of a peer has a colon of its own: `peer:diffusers-fbcache:threshold=0.05,0.1`.

    Raises:
        ValueError: If the name is unknown, or a setting has no value, or one that the method refuses.
    """
    prefix = PREFIX if text.startswith(PREFIX) else ""
    name, _, settings = text.removeprefix(prefix).partition(":")
    name = prefix + name
    if os.path.isfile(text):
        name, settings = text, ""
    grid: dict[str, list[Any]] = {}
    for setting in filter(None, settings.split(";")):
        key, separator, values = (part.strip() for part in setting.partition("="))
        if not separator or not key:
            raise ValueError(f"A variant is NAME:key=value,value;key=value, got {shown(text)}.")
        if key in grid:
            raise ValueError(f"The variant {shown(text)} sets {key} twice: name all its values at once.")
        grid[key] = _values(text, key, values)
    return expand(name, grid)


def _values(text: str, key: str, values: str) -> list[Any]:
    try:
        return parse_yaml(f"[{values}]")
    except ValueError as error:
        raise ValueError(f"The variant {shown(text)} cannot be read: {key}={cleaned(values, 60)}: {error}") from error


def expand(
    name: str, grid: dict[str, list[Any]], fixed: dict[str, Any] | None = None, label: str | None = None
) -> Lineup:
    """A method with every combination of the grid's values.

    Args:
        name (`str`): A preset, a method, a peer, or the file of a plan.
        grid (`dict[str, list]`): Values to try, by field; they are in the variants' names.
        fixed (`dict`, *optional*): Further fields, the same in all variants; they are in the names where they are not
            what the method has anyway.
        label (`str`, *optional*): Name of the group, `name` unless told.

    Raises:
        ValueError: If the name is unknown, a label cannot be one, a field has no value or two, or the method refuses
            a combination; it says which.
    """
    fixed = fixed or {}
    _find(name)
    for key, values in grid.items():
        if not values:
            raise ValueError(f"The field {shown(key)} of {shown(label or name)} has no value: name one, or more.")
        if key in fixed:
            raise ValueError(f"The field {shown(key)} of {shown(label or name)} is in `set` and in `grid`.")
    lineup = Lineup()
    for combination in itertools.product(*grid.values()):
        chosen = dict(zip(grid, combination, strict=True))
        title = " ".join([name if label is None else label, *_settings(chosen)])
        method = _make(title, name, {**fixed, **chosen})
        recipe = VariantRecipe(name, _all_settings(method, name, tuple(grid)))
        lineup.add(Variant(recipe.name(label), name if label is None else label, method, recipe=recipe))
    return lineup


def _all_settings(method: Compared, name: str, grid: tuple[str, ...]) -> tuple[str, ...]:
    """Every setting in which a method is not what its name means, those of the grid first, and always."""
    if isinstance(method, toca.Plan):
        return ()
    told = {setting.partition("=")[0]: setting for setting in settings_of(method, _find(name))}
    order = [part for key in grid for part in (*_around(key), key)] + list(told)
    of_grid = {key: told.get(key, f"{key}={value_text(_field(method, key))}") for key in grid}
    return tuple((told | of_grid)[key] for key in dict.fromkeys(order) if key in told or key in grid)


def _around(key: str) -> list[str]:
    """The fields that hold the methods whose field it is: what they are is said before."""
    parts = key.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _field(method: Compared, path: str) -> Any:
    """The value of a field, or of a method within a method, whose name says what it is."""
    value = functools.reduce(getattr, path.split("."), method)
    return value.name if isinstance(value, toca.Method) else value


def _find(name: str) -> Compared:
    return find_peer(name) if name.startswith(PREFIX) else method_options.find_method(name)


def _make(title: str, name: str, settings: dict[str, Any]) -> Compared:
    """The method with its settings. Raises `ValueError`, which names the variant, if it refuses them."""
    try:
        return method_options.override(_find(name), _settings(settings))
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"The variant {shown(title)} cannot be: {error}") from error


def _settings(settings: dict[str, Any]) -> list[str]:
    """`key=value`, the value in JSON, which is YAML; text as it stands."""
    values: Iterable[tuple[str, Any]] = settings.items()
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values]
