"""MeanCache: from instantaneous to mean velocity (arXiv 2601.19961)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from ..axes.fills import Fill
from ..axes.fills.mean_velocity import MeanVelocity
from ..axes.fills.segments import Segments
from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..checks import SomeSteps, Steps, Within, check
from ..registry import register
from .planned import Planned

QWEN_17 = (*range(9), 10, 17, 24, 31, 38, 45, 48, 49)


@register
@dataclass(frozen=True)
class MeanCache(Planned):
    """Full steps from a search along one run; between them the model's output moves on as the mean velocity does.

    **When**: the path through a given number of full steps that has the least sum of w^gamma, w the distance between
    the true mean velocity over a segment and the one estimated with a look-back K; each segment keeps the K that was
    best. **Fill** (scope: the model's output; see `mean-velocity`): v - J (sigma_(s+1) - sigma_s), with v the last
    step's output, filled or not, and J how the velocity has changed since the K-th last step. K = 1 is reuse.

    The presets are the authors' tables. `toca tune` searches anew, for any model and number of steps.

    Args:
        full_steps (`tuple[int, ...]`): The full steps, rising, from step 0 on; the 17 of Qwen-Image by default.
        num_inference_steps (`int`, defaults to 50): The number of steps that they were found for.
        look_back (`tuple[int, ...]`): For each full step the K, from 1 to 6, of those that follow it up to the next,
            and 1 for full steps beyond; those of Qwen-Image by default.

    Raises:
        ValueError: If a look-back is not from 1 to 6.
    """

    full_steps: tuple[Steps, ...] = QWEN_17
    num_inference_steps: SomeSteps = 50
    look_back: tuple[Annotated[int, Within(1, 6)], ...] = (*[1] * 8, 2, *[1] * 5, 4, 1, 1)

    name: ClassVar[str] = "meancache"
    title: ClassVar[str] = "ICLR 2026, arXiv 2601.19961"

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        most = f"must have at most one value for each of the {len(self.full_steps)} full steps"
        check(len(self.look_back) <= len(self.full_steps), "look_back", self.look_back, most)

    def check_scheduler(self, scheduler: Any) -> None:
        """Refuse a scheduler whose latents do not move by a velocity."""
        if not _is_of_flow_matching(scheduler):
            raise ValueError(
                f"meancache reads the velocity of flow matching off the latents, and {type(scheduler).__name__} has "
                "none, as it is set up: use lemica, or have `toca tune` find what fits."
            )

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers, keeps="output", around="model", forecasts=True),)

    def filling(self) -> Fill:
        ones = [1] * (len(self.full_steps) - len(self.look_back))
        look_back = (*self.look_back[: len(self.full_steps)], *ones)
        numbers = sorted(set(look_back))
        ends = (*self.full_steps[1:], self.num_inference_steps)
        by_step: list[int] = []
        for number, stop in zip(look_back, ends, strict=True):
            by_step += [numbers.index(number)] * (stop - len(by_step))
        fills = tuple(MeanVelocity(number) for number in numbers)
        return fills[0] if len(fills) == 1 else Segments(fills, tuple(by_step))


def _is_of_flow_matching(scheduler: Any) -> bool:
    config = getattr(scheduler, "config", {})
    set_up = config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction"
    return bool(set_up) or "FlowMatch" in type(scheduler).__name__
