"""One generation as a method sees it: the model, the number of steps, the timesteps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..checks import SomeSteps, check, check_fields
from ..models import Layout

TRAIN_TIMESTEPS = 1000
"""Timesteps run from here down to 0 (diffusers gives flow matching the same scale: 1000 sigma)."""


@dataclass(frozen=True)
class Timeline:
    """The steps of a generation.

    Args:
        num_inference_steps (`int`): S, their number.
        timesteps (`tuple[float, ...]`): The scheduler's timestep of each, in the order of sampling.
    """

    num_inference_steps: int
    timesteps: tuple[float, ...]


@dataclass(frozen=True)
class NoiseLevel:
    """How much of the picture and of the noise is in the latents of a step: `signal * picture + noise * noise`.

    Args:
        signal, noise (`float`): 1 - sigma and sigma in flow matching; where variance is preserved the roots of
            alpha-bar and of 1 - alpha-bar.
    """

    signal: float
    noise: float

    @classmethod
    def of_flow(cls, sigma: float) -> NoiseLevel:
        """That of flow matching."""
        return cls(1 - sigma, sigma)

    @classmethod
    def of_ratio(cls, ratio: float) -> NoiseLevel:
        """The same where variance is preserved, of the ratio of noise to picture."""
        root = (1 + ratio**2) ** 0.5
        return cls(1 / root, ratio / root)


TOLERANCE = 0.01
"""Schedules of one kind differ by their rounding only."""


def other_timestep(then: Sequence[float], now: Sequence[float]) -> str:
    """Where two schedules part, in words; empty where they do not, or where one of them is not known."""
    for step, (one, other) in enumerate(zip(then, now, strict=False)):
        if abs(one - other) > TOLERANCE:
            return f"step {step} was at {one:g}, and here it is at {other:g}"
    return ""


def spaced_timesteps(num_inference_steps: int) -> tuple[float, ...]:
    """Evenly spaced timesteps, for where no scheduler has been asked."""
    return tuple(TRAIN_TIMESTEPS * (1 - step / num_inference_steps) for step in range(num_inference_steps))


@dataclass(frozen=True)
class Sampling:
    """What a plan is made for.

    Args:
        layout (`Layout`): The model.
        num_inference_steps (`int`): S, the number of steps.
        timesteps (`tuple[float, ...]`): The scheduler's timestep of each step, in the order of sampling; evenly
            spaced ones where no scheduler has been asked.
        timesteps_known (`bool`): Whether a scheduler has been asked.

    Raises:
        ValueError: If the steps are no positive number, or the timesteps are not as many.
    """

    layout: Layout
    num_inference_steps: SomeSteps
    timesteps: tuple[float, ...] = field(default=())
    timesteps_known: bool = field(init=False)

    def __post_init__(self) -> None:
        check_fields(self)
        steps = self.num_inference_steps
        right = len(self.timesteps) in (0, steps)
        check(right, "timesteps", self.timesteps, f"must be one for each of the {steps} steps")
        object.__setattr__(self, "timesteps_known", bool(self.timesteps))
        if not self.timesteps:
            object.__setattr__(self, "timesteps", spaced_timesteps(steps))

    @property
    def layers(self) -> int:
        """Number of blocks, over all stacks."""
        return self.layout.layers
