"""Learned routers: Learning-to-Cache (Ma et al., arXiv 2406.01733) and HarmoniCa (Huang et al., arXiv 2410.01723).

Both learn one number r in 0..1 for every site in every step; `examples/routers/train.py` trains them. This file says
what a router does once it is trained; `router.py` has its file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ..axes.sampling import Sampling
from ..checks import Share
from ..models import Site
from ..models.fingerprint import fingerprint
from ..plan.schedulers import SchedulerMark
from ..registry import register
from .base import Method
from .router import THRESHOLD, Router


@register
@dataclass(frozen=True)
class LearnedRouter(Method):
    """Compute what a trained router says, reuse the rest.

    A site computes if its step is one of the recipe's full steps or if r > threshold, and is reused whole if not. This
    is where the blend r f + (1 - r) cached, which the router was trained with, becomes one or the other (inference in
    both papers). A router belongs to one model, one number of steps and one scheduler, and is refused for any other.

    Args:
        router (`str`, *optional*): Path of the router's file, which is read once, when the method is made. Without one
            there is no plan.
        threshold (`float`, defaults to 0.1): The published threshold of both; 0.9 for Learning-to-Cache on DiT-XL at
            512 x 512 and on U-ViT.

    Raises:
        ValueError: If the file is missing or no valid router, or if `threshold` is not between 0 and 1.
    """

    router: str | None = None
    threshold: Share = THRESHOLD

    name: ClassVar[str] = "learned"
    files: ClassVar[tuple[str, ...]] = ("router",)
    title: ClassVar[str] = "Ma et al., NeurIPS 2024, arXiv 2406.01733; Huang et al., ICML 2025, arXiv 2410.01723"
    needs: ClassVar[str] = "a router trained for the model and the number of steps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.router is not None:
            _ = self.trained  # a file that cannot be used is refused here, and not when a pipeline runs

    @cached_property
    def trained(self) -> Router:
        """The router that the file holds. Raises `ValueError` if there is none."""
        if self.router is None:
            raise ValueError(
                f"{self.name} needs a router: train one with examples/routers/train.py and give its path as `router`."
            )
        return Router.load(self.router)

    @property
    def num_inference_steps(self) -> int | None:
        """The number of steps it was trained for: the only one that it can plan."""
        return None if self.router is None else self.trained.num_inference_steps

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        difference = self.trained.model.difference(fingerprint(sampling.layout))
        if difference:
            raise ValueError(
                f"The router {self.router!r} was trained {difference}: train one for this model with "
                "examples/routers/train.py."
            )
        steps, asked = self.trained.num_inference_steps, sampling.num_inference_steps
        if asked != steps:
            raise ValueError(
                f"The router {self.router!r} was trained for {steps} steps, got `num_inference_steps` {asked}: "
                f"sample in {steps} steps, or train a router for {asked}."
            )

    def check_scheduler(self, scheduler: Any) -> None:
        difference = "" if self.router is None else self.trained.scheduler.difference(SchedulerMark.of(scheduler))
        if difference:
            raise ValueError(
                f"The router {self.router!r} was trained with {difference}: sample with that scheduler, or train a "
                "router for this one."
            )

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        scores = self.trained.scores[step]
        return scores is None or scores[self.trained.column[site.key]] > self.threshold
