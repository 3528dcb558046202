"""What a front consists of: plans with what they do, fewer steps beside them, and settings of online methods."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..checks import Count, Seed, SomeSteps, check, check_fields, checked, cleaned
from .bounds import Budget, Duration
from .origin import Decibels, Speedup, finite_decibels, interval_text
from .plan import Plan

TOLERANCE = 0.02
"""How far from a speed-up that was asked for is still that speed-up: a clock tells no better."""


@dataclass(frozen=True)
class Entry:
    """A plan of a front, and what it does.

    Args:
        plan (`Plan`): The plan.
        seconds (`float`): Of the denoising loop for one sample.
        speedup (`float`): Seconds of the full run over these.
        psnr (`float`): Of float pictures of held-out prompts, in decibels, to those of the full run.
        psnr_low, psnr_high (`float`): Its interval of 95 %.
        cache_bytes (`int`): Bytes of the tensors kept between steps, for one sample.
        measured (`bool`): Whether `seconds` are those of runs of the plan; else they are the sum of its steps'.

    Raises:
        ValueError: If a value is of another type or out of range.
    """

    plan: Plan
    seconds: Duration
    speedup: Speedup
    psnr: Decibels
    psnr_low: Decibels
    psnr_high: Decibels
    cache_bytes: Count
    measured: bool

    def __post_init__(self) -> None:
        for name in ("psnr", "psnr_low", "psnr_high"):
            object.__setattr__(self, name, finite_decibels(getattr(self, name)))
        check_fields(self)

    @property
    def full_steps(self) -> int:
        return self.plan.full_steps

    @property
    def num_inference_steps(self) -> int:
        return self.plan.num_inference_steps

    @property
    def psnr_text(self) -> str:
        """The quality with its interval, in words."""
        return interval_text(self.psnr, self.psnr_low, self.psnr_high)

    def __str__(self) -> str:
        return f"{self.plan.steps}: {self.speedup:.2f}x at {self.psnr_text}"

    def told(self) -> str:
        """What it does, in a message that says which plan comes nearest."""
        fast = f"{self.speedup:.2f}x ({self.seconds:.3g} s)"
        steps = f"{self.full_steps} of {self.num_inference_steps} steps full"
        return f"reaches {fast} at {self.psnr_text}, {steps}, {self.cache_bytes:,} bytes kept"


def best_of(entries: Sequence[Entry]) -> list[Entry]:
    """Those that nothing as fast is better than, and nothing as good is faster than; in their order."""
    return [entry for entry in entries if not any(_beats(other, entry) for other in entries)]


def _beats(one: Entry, other: Entry) -> bool:
    as_good = one.speedup >= other.speedup and one.psnr >= other.psnr
    return as_good and (one.speedup, one.psnr) != (other.speedup, other.psnr)


@dataclass(frozen=True)
class Searched:
    """What a front was searched on.

    Args:
        prompts (`int`): Number of prompts.
        sha256 (`str`): Of the prompts, a line each.
        seeds (`tuple[int, ...]`): Of their noise.
        held_out (`int`): Number of further prompts, that quality was measured on.

    Raises:
        ValueError: If a value is of another type or out of range.
    """

    prompts: Count
    sha256: str
    seeds: tuple[Seed, ...]
    held_out: Count

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def of(cls, prompts: Sequence[Any], seeds: Sequence[int], held_out: int) -> Searched:
        """From the prompts themselves (or classes)."""
        text = "\n".join(map(str, prompts)).encode("utf-8", "surrogatepass")
        return cls(len(prompts), hashlib.sha256(text).hexdigest(), tuple(seeds), held_out)


@dataclass(frozen=True)
class Fewer:
    """The full model in fewer steps, beside which plans are judged.

    Args:
        num_inference_steps (`int`): How many.
        speedup (`float`): Seconds of the full run over its seconds.
        psnr (`float`): As for `Entry`.
    """

    num_inference_steps: SomeSteps
    speedup: Speedup
    psnr: Decibels

    def __post_init__(self) -> None:
        object.__setattr__(self, "psnr", finite_decibels(self.psnr))
        check_fields(self)


@dataclass(frozen=True)
class Rule:
    """Settings of a method that decides while the model runs, and what each was seen to do.

    Args:
        method (`str`): Short name of the method.
        field (`str`): The field that is set: its threshold.
        settings (`dict`): Other fields that are not as by default, as plain data.
        points (`tuple[tuple[float, float, float], ...]`): Values of the field, each with its speed-up by the clock and
            its PSNR to the full run, both on held-out prompts.

    Raises:
        ValueError: If a value is of another type or out of range, or there is no point.
    """

    method: str
    field: str
    settings: Mapping[str, Any]
    points: tuple[tuple[float, float, Decibels], ...]

    def __post_init__(self) -> None:
        points = self.points if isinstance(self.points, (list, tuple)) else ()
        finite = tuple(tuple(map(finite_decibels, point)) for point in points)
        object.__setattr__(self, "points", finite or self.points)
        check_fields(self)
        check(bool(self.points), "points", self.points, "must be one or more")

    @property
    def fastest(self) -> float:
        """The largest speed-up that was seen."""
        return max(speedup for _, speedup, _ in self.points)

    def value_for(self, speedup: float) -> float:
        """The least value of the field that is so fast: one that was tried, or one between two of them, by the
        logarithms of the values.

        Raises:
            ValueError: If the speed-up is below 1, or none is so fast, give or take 2 %; it names the fastest.
        """
        wanted = checked(speedup, Budget, "speedup")
        slower: tuple[float, float] | None = None
        for value, reached, _ in sorted(self.points):
            if reached >= wanted:
                return value if slower is None else _between(slower, (value, reached), wanted)
            slower = value, reached
        if wanted > self.fastest * (1 + TOLERANCE):
            self.at(wanted)
        return min(value for value, reached, _ in self.points if reached == self.fastest)

    def at(self, speedup: float) -> tuple[float, float, float]:
        """The point of the best quality that is at least so fast.

        Raises:
            ValueError: If none is; it names the fastest.
        """
        fast = [point for point in self.points if point[1] >= speedup]
        if fast:
            return max(fast, key=lambda point: point[2])
        value, most, psnr = max(self.points, key=lambda point: point[1])
        raise ValueError(
            f"No setting of {cleaned(self.method, 60)} that was tried is {speedup:g} times as fast: "
            f"{self.field}={value:g} reaches {most:.2f}x at {psnr:.1f} dB."
        )


def _between(slower: tuple[float, float], faster: tuple[float, float], speedup: float) -> float:
    """The value between two, each with its speed-up; the faster one where the other is 0, which has no logarithm."""
    if slower[0] <= 0:
        return faster[0]
    part = (speedup - slower[1]) / (faster[1] - slower[1])
    return slower[0] ** (1 - part) * faster[0] ** part
