"""`toca methods`: what there is, and what each is."""

from __future__ import annotations

import inspect
import re
from typing import Any

from rich.table import Column, Table

import toca
from toca.checks import did_you_mean, shown
from toca.methods.presets import foreign_to, presets
from toca.models import CAPABILITIES, FAMILIES, FamilySpec, known_family
from toca.models.capabilities import capabilities_of, first_lacking
from toca.pipelines.commands.console import output, print_json
from toca.pipelines.method_options import kind_text, recorded
from toca.pipelines.setting_text import settings_of, value_text
from toca.pipelines.skeleton import load_skeleton
from toca.registry import LISTING, field_types


def run(name: str | None, family: str | None, model: str | None, as_json: bool) -> None:
    """List the methods and presets, or explain one.

    Args:
        name (`str`, *optional*): The one to explain.
        family (`str`, *optional*): Only those that work on a family of models.
        model (`str`, *optional*): The same by a model.
        as_json (`bool`): Whether for a program.

    Raises:
        ValueError, OSError: For a name that there is not, or a model that cannot be looked at.
    """
    if sum(given is not None for given in (name, family, model)) > 1:
        raise ValueError("Give the name of a method, --family or --model, and no two of them.")
    if name is not None:
        _explain(name, as_json)
        return
    spec = _family_of(family, model)
    if as_json:
        print_json(_plain_list(spec))
        return
    on = "" if spec is None else f" on {spec.name}"
    output.print(_methods_table(spec, on))
    output.print(_presets_table(spec, on))
    for method, cls in toca.methods().items():
        if reason := _refused(cls(), spec):
            output.print(f"{method} does not work on {spec.name if spec else ''}: {reason}.")
    output.print("`toca methods NAME` explains one; --set key=value changes a field.", style="dim")


def _family_of(family: str | None, model: str | None) -> FamilySpec | None:
    """The family that is asked for. Raises `ValueError` if there is none of this name."""
    if model is not None:
        return known_family(load_skeleton(model).transformer)
    if family is not None and family not in FAMILIES:
        raise ValueError(
            f"There is no family {shown(family)}{did_you_mean(family, FAMILIES, 'toca models --families')}."
        )
    return None if family is None else FAMILIES[family]


def _refused(method: toca.Method, spec: FamilySpec | None) -> str:
    """Why a method does not work on a family; empty where it does, or where none is asked about."""
    lacking = None if spec is None else first_lacking(method.asks, capabilities_of(spec))
    if spec is None or lacking is None:
        return ""
    asked = CAPABILITIES[lacking]
    return f"it asks for a model of which {asked.about}, and {asked.lacking(spec, None)}"


def _listed(spec: FamilySpec | None) -> dict[str, toca.Method]:
    """The presets that are for a family; all where none is asked about."""
    known = presets()
    if spec is None:
        return known
    return {
        name: preset
        for name, preset in known.items()
        if foreign_to(name, spec.name) is None and not _refused(preset, spec)
    }


def _methods_table(spec: FamilySpec | None, on: str) -> Table:
    columns = ("method", "paper", "year", "when", "which", "fill", "models", "needs")
    headers = [Column(name, no_wrap=True) for name in columns]
    # Eighty columns wide, so without rules between them.
    table = Table(*headers, title=f"Methods{on}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name, cls in toca.methods().items():
        if _refused(cls(), spec):
            continue
        when, which, fill = cls().axes
        which = re.sub(r" by \w+", "", which).replace(", ", "+")
        papers, year = _paper(cls)
        table.add_row(name, "\n".join(papers), year, when, which, fill, _models(cls()), _first_noun(cls.needs))
    return table


def _models(method: toca.Method) -> str:
    """The families that a method runs on, in a word or two."""
    run, known = len(_run_on(method)), len(FAMILIES)
    return "all" if run == known else f"{run} of {known}"


def _run_on(method: toca.Method) -> list[str]:
    return [name for name, spec in FAMILIES.items() if method.runs_on(spec)]


def _families(method: toca.Method) -> str:
    """The same in full: what it asks for, and who has it or, where these are fewer, who has it not."""
    run = _run_on(method)
    others = [name for name in FAMILIES if name not in run]
    if not others:
        return "all families"
    asked = "; ".join(CAPABILITIES[name].about for name in method.asks)
    named = ", ".join(run) if len(run) <= len(others) else f"all families but {', '.join(others)}"
    return f"{named} ({asked})"


def _paper(cls: type[toca.Method]) -> tuple[list[str], str]:
    """The arXiv numbers of a method's papers, and the year of the first."""
    year = re.search(r"\b20\d\d\b", cls.title)
    return re.findall(r"\d{4}\.\d{5}", cls.title), year[0] if year else ""


def _first_noun(needs: str) -> str:
    """Of "a calibration of the model" the word "calibration"."""
    return needs.split()[1] if needs else ""


def _presets_table(spec: FamilySpec | None, on: str) -> Table:
    columns = (Column("preset", no_wrap=True), "method", "fields that differ")
    table = Table(*columns, title=f"Presets{on}", title_justify="left")
    for name, preset in _listed(spec).items():
        table.add_row(name, type(preset).__name__, " ".join(settings_of(preset, type(preset)())))
    return table


def _explain(name: str, as_json: bool) -> None:
    all_presets, all_methods = presets(), toca.methods()
    if name not in all_methods and name not in all_presets:
        near = did_you_mean(name, [*all_methods, *all_presets], LISTING)
        raise ValueError(f"There is no method or preset {shown(name)}{near}.")
    method = all_presets[name] if name in all_presets else all_methods[name]()
    cls = type(method)
    if as_json:
        print_json({"name": name, **_plain_method(method), "about": _prose(cls), "fields": _plain_fields(method)})
        return
    output.print(name + (f": {cls.title}" if cls.title else ""), style="bold")
    output.print(f"\n{_prose(cls)}\n")
    output.print(_fields_table(method))
    facts = {
        "when, which, fill": ", ".join(method.axes),
        "runs on": _families(method),
        "needs": cls.needs or "nothing",
        "presets": ", ".join(_presets_of(cls)) or "none",
        "try it": f'toca generate "a red apple" --method {name}',
    }
    for title, text in facts.items():
        output.print(f"{title:<20}{text}")


def _presets_of(cls: type) -> list[str]:
    return [name for name, value in presets().items() if type(value) is cls]


def _prose(cls: type) -> str:
    """The docstring up to its list of fields, a line a paragraph, without the marks of emphasis."""
    text = inspect.cleandoc(cls.__doc__ or "").split("\nArgs:")[0].strip().replace("**", "").replace("`", "")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _fields_table(method: Any) -> Table:
    table = Table("field", "value", "type", "meaning", title="Fields (--set field=value)", title_justify="left")
    meanings = _meanings(type(method))
    for name, kind in _kinds(method).items():
        table.add_row(name, _shown(getattr(method, name)), kind, meanings.get(name, ""))
    return table


def _shown(value: Any) -> str:
    """A value as `--set` takes it."""
    return value.name if isinstance(value, toca.Method) else value_text(value)


def _kinds(method: Any) -> dict[str, str]:
    """The types of a method's fields, in words."""
    return {
        name: re.sub(r"[a-z_.]+\.(?=[A-Z])", "", kind_text(hint)) for name, hint in field_types(type(method)).items()
    }


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


# --- for programs --------------------------------------------------------------------------------------------------


def _plain_list(spec: FamilySpec | None) -> dict[str, Any]:
    """All methods, with why one does not work where a family is asked about, and the presets."""
    methods = [
        {"name": name, **_plain_method(cls()), **({} if spec is None else {"refused": _refused(cls(), spec) or None})}
        for name, cls in toca.methods().items()
    ]
    settings = [
        {"name": name, "method": preset.name, "settings": settings_of(preset, type(preset)())}
        for name, preset in _listed(spec).items()
    ]
    return {"family": None if spec is None else spec.name, "methods": methods, "presets": settings}


def _plain_method(method: Any) -> dict[str, Any]:
    cls = type(method)
    papers, year = _paper(cls)
    when, which, fill = method.axes
    return {
        "method": cls.name,
        "title": cls.title,
        "papers": papers,
        "year": int(year) if year else None,
        "when": when,
        "which": which,
        "fill": fill,
        "families": _run_on(method),
        "needs": cls.needs or None,
        "presets": _presets_of(cls),
    }


def _plain_fields(method: Any) -> list[dict[str, Any]]:
    values, meanings = recorded(method)["fields"], _meanings(type(method))
    return [
        {"name": name, "value": values[name], "set": f"{name}={_shown(getattr(method, name))}", "type": kind,
         "meaning": meanings.get(name, "")}
        for name, kind in _kinds(method).items()
    ]  # fmt: skip
