"""The plan: a table of actions over (step, layer, module), known before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch

from ..kernels.narrow import cache_dtype_of, name_of
from ..sharing.card import Card
from ..sharing.places import PLAN
from ..sharing.pretrained import Pretrained
from .cost import Cost, plan_cost
from .digest import digest_of
from .drawing import draw_plan
from .file import read_plan, write_plan
from .fitting import demand_of
from .plan_card import plan_card
from .table import PlanTable


@dataclass(frozen=True)
class Plan(PlanTable, Pretrained):
    """A table of actions: `table[step][i]` is what site `layout.sites[i]` does in that step.

    Where the plan has a gate, a step of the table that is not full is what the step does if the gate lets it: the
    gate may have it computed in full instead, for each image by itself.

    Args:
        method (`str`): Name of the method that made it.
        num_inference_steps (`int`): Number of steps.
        layout (`Layout`): The model it is for.
        table (`tuple[tuple[Action, ...], ...]`): One row a step.
        selection (`Selection`, *optional*): Which tokens a partial action recomputes; required if there is one.
        spans (`tuple[tuple[Span, ...], ...]`, *optional*): For each step the blocks that it leaves out.
        fill (`Fill`, *optional*): How to forecast; required if something is.
        gate (`Gate`, *optional*): Decides while the model runs.
        guided (`tuple[bool, ...]`, *optional*): For each step whether the unconditional branch runs; by default it
            always does.
        timesteps (`tuple[float, ...]`, *optional*): The scheduler's timestep of each step, where the fill reads them.
        origin (`Origin`, *optional*): What it was made from, where it was made for one scheduler and one schedule. A
            plan that is edited keeps it, without the figures of what it was before.

    Raises:
        ValueError: If the table does not fit the steps, sites and spans, if the first step does not compute every
            site, or if a site that can only be computed or reused whole is partial.
    """

    kind: ClassVar[str] = "plan"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.origin is not None:
            object.__setattr__(self, "origin", self.origin.of(digest_of(self)))

    def cost(self, **call: Any) -> Cost:
        """FLOPs, speed-up and cache bytes of a generation; the model is not run. See `toca.plan.cost.plan_cost`."""
        return plan_cost(self, **call)

    def fitting_dtype(self, limit: int, cache_dtype: torch.dtype | str | None = None, **call: Any) -> str | None:
        """What features are kept in where `max_cache_bytes` of `toca.enable_cache` is the limit, for one branch of
        guidance: `cache_dtype` if that is given, else the widest with which the cache fits.

        Args:
            limit (`int`): Bytes, at most.
            cache_dtype (`torch.dtype` or `str`, *optional*): As for `toca.enable_cache`.
            call: The sizes that `cost` takes.

        Returns:
            `"bf16"`, `"fp16"`, `"fp8"`, or `None` for the dtype that the model computes in.

        Raises:
            ValueError: If none fits; it says how large the cache is with each, and what keeps less.
        """
        demand = demand_of(self, **call)
        return name_of(demand.fitting_dtype(limit, cache_dtype_of(cache_dtype))) or None

    def save(self, path: str | PathLike) -> None:
        """Write the plan as YAML (`.yaml`, `.yml`) or JSON (`.json`).

        Raises:
            ValueError: If the suffix is none of these.
        """
        write_plan(self, path)

    @staticmethod
    def load(path: str | PathLike) -> Plan:
        """Read a plan that `save` wrote.

        Raises:
            ValueError: If the file is not a valid plan of a version this library reads; it says where and why.
            FileNotFoundError: If there is no such file.
        """
        return read_plan(path, Plan)

    def draw(self, path: str | PathLike, title: str | None = None, **call: Any) -> None:
        """Draw the table as a heat map: steps to the right, sites downwards, colour by the share recomputed. It is a
        dark picture under `matplotlib.style.context("dark_background")`.

        Args:
            path (`str` or `PathLike`): A file that ends in `.png`, `.pdf` or `.svg`.
            title (`str`, *optional*): Such as the preset and the model; the method and the family unless told.
            call: The sizes that `cost` takes, for what it costs; the model's own by default.

        Raises:
            ValueError: If it ends otherwise, or a size is none.
            OSError: If it cannot be written.
        """
        cost = self.cost(**call)
        costs = f"{cost.speedup_text} fewer FLOPs, {cost.cache_bytes / 2**20:.2f} MiB of cache a sample"
        draw_plan(self, path, title or f"{self.method} on {self.layout.family}", costs)

    @property
    def _place(self) -> Path:
        return Path(PLAN)

    def _card(self) -> Card:
        return plan_card(self, self.cost())

    def _draw_saved(self, file: Path, picture: Path) -> None:
        self.draw(picture)

    @classmethod
    def _found_in(cls, folder: Path, name: str, **bounds: Any) -> Plan:
        """The plan, or with bounds (`speedup=2`) the best that meets them of the front that lies there."""
        if bounds:
            return Pretrained.kinds["front"]._found_in(folder, name).plan(**bounds)  # type: ignore[attr-defined]
        return cls._at_place(folder, Path(PLAN), name)
