"""The page of each method, out of its docstring, its fields, its presets, its plan and what was measured of it."""

from __future__ import annotations

import inspect
import re

import toca
from docs.generate import measured
from docs.generate.plans import Shown
from toca.methods.presets import presets
from toca.models import CAPABILITIES, FAMILIES
from toca.registry import field_types

GROUPS = ("Choosing tokens", "Reusing", "Forecasting", "Deciding while running", "Of your own")
OWN = ("tuned", "learned", "composed", "none")
COLUMNS = ["method", "paper", "when", "which", "fill", "models"]
LETTERS = (
    "One letter a step: `F` full, `t` tokens, `y` forecast, `a` blocks or the whole stack left out, `l` blocks that "
    "run for the next step, `r` reused, `m` some of each."
)


def group(name: str) -> str:
    """Under which heading a method stands."""
    when, which, fill = toca.methods()[name]().axes
    if name in OWN:
        return GROUPS[4]
    if "tokens" in which:
        return GROUPS[0]
    return GROUPS[3] if when == "online" else GROUPS[2] if fill == "forecast" else GROUPS[1]


def grouped() -> dict[str, list[str]]:
    """The names of all methods by their heading."""
    return {heading: [name for name in toca.methods() if group(name) == heading] for heading in GROUPS}


def index() -> str:
    """The page that lists them."""
    lines = [
        "# Methods", "", "A method is a value on each of [three axes](../axes.md): **when** to compute in full, "
        "**which** tokens or blocks to compute in between, and **how to fill** the rest.", "",
    ]  # fmt: skip
    for heading, names in grouped().items():
        rows = (COLUMNS, ["---"] * len(COLUMNS), *map(_row, names))
        lines += [f"## {heading}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join(lines)


def _row(name: str) -> list[str]:
    method = toca.methods()[name]()
    run = sum(method.runs_on(spec) for spec in FAMILIES.values())
    models = "all" if run == len(FAMILIES) else f"{run} of {len(FAMILIES)}"
    return [f"[`{name}`]({name}.md)", _paper(type(method)), *method.axes, models]


def page(name: str, plan: Shown) -> str:
    """The page of one.

    Args:
        name (`str`): As in `toca.methods()`.
        plan (`Shown`): Its plan; the picture lies beside the page.
    """
    cls = toca.methods()[name]
    text = inspect.cleandoc(cls.__doc__ or "").partition("\nArgs:\n")[0]
    when, which, fill = cls().axes
    parts = [
        f"# {cls.__name__}",
        f"{_paper(cls)} · `toca.{cls.__name__}` · `--method {name}` · when: {when}, which: {which}, fill: {fill}",
        text.strip(),
        _plan(name, plan),
        _fields(cls),
        _presets(cls),
        _figures(name),
        f"## Runs on\n\n{_families(cls())}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _paper(cls: type[toca.Method]) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", cls.title) or "no paper"


def _plan(name: str, plan: Shown) -> str:
    online = toca.methods()[name]().axes[0] == "online"
    most = " It decides while it runs; the plan is the most that it may skip." if online else ""
    return (
        f"## Its plan\n\n{LETTERS}{most}\n\n```console\n$ {plan.command}\n{plan.printed}\n```\n\n"
        f"![the plan of {name}]({plan.picture.name}){{ loading=lazy }}"
    )


def _told(cls: type[toca.Method]) -> dict[str, str]:
    """What each field is, from the docstrings of the class and of those it derives from."""
    told: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        arguments = inspect.cleandoc(base.__doc__ or "").partition("\nArgs:\n")[2].partition("\nRaises:")[0]
        found = re.findall(r"^    (\w+) \(.*?\): (.*?)(?=^    \w+ \(|\Z)", arguments, re.MULTILINE | re.DOTALL)
        told |= {field: " ".join(text.split()).replace("|", "&#124;") for field, text in found}
    return told


def _fields(cls: type[toca.Method]) -> str:
    told = _told(cls)
    default = cls()
    rows = [
        f"| `{field}` | `{_short(getattr(default, field))}` | {told.get(field, '')} |" for field in field_types(cls)
    ]
    if not rows:
        return ""
    return "\n".join(["## Fields", "", "| field | default | what it is |", "|---|---|---|", *rows])


def _presets(cls: type[toca.Method]) -> str:
    own = {name: value for name, value in presets().items() if type(value) is cls}
    default = cls()
    rows = []
    for name, value in own.items():
        changed = (field for field in field_types(cls) if getattr(value, field) != getattr(default, field))
        rows.append(f"| `{name}` | {', '.join(f'`{field}={_short(getattr(value, field))}`' for field in changed)} |")
    return "\n".join(["## Presets", "", "| preset | what differs |", "|---|---|", *rows]) if rows else ""


def _short(value: object) -> str:
    """A value in one line; of a file of the package its name."""
    return str(value).rpartition("/")[2] if isinstance(value, str) else str(value)


def _figures(name: str) -> str:
    rows = measured.table(name)
    if not rows:
        return ""
    about = (
        "On the [embedded pipelines](../evaluation.md), two CPU cores: PSNR is to the full run's pictures; the last "
        "but one column is what that is above fewer steps in the same time. Intervals are of 95 %."
    )
    return f"## What was measured\n\n{about}\n\n{rows}"


def _families(method: toca.Method) -> str:
    run = [name for name, spec in FAMILIES.items() if method.runs_on(spec)]
    others = [name for name in FAMILIES if name not in run]
    if not others:
        return "All [families](../families.md)."
    asked = "; ".join(CAPABILITIES[name].about for name in method.asks)
    named = ", ".join(run) if len(run) <= len(others) else f"all but {', '.join(others)}"
    return f"[Families](../families.md) of which {asked}: {named}."
