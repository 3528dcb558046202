"""The scale that a metric of fidelity is shown on: where nearly all is kept, on one of decibels, as PSNR has.

An SSIM of 1.000 and an LPIPS of 0.0000 tell no rows apart. What is lost does, by its ratios: -10 log10(1 - SSIM), and
-10 log10(LPIPS). Files of figures (JSON, CSV) hold the metrics as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from toca.eval.metrics.bootstrap import Interval
from toca.eval.metrics.metric import Heading
from toca.eval.metrics.registry import find_metric
from toca.eval.report.columns import direction

DIGITS = 1


@dataclass(frozen=True)
class Scale:
    """How a column of fidelity is shown.

    Args:
        label (`str`): Its heading.
        form (`str`): Of its figures.
        sign (`int`): 1 where more is better and -1 where less is.
        hint (`str`): How to read it.
        convert (`Callable`, *optional*): From the metric's values; as they are if not given.
    """

    label: str
    form: str
    sign: int
    hint: str
    convert: Callable[[float], float] | None = None

    def of(self, interval: Interval | None) -> Interval | None:
        """A mean on this scale, with the ends of its interval; `None` where nothing is lost, as of the full run."""
        if interval is None or self.convert is None:
            return interval
        mean = self.convert(interval.mean)
        if math.isinf(mean):
            return None
        if interval.low is None or interval.high is None:
            return replace(interval, mean=mean)
        low, high = sorted((self.convert(interval.low), self.convert(interval.high)))
        return replace(interval, mean=mean, low=low, high=high)


def scale_of(name: str, heading: Heading) -> Scale:
    """The scale of a metric.

    Args:
        name (`str`): Its key.
        heading (`Heading`): Its column's.
    """
    metric = find_metric(name)
    lost = None if metric is None else metric.lost
    if lost is None:
        return Scale(heading.text, f".{heading.digits}f", heading.sign, direction(heading.sign))
    what = f"1 − {heading.label}" if heading.sign > 0 else heading.label
    label = replace(heading, label=f"{heading.label} dB").text
    hint = f"−10 log10({what}), of the mean; {direction(1)}"
    return Scale(label, f".{DIGITS}f", 1, hint, lambda value: decibels(lost(value)))


def decibels(lost: float) -> float:
    """-10 log10; infinite where nothing is lost."""
    return -10 * math.log10(lost) if lost > 0 else math.inf
