"""Figures as plain data and back, with their tags."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from toca.eval.metrics.judge import Figure
from toca.eval.metrics.scores import Refusal, SampleScores, SetScore
from toca.eval.metrics.tags import ExtractorTag, ResultTag

REFUSAL, SET, SAMPLES = "Refusal", "Score", "SampleScores"
_KINDS = {Refusal: REFUSAL, SetScore: SET, SampleScores: SAMPLES}


def to_data(figure: Figure) -> dict[str, Any]:
    """A figure as JSON can keep it."""
    return {"kind": _KINDS[type(figure)], **asdict(figure)}


def from_data(data: dict[str, Any]) -> Figure:
    """The figure that `to_data` was given, its tag too.

    Raises:
        ValueError: If the data are of no kind of figure.
    """
    kind, values = data.get("kind"), {name: value for name, value in data.items() if name != "kind"}
    if kind == REFUSAL:
        return Refusal(**values)
    if kind == SET:
        return SetScore(**{**values, "tag": _result_tag(values["tag"])})
    if kind == SAMPLES:
        return SampleScores(**{**values, "values": tuple(values["values"]), "tag": ExtractorTag(**values["tag"])})
    raise ValueError(f"{kind!r} is no kind of figure: delete the file of this result, and score again.")


def _result_tag(data: dict[str, Any]) -> ResultTag:
    return ResultTag(**{**data, "extractor": ExtractorTag(**data["extractor"])})
