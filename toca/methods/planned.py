"""Methods whose plan is known: full steps that a search has found, for one number of steps."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..checks import SomeSteps, Steps, check
from ..models import Site
from .base import Method


@dataclass(frozen=True)
class Planned(Method):
    """Full steps by name; in the others the whole stack is left out.

    Args:
        full_steps (`tuple[int, ...]`): The full steps, rising, from step 0 on.
        num_inference_steps (`int`): The number of steps that they were searched for, and the only one that they are
            for.

    Raises:
        ValueError: If the full steps do not start at 0, do not rise, or are not below the number of steps.
    """

    full_steps: tuple[Steps, ...]
    num_inference_steps: SomeSteps

    def __post_init__(self) -> None:
        super().__post_init__()
        full = self.full_steps
        rises = full[:1] == (0,) and all(a < b for a, b in zip(full, full[1:], strict=False))
        check(rises, "full_steps", full, "must rise from step 0")
        most = f"must be below {self.num_inference_steps}, the number of steps"
        check(full[-1] < self.num_inference_steps, f"full_steps[{len(full) - 1}]", full[-1], most)

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        steps = sampling.num_inference_steps
        if steps != self.num_inference_steps:
            raise ValueError(
                f"These full steps of {self.name} were found for {self.num_inference_steps} steps, and this "
                f"generation has {steps}: take {self.num_inference_steps} steps, or have `toca tune` find the best "
                f"full ones of {steps}."
            )

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step in self.full_steps

    @property
    def leaves_out_blocks(self) -> bool:
        return True

    @abstractmethod
    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        """The whole stack, and what is kept of it."""
