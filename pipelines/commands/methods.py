"""`toca methods`."""

from __future__ import annotations

import inspect
import re
from typing import Annotated, Any

import typer
from rich.table import Column, Table

import toca
from toca.methods.presets import presets
from toca.models import CAPABILITIES, FAMILIES
from toca.pipelines.commands.console import output
from toca.pipelines.commands.joining import command
from toca.registry import field_types

NameArgument = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A method or preset to explain.")]


@command(place=20)
def methods(name: NameArgument = None) -> None:
    """List the methods and presets, or explain one."""
    if name is not None:
        _explain(name)
        return
    output.print(_methods_table())
    output.print(_presets_table())
    output.print("`toca methods NAME` explains one; --set key=value changes a field.", style="dim")


def _methods_table() -> Table:
    columns = ("method", "paper", "year", "when", "which", "fill", "models", "needs")
    headers = [Column(name, no_wrap=True) for name in columns]
    # Eighty columns wide, so without rules between them.
    table = Table(*headers, title="Methods", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name, cls in toca.methods().items():
        when, which, fill = cls().axes
        which = re.sub(r" by \w+", "", which).replace(", ", "+")
        table.add_row(name, *_paper(cls), when, which, fill, _models(cls()), _first_noun(cls.needs))
    return table


def _models(method: toca.Method) -> str:
    """The families that a method runs on, in a word or two."""
    run, known = sum(method.runs_on(spec) for spec in FAMILIES.values()), len(FAMILIES)
    return "all" if run == known else f"{run} of {known}"


def _families(method: toca.Method) -> str:
    """The same in full: what it asks for, and who has it or, where these are fewer, who has it not."""
    run = [name for name, spec in FAMILIES.items() if method.runs_on(spec)]
    others = [name for name in FAMILIES if name not in run]
    if not others:
        return "all families"
    asked = "; ".join(CAPABILITIES[name].about for name in method.asks)
    named = ", ".join(run) if len(run) <= len(others) else f"all families but {', '.join(others)}"
    return f"{named} ({asked})"


def _paper(cls: type[toca.Method]) -> tuple[str, str]:
    """The arXiv numbers of a method's papers, and the year of the first."""
    year = re.search(r"\b20\d\d\b", cls.title)
    return "\n".join(re.findall(r"\d{4}\.\d{5}", cls.title)), year[0] if year else ""


def _first_noun(needs: str) -> str:
    """Of "a calibration of the model" the word "calibration"."""
    return needs.split()[1] if needs else ""


def _presets_table() -> Table:
    columns = (Column("preset", no_wrap=True), "method", "fields that differ")
    table = Table(*columns, title="Presets", title_justify="left")
    for name, preset in presets().items():
        table.add_row(name, type(preset).__name__, _changed_fields(preset))
    return table


def _changed_fields(method: Any) -> str:
    default = type(method)()
    values = {name: getattr(method, name) for name in field_types(type(method))}
    return ", ".join(f"{name}={value}" for name, value in values.items() if value != getattr(default, name))


def _explain(name: str) -> None:
    all_presets, all_methods = presets(), toca.methods()
    if name not in all_methods and name not in all_presets:
        known = ", ".join([*all_methods, *all_presets])
        raise ValueError(f"There is no method or preset {name!r}; there are {known}.")
    method = all_presets[name] if name in all_presets else all_methods[name]()
    cls = type(method)
    output.print(name + (f": {cls.title}" if cls.title else ""), style="bold")
    output.print(f"\n{_prose(cls)}\n")
    output.print(_fields_table(method))
    own = [preset for preset, value in all_presets.items() if type(value) is cls]
    facts = {
        "when, which, fill": ", ".join(method.axes),
        "runs on": _families(method),
        "needs": cls.needs or "nothing",
        "presets": ", ".join(own) or "none",
        "try it": f'toca generate "a red apple" --method {name}',
    }
    for title, text in facts.items():
        output.print(f"{title:<20}{text}")


def _prose(cls: type) -> str:
    """The docstring up to its list of fields, a line a paragraph, without the marks of emphasis."""
    text = inspect.cleandoc(cls.__doc__ or "").split("\nArgs:")[0].strip().replace("**", "").replace("`", "")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _fields_table(method: Any) -> Table:
    table = Table("field", "value", "type", "meaning", title="Fields (--set field=value)", title_justify="left")
    meanings = _meanings(type(method))
    for name, hint in field_types(type(method)).items():
        kind = hint.__name__ if isinstance(hint, type) else re.sub(r"[a-z_.]+\.(?=[A-Z])", "", str(hint))
        table.add_row(name, str(getattr(method, name)), kind, meanings.get(name, ""))
    return table


def _meanings(cls: type) -> dict[str, str]:
    """What each field means, from the docstrings of the class and of those it derives from."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, found, arguments = inspect.cleandoc(base.__doc__ or "").partition("\nArgs:")
        if found and issubclass(base, toca.Method):
            for item in re.split(r"\n    (?=\w+ \()", arguments.split("\nRaises:")[0]):
                match = re.match(r"\s*(\w+) \([^:]*\): (.*)", item, re.DOTALL)
                if match:
                    meanings[match[1]] = " ".join(match[2].split()).replace("`", "")
    return meanings
