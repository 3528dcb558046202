"""Learned routers: Learning-to-Cache (Ma et al., arXiv 2406.01733) and HarmoniCa (Huang et al., arXiv 2410.01723).

Both learn one number r in 0..1 for every site in every step; `examples/routers/train.py` trains them. This file says
what a router does once it is trained, and reads and writes its file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ..axes.sampling import Sampling
from ..checks import Share, check, cleaned
from ..files.reading import read_json
from ..files.writing import atomic_path
from ..models import Site
from ..models.fingerprint import Fingerprint, fingerprint
from ..plan.schedulers import SchedulerMark
from ..registry import register
from .base import Method

FORMAT = "toca-router"
VERSION = 1

RECIPES: dict[str, Callable[[int], bool]] = {
    "learning-to-cache": lambda step: step % 2 == 0,
    "harmonica": lambda step: step == 0,
}
"""The steps that are always full: every other one in Learning-to-Cache, whose router says what the steps between reuse
of the one before; only the first, which has nothing to reuse, in HarmoniCa."""


@dataclass(frozen=True)
class Router:
    """A trained router: the file's content.

    Args:
        recipe (`str`): How it was trained, one of `RECIPES`.
        model (`Fingerprint`): The model it was trained for.
        num_inference_steps (`int`): Steps it was trained for.
        scheduler (`SchedulerMark`): The scheduler it was trained with.
        scores (`tuple[tuple[float, ...] | None, ...]`): r of each site in each step; `None` for a step that is always
            full.
        training (`dict`, *optional*): How the training went.

    Raises:
        ValueError: If the recipe is unknown, or the scores do not fit it, the steps, the sites or the range 0..1.
    """

    recipe: str
    model: Fingerprint
    num_inference_steps: int
    scheduler: SchedulerMark
    scores: tuple[tuple[float, ...] | None, ...]
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self.recipe in RECIPES, "recipe", self.recipe, f"must be one of {', '.join(RECIPES)}")
        if len(self.scores) != self.num_inference_steps:
            raise ValueError(f"It has scores for {len(self.scores)} steps, expected {self.num_inference_steps}.")
        for step, row in enumerate(self.scores):
            self._check_row(step, row)

    def _check_row(self, step: int, row: tuple[float, ...] | None) -> None:
        always_full = RECIPES[self.recipe](step)
        if (row is None) != always_full:
            wanted = "no scores" if always_full else "scores"
            raise ValueError(f"Step {step} must have {wanted} in {self.recipe}.")
        if row is None:
            return
        sites = len(self.model.sites)
        if len(row) != sites:
            raise ValueError(f"Step {step} has {len(row)} scores, expected one for each of the {sites} sites.")
        wrong = [score for score in row if not (isinstance(score, (int, float)) and 0 <= score <= 1)]
        if wrong:
            raise ValueError(f"Step {step} has the score {wrong[0]!r}; scores run from 0 to 1.")

    @cached_property
    def column(self) -> dict[tuple[int, str], int]:
        """Place of each (layer, module) in a row of scores."""
        return {(layer, module): i for i, (layer, module, _) in enumerate(self.model.sites)}

    def save(self, path: str | Path) -> None:
        """Write the file; it appears whole or not at all."""
        data = {"format": FORMAT, "version": VERSION, **asdict(self)}
        text = {key: _rows(value) if key == "scores" else json.dumps(value) for key, value in data.items()}
        lines = ",\n".join(f'"{key}": {value}' for key, value in text.items())
        with atomic_path(path) as temporary:
            temporary.write_text("{\n" + lines + "\n}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Router:
        """Read a file that `save` wrote.

        Raises:
            ValueError: If there is no such file, or it is not a valid router of a version this library reads.
        """
        try:
            return cls._from_dict(read_json(path))
        except OSError as error:
            advice = "give the path of a file that examples/routers/train.py wrote"
            raise ValueError(f"The router file {str(path)!r} cannot be read ({error.strerror}): {advice}.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"missing key {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{str(path)!r} is not a valid router: {cleaned(reason, 400)}") from error

    @classmethod
    def _from_dict(cls, data: Any) -> Router:
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f'it does not say "format": "{FORMAT}".')
        if data["version"] != VERSION:
            raise ValueError(f"it has version {data['version']!r}, this library reads version {VERSION}.")
        return cls(
            recipe=data["recipe"],
            model=Fingerprint.from_dict(data["model"]),
            num_inference_steps=data["num_inference_steps"],
            scheduler=SchedulerMark(**data["scheduler"]),
            scores=tuple(None if row is None else tuple(row) for row in data["scores"]),
            training=data["training"],
        )


def _rows(scores: tuple) -> str:
    """A line a step, so that people can read them."""
    return "[\n" + ",\n".join(f" {json.dumps(row)}" for row in scores) + "\n]"


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
    threshold: Share = 0.1

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
