"""How a method, a fill, a gate, a selection or a family becomes known: ours and a third party's alike.

What is registered can be named on a command line and in a plan's file. Nothing here knows what the things are: each
says its `kind` and its `name`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from .checks import did_you_mean, field_hints, shown
from .files.plain import convert_plain, require

Thing = TypeVar("Thing")


class Registered:
    """What stands in a plan's file by a name: a subclass is a frozen dataclass whose fields are plain data, or again
    registered things."""

    kind: ClassVar[str]
    """`"method"`, `"fill"`, `"gate"` or `"selection"`."""
    name: ClassVar[str]
    """Short name, unique in its kind."""


_LOADERS: list[Callable[[], object]] = []
_TABLES: dict[str, dict[str, Any]] = {}
_SETTINGS: list[Callable[[], Mapping[str, Any]]] = []
LISTING = "toca methods"
"""The command that lists the names of methods and presets."""

_CHECKS: dict[str, Callable[[Any, Mapping[str, Any]], None]] = {}


def register(thing: Thing) -> Thing:
    """Make a method, a fill, a gate, a selection (their classes) or a family (its `FamilySpec`) known by its name.

    Args:
        thing (`type` or `FamilySpec`): A frozen dataclass that derives from `toca.Method`, `toca.Fill`, `toca.Gate` or
            `toca.Selection`; or a family's specification.

    Returns:
        `thing`, so that it serves as a decorator.

    Raises:
        TypeError: If it is none of these, or a class that leaves out what its kind must say.
        ValueError: If its name is taken, or a family's data are not sound; it names the attribute.

    Example:
        ```python
        @toca.register
        @dataclass(frozen=True)
        class Alternate(toca.Method):
            \"\"\"Compute every other step, reuse the one before in between.\"\"\"

            name: ClassVar[str] = "alternate"

            def computes(self, site: toca.Site, step: int, sampling: toca.Sampling) -> bool:
                return step % 2 == 0


        toca.enable_cache(pipe, "alternate")
        ```
    """
    kind, name = getattr(thing, "kind", None), getattr(thing, "name", None)
    if not isinstance(kind, str) or not isinstance(name, str) or not name:
        raise TypeError(f"Only what has a `kind` and a `name` can be registered, got {shown(thing)}.")
    if isinstance(thing, type):
        _check_class(thing)
    elif kind != "family":
        raise TypeError(f"A {kind} is registered by its class, got {shown(thing)}.")
    table = registered(kind)
    if name in table and _origin(table[name]) != _origin(thing):
        raise ValueError(f"The {kind} {name!r} is {_origin(table[name])}: give yours another `name`.")
    if kind in _CHECKS:
        _CHECKS[kind](thing, table)
    table[name] = thing
    return thing


def _check_class(cls: type) -> None:
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise TypeError(f"{cls.__name__} does not say {missing}, which everything of its kind must.")
    if not issubclass(cls, Registered):
        raise TypeError(f"{cls.__name__} must derive from toca.Method, toca.Fill, toca.Gate or toca.Selection.")
    if "__dataclass_fields__" not in vars(cls) or not vars(cls)["__dataclass_params__"].frozen:
        raise TypeError(
            f"{cls.__name__} must be a frozen dataclass: put @dataclass(frozen=True) below @toca.register."
        )
    try:
        field_types(cls)
    except NameError as error:
        raise TypeError(f"The types of the fields of {cls.__name__} cannot be read: {error}.") from error


def _origin(thing: Any) -> str:
    """Where a thing comes from: the same when a notebook's cell, or a module, is run again."""
    return f"{thing.__module__}.{thing.__qualname__}" if isinstance(thing, type) else f"of {thing.transformer}"


def on_first_use(load: Callable[[], object]) -> None:
    """Have what registers everything of this library be loaded when a name, or a record, is first looked up."""
    _LOADERS.append(load)


def _loaded() -> None:
    while _LOADERS:
        _LOADERS.pop()()


def registered(kind: str) -> dict[str, Any]:
    """All of a kind by name: the table itself, which grows."""
    return _TABLES.setdefault(kind, {})


def load_all(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, so that what it registers is known: a new file needs no list."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


Check = TypeVar("Check", bound=Callable[[Any, Mapping[str, Any]], None])


def checks(kind: str) -> Callable[[Check], Check]:
    """Have a function look at what is registered of a kind, beside all that are; it raises if that is not sound."""

    def take(check: Check) -> Check:
        _CHECKS[kind] = check
        return check

    return take


Source = TypeVar("Source", bound=Callable[[], Mapping[str, Any]])


def settings(source: Source) -> Source:
    """Take in a source of methods that have a name with their values: presets."""
    _SETTINGS.append(source)
    return source


def named(text: str) -> Any:
    """A method by the name of a preset, or by its own short name with the values it has by default.

    Raises:
        ValueError: If there is none of this name; it suggests the nearest ones.
    """
    _loaded()
    known: dict[str, Any] = {}
    for source in _SETTINGS:
        known |= source()
    if text in known:
        return known[text]
    methods = registered("method")
    if text in methods:
        return methods[text]()
    raise ValueError(f"There is no method or preset {text!r}{did_you_mean(text, [*methods, *known], LISTING)}.")


def field_types(cls: type) -> dict[str, Any]:
    """The fields of a registered class that its constructor takes, with their types."""
    return field_hints(cls)


def to_data(thing: Registered) -> dict[str, Any]:
    """A registered thing as plain data for JSON and YAML: `{"method": "fora", "fields": {...}}`."""
    fields = {name: getattr(thing, name) for name in field_types(type(thing))}
    return {thing.kind: thing.name, "fields": {name: _plain(value) for name, value in fields.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Registered):
        return to_data(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def from_data(data: Mapping[str, Any], kind: str = "method") -> Any:
    """What `to_data` described.

    Raises:
        ValueError: If nothing of this kind and name is registered, or its fields are others.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"A {kind} is recorded as a mapping of its name and its fields, got {shown(data)}.")
    _loaded()
    cls = registered(kind).get(str(data.get(kind, "")))
    if cls is None:
        missing = f"This version of toca has no {kind} {shown(data.get(kind))}"
        raise ValueError(f"{missing}; one of another package is known once that package has been imported.")
    if unknown := [key for key in data if key not in (kind, "fields")]:
        raise ValueError(f"A {kind} is recorded by its name and its fields, and not by {shown(unknown[0])}.")
    try:
        hints = field_types(cls)
        return cls(**{key: convert(value, hints[key]) for key, value in data["fields"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        said = f"The recorded settings of {cls.__name__} do not fit this version of toca"
        raise ValueError(f"{said}: {_misfit(data.get('fields'), hints)}.") from error


def _misfit(fields: Any, hints: Mapping[str, Any]) -> str:
    """What is wrong with recorded fields that could not be read."""
    if not isinstance(fields, Mapping):
        return f"`fields` must be a mapping, got {shown(fields)}"
    for key, value in fields.items():
        if key not in hints:
            return f"there is no field {shown(key)}"
        try:
            convert(value, hints[key])
        except TypeError:
            return f"{shown(value)} is no value of `{key}`"
    return "a field is missing"


def convert(value: Any, hint: Any) -> Any:
    """Plain data (as YAML or JSON gives it) as the type that a field asks for, registered things by their name or
    their data. Raises `TypeError` if it is another."""
    return convert_plain(value, hint, _convert_registered)


def _convert_registered(value: Any, hint: type) -> Any:
    if not issubclass(hint, Registered):
        return NotImplemented
    if isinstance(value, str):
        return named(value) if hint.kind == "method" else from_data({hint.kind: value, "fields": {}}, hint.kind)
    if isinstance(value, dict):
        return from_data(value, hint.kind)
    return require(isinstance(value, hint), value, hint)
