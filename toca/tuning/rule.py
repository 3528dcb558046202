"""What the threshold of a method must be for a speed-up, as measured: data that a front holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..checks import check, check_fields
from ..methods import Method
from ..methods.knob import Knob
from ..registry import from_data, registered

TOLERANCE = 0.02
"""How far from a speed-up that was asked for is still that speed-up: the clock is no better."""


@dataclass(frozen=True)
class Rule:
    """A method whose threshold was measured for several speed-ups.

    Args:
        method (`str`): Its name.
        field (`str`): Its threshold.
        settings (`dict`): Its other fields, as plain data.
        points (`tuple[tuple[float, float, float], ...]`): Values of the threshold, from the least; for each how much
            faster the denoising loop is by the clock, and the PSNR to the full run, in decibels, both on prompts that
            the search has not seen.

    Raises:
        ValueError: If there is no such method, or its points are none or out of order.
    """

    method: str
    field: str
    settings: Mapping[str, Any]
    points: tuple[tuple[float, float, float], ...]

    def __post_init__(self) -> None:
        check_fields(self)
        values = [value for value, _, _ in self.points]
        ordered = bool(values) and values == sorted(set(values)) and values[0] > 0
        check(ordered, "points", values, "must be of ascending values above 0")
        check(all(speedup > 0 for _, speedup, _ in self.points), "points", self.points, "must have speed-ups above 0")
        self._with(values[0])

    @property
    def fastest(self) -> float:
        """The largest speed-up that was reached."""
        return max(speedup for _, speedup, _ in self.points)

    def value_for(self, speedup: float) -> float:
        """The least threshold that is as fast as that; between two that were measured it is interpolated, by the
        logarithms.

        Raises:
            ValueError: If no value is that fast; it names the fastest.
        """
        check_speedup(speedup)
        before: tuple[float, float] | None = None
        for value, reached, _ in self.points:
            if reached >= speedup:
                return value if before is None else _between(before, (value, reached), speedup)
            before = value, reached
        if speedup > self.fastest * (1 + TOLERANCE):
            raise unreachable(self.method, speedup, self.fastest)
        return next(value for value, reached, _ in self.points if reached == self.fastest)

    def setting_for(self, speedup: float) -> Method:
        """The method with the threshold for a speed-up. Where it takes a file that lies beside the model's weights,
        that is yet to be found (`Method.beside`). Raises `ValueError` as `value_for` does."""
        return self._with(self.value_for(speedup))

    def psnr_at(self, speedup: float) -> float:
        """PSNR of the nearest point that was measured. Raises `ValueError` as `value_for` does."""
        self.value_for(speedup)
        return min(self.points, key=lambda point: abs(point[1] - speedup))[2]

    def _with(self, value: float) -> Method:
        made: Method = from_data({"method": self.method, "fields": {**self.settings, self.field: value}})
        return made


def _between(slower: tuple[float, float], faster: tuple[float, float], speedup: float) -> float:
    part = (speedup - slower[1]) / (faster[1] - slower[1])
    return Knob.between(slower[0], faster[0], part)


def check_speedup(value: float) -> None:
    """Raise `ValueError` for a speed-up below 1, or what is none."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    check(number and 1 <= value < 1e6, "speedup", value, "must be at least 1 (2 is twice as fast)")


def unreachable(method: str, speedup: float, fastest: float) -> ValueError:
    """The error for a speed-up that a method does not come to."""
    return ValueError(
        f"{method} gets no further than {fastest:.2f}x here, and {speedup:g}x was asked for: ask for "
        f"{int(fastest * 100) / 100:g}x or less, let it compute fewer first steps, or take a tuned plan."
    )


def with_knob(methods: Sequence[Method]) -> list[Method]:
    """The same methods. Raises `ValueError` for one that has no threshold to turn; it names those that have."""
    for method in methods:
        if method.knob is None:
            known = ", ".join(name for name, cls in registered("method").items() if cls.knob is not None)
            raise ValueError(
                f"{method.name} has no threshold that a speed-up could be found by; methods that have one are {known}."
            )
    return list(methods)
