"""Plans as files: YAML or JSON, versioned, readable and editable by hand, validated when read.

The table is written step by step and, in a step, module by module: one word or number where all layers agree, else
a list over the layers that have the module. A number is the fresh ratio of a partial action whose other tokens are
reused, `forecast 0.3` of one whose others are forecast. `skip` is for blocks that one of the step's `spans` leaves
out, `late` for those that one runs late; `guided: false` drops the unconditional branch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..axes.actions import COMPUTE, FORECAST, LATE, REUSE, SKIP, Action, partial
from ..axes.fills import Fill
from ..axes.gates import Gate
from ..axes.selections import Selection
from ..axes.selections.older import Selection as OlderSelection
from ..axes.spans import Span
from ..checks import shown
from ..files.reading import named, parse_json, parse_yaml, read_text, valid
from ..files.writing import atomic_path
from ..models.layout import Layout
from ..registry import from_data, to_data
from .older import axes_of_methods, older_model, told_of_attention
from .origin import Origin
from .table import PlanTable

FORMAT = "toca-plan"
VERSION = 5
READABLE = (1, 2, 3, 4, 5)

UNSAID = {"late": False, "device": None}
"""Fields of a span that are not written with these values."""

Made = TypeVar("Made", bound=PlanTable)


def write_plan(plan: PlanTable, path: str | PathLike) -> None:
    """Write `plan` as YAML or JSON, by the suffix; the file appears whole or not at all."""
    path = Path(path)
    text = _encode(_to_dict(plan), path)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _encode(data: dict, path: Path) -> str:
    if path.suffix == ".json":
        return json.dumps(data, indent=1)
    if path.suffix in (".yaml", ".yml"):
        # Parts that stand twice are written twice: aliases are read of nobody.
        data = json.loads(json.dumps(data))
        return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=116)
    raise ValueError(f"A plan is saved as .yaml, .yml or .json, got {path.name!r}.")


def read_plan(path: str | PathLike, cls: type[Made]) -> Made:
    """Read and validate a plan of a class; every fault is a `ValueError` that names the file."""
    path = Path(path)
    with valid(named(path), "plan"):
        text = read_text(path)
        return _from_dict(parse_json(text) if path.suffix == ".json" else parse_yaml(text), cls)


def _to_dict(plan: PlanTable) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        **({"origin": plan.origin.to_dict()} if plan.origin is not None else {}),
        **plan_to_data(plan),
        "model": json.loads(json.dumps(plan.layout.to_dict())),
    }


def plan_to_data(plan: PlanTable) -> dict[str, Any]:
    """What a plan does, as plain data: all but its model, and what it was made from."""
    axes = {"selection": plan.selection, "fill": plan.fill, "gate": plan.gate}
    return {
        "method": plan.method,
        "num_inference_steps": plan.num_inference_steps,
        **{kind: None if value is None else to_data(value) for kind, value in axes.items()},
        **({"timesteps": list(plan.timesteps)} if plan.timesteps else {}),
        "steps": [_step_to_dict(plan, step) for step in range(plan.num_inference_steps)],
    }


def _step_to_dict(plan: PlanTable, step: int) -> dict[str, Any]:
    data = _row_to_dict(plan, plan.table[step])
    if plan.spans[step]:
        data["spans"] = [_span_to_dict(span) for span in plan.spans[step]]
    return data if plan.guided[step] else {**data, "guided": False}


def _span_to_dict(span: Span) -> dict[str, Any]:
    """A span as plain data. What older libraries do not know is said only where it is not as they take it."""
    values = {field.name: getattr(span, field.name) for field in fields(span)}
    return {name: value for name, value in values.items() if name not in UNSAID or value is not UNSAID[name]}


def _row_to_dict(plan: PlanTable, row: tuple[Action, ...]) -> dict[str, Any]:
    cells: dict[str, list] = {}
    for site, action in zip(plan.layout.sites, row, strict=True):
        cells.setdefault(site.module, []).append(_cell_of(action))
    return {module: values[0] if len(set(values)) == 1 else values for module, values in cells.items()}


def _from_dict(data: Any, cls: type[Made]) -> Made:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"it does not say `format: {FORMAT}`.")
    if data["version"] not in READABLE:
        raise ValueError(f"it has version {data['version']!r}, this library reads versions {READABLE}.")
    model = data["model"] if data["version"] > 3 else older_model(data["model"])
    layout = Layout.from_dict(told_of_attention(model))
    origin = Origin.from_dict(data["origin"]) if "origin" in data else None
    return plan_from_data(data, layout, cls, origin, data["version"])


def plan_from_data(
    data: dict[str, Any],
    layout: Layout,
    cls: type[Made],
    origin: Origin | None = None,
    version: int = VERSION,
) -> Made:
    """A plan of a class from what `plan_to_data` wrote in a version. Raises as `Plan.load`, of many types."""
    steps = [dict(step) for step in data["steps"]]
    spans = tuple(tuple(Span(**span) for span in step.pop("spans", ())) for step in steps)
    guided = tuple(bool(step.pop("guided", True)) for step in steps)
    fill, gate = _fill_and_gate(data, version)
    return cls(
        method=data["method"],
        num_inference_steps=data["num_inference_steps"],
        layout=layout,
        table=tuple(_row_from_dict(layout, row, step) for step, row in enumerate(steps)),
        selection=_selection(data),
        spans=spans,
        fill=fill,
        gate=gate,
        guided=guided,
        timesteps=tuple(data.get("timesteps", ())),
        origin=origin,
    )


def _selection(data: Mapping[str, Any]) -> Selection | None:
    said = data["selection"]
    if said is None:
        return None
    # By hand it may still be said as versions 1 and 2 do: a score, and fields beside it.
    older = isinstance(said, dict) and "selection" not in said
    return OlderSelection(**said) if older else from_data(said, "selection")


def _fill_and_gate(data: Mapping[str, Any], version: int) -> tuple[Fill | None, Gate | None]:
    if version < 3:
        return axes_of_methods(data)
    fill, gate = (None if data.get(kind) is None else from_data(data[kind], kind) for kind in ("fill", "gate"))
    return fill, gate


def _row_from_dict(layout: Layout, row: dict[str, Any], step: int) -> tuple[Action, ...]:
    cells = {}
    for module, value in row.items():
        count = sum(site.module == module for site in layout.sites)
        values = value if isinstance(value, list) else [value] * count
        if not count or len(values) != count:
            raise ValueError(f"step {step}: {module} has {len(values)} values, the model has {count} such sites.")
        cells[module] = iter([_cell(value, f"step {step}, {module}") for value in values])
    missing = sorted({site.module for site in layout.sites} - set(cells))
    if missing:
        raise ValueError(f"step {step} says nothing of {', '.join(missing)}.")
    return tuple(next(cells[site.module]) for site in layout.sites)


def _cell(value: Any, where: str) -> Action:
    words = {"compute": COMPUTE, "reuse": REUSE, "forecast": FORECAST, "skip": SKIP, "late": LATE}
    if isinstance(value, str) and value in words:
        return words[value]
    forecasts = isinstance(value, str) and value.startswith("forecast ")
    value = parse_yaml(value.split()[1]) if forecasts else value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return partial(value, forecasts)
    wanted = "compute, reuse, forecast, skip, late or a fresh ratio from 0 to 1"
    raise ValueError(f"{where}: expected {wanted}, got {shown(value)}.")


def _cell_of(action: Action) -> str | float:
    if action.kind != "partial":
        return action.kind
    return f"forecast {action.fresh_ratio!r}" if action.forecasts else action.fresh_ratio
