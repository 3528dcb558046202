"""A report's figures from the JSON that a run has written."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from toca.checks import cleaned, shown
from toca.eval.findings.quality import ScoreColumn, VariantScore
from toca.eval.findings.results import Match, PartCost, Results, Row
from toca.eval.labels import VariantRecipe
from toca.eval.metrics.bootstrap import Interval
from toca.eval.metrics.metric import Heading
from toca.eval.report.content import FORMAT, Report
from toca.eval.timing.parts import Peak
from toca.eval.variants import Failure


def read_report(path: str | Path) -> Report:
    """The figures of `<model>.json`, as `write_report` writes it.

    Raises:
        ValueError: If the file is no such file.
        OSError: If it cannot be read.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        written_as = data["format"]
        report = _report(data) if written_as == FORMAT else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = cleaned(f"{type(error).__name__}: {error}", 120)
        what = f"holds no results of a run ({reason})"
        raise ValueError(f"{path} {what}: name a file that a run has written.") from error
    if report is None:
        raise ValueError(
            f"{path} has the format {shown(written_as)}, but this version reads {FORMAT!r}: evaluate anew."
        )
    return report


def _report(data: dict[str, Any]) -> Report:
    results = Results(
        model=data["model"],
        config=_config(data["config"]),
        metrics={name: Heading(**metric) for name, metric in data["metrics"].items()},
        uncached=[_row(row) for row in data["uncached"]],
        methods=[_row(row) for row in data["methods"]],
        failures=[Failure(**failure) for failure in data["failures"]],
        taken=(data["taken"][0], data["taken"][1]),
        notes=data["notes"],
    )
    scores = [_column(column) for column in data.get("scores", [])]
    return Report(results, dict(data["environment"]), data.get("command", ""), tuple(data["speedups"]), scores)


def _config(data: dict[str, Any]) -> dict[str, Any]:
    """As it stands. Raises `TypeError`, `ValueError` or `LookupError` where it does not tell the samples."""
    _ = [(int(prompt), int(sample), str(text)) for prompt, sample, text in data["items"]]
    return dict(data)


def _row(data: dict[str, Any]) -> Row:
    known = {name: value for name, value in data.items() if name in {field.name for field in fields(Row)}}
    for name in ("loop_speedup", "total_speedup"):
        known[name] = tuple(known[name])
    known["parts"] = {
        name: PartCost(**{**part, "speedup": tuple(part["speedup"])}) for name, part in known["parts"].items()
    }
    known["peak"] = Peak(**known["peak"])
    known["fidelity"] = _intervals(known["fidelity"])
    for name in ("at_latency", "at_flops"):
        match = known.get(name)
        known[name] = match and _match(match)
    recipe = known.get("recipe")
    known["recipe"] = recipe and VariantRecipe(recipe["base"], tuple(recipe["settings"]))
    return Row(**known)


def _match(data: dict[str, Any]) -> Match:
    return Match(**{**data, "between": tuple(data["between"]), "gains": _intervals(data["gains"])})


def _intervals(data: dict[str, Any]) -> dict[str, Interval | None]:
    return {name: interval and Interval(**interval) for name, interval in data.items()}


def _column(data: dict[str, Any]) -> ScoreColumn:
    return ScoreColumn(**{**data, "scores": {name: _score(score) for name, score in data["scores"].items()}})


def _score(data: dict[str, Any]) -> VariantScore:
    difference = data.get("difference")
    return VariantScore(**{**data, "difference": difference and Interval(**difference)})
