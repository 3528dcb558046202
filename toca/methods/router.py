"""A trained router as a file: one number r in 0..1 for every site in every step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from ..checks import check, cleaned
from ..files.reading import found_there, read_json
from ..files.writing import atomic_path
from ..models.fingerprint import Fingerprint
from ..plan.schedulers import SchedulerMark
from ..sharing.card import Card
from ..sharing.places import file_beside
from ..sharing.pretrained import Pretrained
from .router_drawing import draw_routers

FORMAT = "toca-router"
VERSION = 1
PLACE = file_beside("", "learned")
THRESHOLD = 0.1
"""The published one of both recipes."""

RECIPES: dict[str, Callable[[int], bool]] = {
    "learning-to-cache": lambda step: step % 2 == 0,
    "harmonica": lambda step: step == 0,
}
"""The steps that are always full: every other one in Learning-to-Cache, whose router says what the steps between reuse
of the one before; only the first, which has nothing to reuse, in HarmoniCa."""


@dataclass(frozen=True)
class Router(Pretrained):
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

    kind: ClassVar[str] = "router"

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

    def draw(self, path: str | PathLike, threshold: float = THRESHOLD) -> None:
        """Draw r over steps and layers, a panel a module; a dot where a site is reused.

        Args:
            path (`str` or `PathLike`): A file that ends in `.png`, `.pdf` or `.svg`.
            threshold (`float`, defaults to 0.1): Up to which r a site is reused.

        Raises:
            ValueError: If it ends otherwise.
            OSError: If it cannot be written.
        """
        draw_routers([self], threshold, path)

    @property
    def _place(self) -> Path:
        return PLACE

    def _card(self) -> Card:
        rows = [row for row in self.scores if row is not None]
        reused = sum(score <= THRESHOLD for row in rows for score in row)
        facts = {
            "recipe": self.recipe,
            "steps": f"{self.num_inference_steps}, of which {self.num_inference_steps - len(rows)} are always full",
            "scheduler": cleaned(self.scheduler.name, 60),
            "reused": f"{reused / (len(self.model.sites) * self.num_inference_steps):.0%} of all sites, at the "
            f"threshold {THRESHOLD:g}",
        }
        if "iterations" in self.training:
            facts["trained for"] = f"{cleaned(str(self.training['iterations']), 60)} iterations"
        about = (
            "One learned number for every site of the transformer in every denoising step: up to the threshold the "
            "site reuses its last output, above it computes."
        )
        return Card("router", self.model.family, str(self.training.get("model", "")), about, facts)

    def _draw_saved(self, file: Path, picture: Path) -> None:
        self.draw(picture)

    @classmethod
    def _found_in(cls, folder: Path, name: str, **which: Any) -> Router:
        return cls._at_place(folder, PLACE, name, **which)

    def save(self, path: str | PathLike) -> None:
        """Write the file; it appears whole or not at all."""
        data = {"format": FORMAT, "version": VERSION, **asdict(self)}
        text = {key: _rows(value) if key == "scores" else json.dumps(value) for key, value in data.items()}
        lines = ",\n".join(f'"{key}": {value}' for key, value in text.items())
        with atomic_path(path) as temporary:
            temporary.write_text("{\n" + lines + "\n}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike) -> Router:
        """Read a file that `save` wrote.

        Raises:
            ValueError: If there is no such file, or it is not a valid router of a version this library reads.
        """
        advice = "give the path of a file that examples/routers/train.py wrote"
        with found_there(repr(str(path)), "router", "The router file", advice):
            return cls._from_dict(read_json(path))

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
