"""Figures as plain data and back, with their tags."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from toca.eval.metrics.judge import Figure
from toca.eval.metrics.scores import Refusal, SampleScores, Score
from toca.eval.metrics.tags import ExtractorTag, ResultTag


def to_data(figure: Figure) -> dict[str, Any]:
    """A figure as JSON can keep it."""
    return {"kind": type(figure).__name__, **asdict(figure)}


def from_data(data: dict[str, Any]) -> Figure:
    """The figure that `to_data` was given, its tag too.

    Raises:
        ValueError: If the data are of no kind of figure.
    """
    kind, values = data.get("kind"), {name: value for name, value in data.items() if name != "kind"}
    if kind == Refusal.__name__:
        return Refusal(**values)
    if kind == Score.__name__:
        return Score(**{**values, "tag": _result_tag(values["tag"])})
    if kind == SampleScores.__name__:
        return SampleScores(**{**values, "values": tuple(values["values"]), "tag": ExtractorTag(**values["tag"])})
    raise ValueError(f"{kind!r} is no kind of figure: delete the file of this result, and score again.")


def _result_tag(data: dict[str, Any]) -> ResultTag:
    return ResultTag(**{**data, "extractor": ExtractorTag(**data["extractor"])})
