"""Intervals for means over samples, by the paired bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toca.tuning.quality import bootstrap


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Args:
        mean (`float`): Over the prompts.
        low, high (`float` or `None`): 2.5 % and 97.5 % quantiles of the resampled means; `None` for one prompt.
        prompts (`int`): Number of prompts it is over.
    """

    mean: float
    low: float | None
    high: float | None
    prompts: int


def mean_interval(values: Sequence[float | None], prompts: Sequence[int]) -> Interval | None:
    """The mean of per-sample values, or of per-sample differences: then the bootstrap is paired.

    Prompts are drawn with replacement, each with all of its samples, for samples of one prompt are not independent.
    The draws are the same for every call with the same prompts, so that columns can be compared.

    Args:
        values: One a sample; `None` is left out.
        prompts: The prompt each sample is of.

    Returns:
        `Interval` or `None`: `None` if there is no value.
    """
    by_prompt: dict[int, list[float]] = {}
    for value, prompt in zip(values, prompts, strict=True):
        if value is not None:
            by_prompt.setdefault(prompt, []).append(value)
    means = [float(np.mean(taken)) for taken in by_prompt.values()]
    if len(means) < 2:
        return Interval(means[0], None, None, 1) if means else None
    low, high = bootstrap(means)
    return Interval(float(np.mean(means)), low, high, len(means))


def differences(ours: Sequence[float | None], theirs: Sequence[float | None], sign: int) -> list[float | None]:
    """`sign * (ours - theirs)`, sample by sample; `None` where either has no value."""
    pairs = zip(ours, theirs, strict=True)
    return [None if a is None or b is None else sign * (a - b) for a, b in pairs]
