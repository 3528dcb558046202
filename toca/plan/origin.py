"""What a plan was made from: a search on some prompts, with one scheduler, measured on others."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from ..axes.sampling import other_timestep
from ..checks import Count, Seed, SomeSteps, Within, check, check_fields, cleaned, counted
from .schedulers import SchedulerMark

IDENTICAL = 144.0
"""Decibels from which pictures are the same but for the rounding of float32, 2^-24 of the largest value. They stand
for an infinite PSNR too, for which a file has no word."""

Decibels = Annotated[float, Within(-200, 200)]
Speedup = Annotated[float, Within(0, 1e6, open=True)]


def finite_decibels(psnr: Any) -> Any:
    """A PSNR as files have it: `IDENTICAL` for an infinite one, any other as it is."""
    return IDENTICAL if isinstance(psnr, float) and psnr == math.inf else psnr


def interval_text(psnr: float, low: float, high: float) -> str:
    """A PSNR with its interval: `52.1 dB [51.0, 53.2]`."""
    return "identical" if psnr >= IDENTICAL else f"{psnr:.1f} dB [{low:.1f}, {high:.1f}]"


@dataclass(frozen=True)
class HeldOut:
    """What a plan does to prompts that it was not made from.

    Args:
        prompts (`int`): How many.
        psnr (`float`): Of float pictures, in decibels, to those of the full run; the mean.
        psnr_low, psnr_high (`float`): Its interval of 95 %.
        speedup (`float`): Seconds of the full run over seconds of the plan, on the machine that it was made on.

    Raises:
        ValueError: If a value is of another type or out of range.
    """

    prompts: Count
    psnr: Decibels
    psnr_low: Decibels
    psnr_high: Decibels
    speedup: Speedup

    def __post_init__(self) -> None:
        for name in ("psnr", "psnr_low", "psnr_high"):
            object.__setattr__(self, name, finite_decibels(getattr(self, name)))
        check_fields(self)

    def __str__(self) -> str:
        figures = interval_text(self.psnr, self.psnr_low, self.psnr_high)
        return f"{figures} on {counted(self.prompts, 'other')} at {self.speedup:.2f}x"


@dataclass(frozen=True)
class Origin:
    """What a plan was made from. The model is the one of its layout. With another model, scheduler, schedule or number
    of steps the plan is refused.

    Args:
        scheduler (`SchedulerMark`): The scheduler.
        timesteps (`tuple[float, ...]`): The scheduler's timestep of each of the plan's steps.
        reference_steps (`int`): Steps of the full run that it was compared to.
        prompts (`int`): How many prompts it was searched on.
        prompts_sha256 (`str`): Of these prompts, a line each.
        seeds (`tuple[int, ...]`): Of their noise.
        held_out (`HeldOut`, *optional*): What it does to other prompts; none once the plan was edited.
        version (`str`, *optional*): Of this library.
        digest (`str`, *optional*): Of what the plan does, by which an edit is known; a plan fills it in.

    Raises:
        ValueError: If a value is of another type or out of range.
    """

    scheduler: SchedulerMark
    timesteps: tuple[float, ...]
    reference_steps: SomeSteps
    prompts: Count
    prompts_sha256: str
    seeds: tuple[Seed, ...]
    held_out: HeldOut | None = None
    version: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("prompts_sha256", "version", "digest"):
            check(len(getattr(self, name)) <= 80, name, getattr(self, name), "must be at most 80 characters")

    def __str__(self) -> str:
        figures = "edited since, so without figures" if self.held_out is None else str(self.held_out)
        return f"made from {counted(self.prompts, 'prompt')} for {cleaned(self.scheduler.name, 60)}: {figures}"

    def of(self, digest: str) -> Origin:
        """This origin of a plan that does what `digest` stands for: without the figures if that is not what it did."""
        if self.digest == digest:
            return self
        return replace(self, digest=digest, held_out=None if self.digest else self.held_out)

    def check_scheduler(self, scheduler: Any) -> None:
        """Refuse another scheduler. Raises `ValueError` with the difference."""
        difference = self.scheduler.difference(SchedulerMark.of(scheduler))
        if difference:
            raise ValueError(
                f"The plan was made with {difference}: sample with that scheduler, or make a plan for this one with "
                "toca.tune."
            )

    def check_timesteps(self, timesteps: tuple[float, ...]) -> None:
        """Refuse other timesteps, as far as they are known. Raises `ValueError` with the difference."""
        difference = other_timestep(self.timesteps, timesteps)
        if difference:
            raise ValueError(
                f"The plan was made for other timesteps: {difference}. Sample with the scheduler and the size that it "
                "was made with, or make a plan for these with toca.tune."
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Origin:
        """What `to_dict` described. Raises `ValueError`, `TypeError` or `KeyError` if it is none."""
        data = dict(data)
        scheduler = SchedulerMark(**data.pop("scheduler"))
        held_out = data.pop("held_out")
        return cls(scheduler=scheduler, held_out=None if held_out is None else HeldOut(**held_out), **data)
