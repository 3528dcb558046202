"""How a metric becomes known: ours by a file in this folder, another package's by one call of `register`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from toca.eval.metrics.metric import Metric
from toca.registry import load_all

Kind = TypeVar("Kind", bound=Metric)
_KNOWN: dict[str, Metric] = {}


def register(metric: Kind) -> Kind:
    """Make a metric known to configurations, scoring and reports; returns it.

    Raises:
        ValueError: If another one has its key.
    """
    if _KNOWN.setdefault(metric.key, metric) != metric:
        raise ValueError(f"There is a metric {metric.key!r} already: give this one another key.")
    return metric


def metrics(kind: type[Kind]) -> list[Kind]:
    """All metrics of a kind, in the order of their columns."""
    load_all(__name__.rpartition(".")[0], [str(Path(__file__).parent)])
    return sorted((each for each in _KNOWN.values() if isinstance(each, kind)), key=lambda each: each.place)


def find_metric(key: str) -> Metric | None:
    """The metric of this key; `None` if there is none."""
    return next((each for each in metrics(Metric) if each.key == key), None)
