"""The plan: a table of actions over (step, layer, module), known before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from os import PathLike

from .actions import Action, step_letter
from .cost import Cost, plan_cost
from .models import Layout, Site
from .plan_drawing import draw_plan
from .plan_file import read_plan, write_plan
from .selection import Selection


@dataclass(frozen=True)
class Plan:
    """A table of actions: `table[step][i]` is what site `layout.sites[i]` does in that step.

    Args:
        method (`str`): Name of the method that made it.
        num_inference_steps (`int`): Number of steps.
        layout (`Layout`): The model it is for.
        table (`tuple[tuple[Action, ...], ...]`): One row a step.
        selection (`Selection`, *optional*): Which tokens a partial action recomputes; required if there is one.

    Raises:
        ValueError: If the table does not fit the steps and sites, if the first step does not compute every site, or
            if a site that can only be computed or reused whole is partial.
    """

    method: str
    num_inference_steps: int
    layout: Layout
    table: tuple[tuple[Action, ...], ...]
    selection: Selection | None = None

    def __post_init__(self):
        if self.num_inference_steps < 1:
            raise ValueError(f"`num_inference_steps` must be at least 1, got {self.num_inference_steps}.")
        if len(self.table) != self.num_inference_steps:
            raise ValueError(f"The table has {len(self.table)} steps, expected {self.num_inference_steps}.")
        for step, row in enumerate(self.table):
            self._check_row(step, row)

    def _check_row(self, step: int, row: tuple[Action, ...]) -> None:
        if len(row) != len(self.layout.sites):
            sites = len(self.layout.sites)
            raise ValueError(f"Step {step} has {len(row)} actions, expected one for each of the {sites} sites.")
        for site, action in zip(self.layout.sites, row, strict=True):
            where = f"step {step}, layer {site.layer}, {site.module}"
            if step == 0 and action.kind != "compute":
                raise ValueError(f"The first step has nothing to reuse: {where} must be compute, got {action.kind}.")
            if action.kind == "partial" and site.module == "self_attn":
                raise ValueError(
                    f"Self-attention is computed or reused whole: {where} has the fresh ratio {action.fresh_ratio:g}; "
                    "use 0 or 1."
                )
            if action.picks_tokens and self.selection is None:
                raise ValueError(f"{where} is partial, but the plan has no selection that says which tokens.")

    @classmethod
    def build(
        cls,
        method: str,
        layout: Layout,
        num_inference_steps: int,
        decide: Callable[[Site, int], Action],
        selection: Selection | None = None,
    ) -> Plan:
        """Fill the table by asking `decide(site, step)` for every cell. Equal rows share one tuple."""
        rows: dict[tuple, tuple] = {}
        table = []
        for step in range(num_inference_steps):
            row = tuple(decide(site, step) for site in layout.sites)
            table.append(rows.setdefault(row, row))
        return cls(method, num_inference_steps, layout, tuple(table), selection)

    def __getitem__(self, key: tuple[int, int, str]) -> Action:
        """`plan[step, layer, module]`.

        Raises:
            KeyError: If the plan has no such step or site.
        """
        step, layer, module = key
        if not 0 <= step < self.num_inference_steps or (layer, module) not in self.site_index:
            raise KeyError(f"The plan has no step {step} with layer {layer}, module {module!r}.")
        return self.table[step][self.site_index[layer, module]]

    @cached_property
    def site_index(self) -> dict[tuple[int, str], int]:
        """Column of each (layer, module) in the table."""
        return {site.key: i for i, site in enumerate(self.layout.sites)}

    @property
    def steps(self) -> str:
        """One letter a step: F full, t token-wise, r every site reused, m some sites computed and the rest reused."""
        return "".join(step_letter(row) for row in self.table)

    @property
    def full_steps(self) -> int:
        """Number of steps in which every site computes."""
        return self.steps.count("F")

    @cached_property
    def kept(self) -> tuple[bool, ...]:
        """For each site, whether any step takes something from its cached output."""
        return tuple(any(self._looks_back(row, i) for row in self.table) for i in range(len(self.layout.sites)))

    def _looks_back(self, row: tuple[Action, ...], i: int) -> bool:
        site = self.layout.sites[i]
        if row[i].kind == "compute":
            return False
        return site.inside is None or row[self.site_index[site.layer, site.inside]].kind != "reuse"

    @cached_property
    def partial_sites(self) -> frozenset[int]:
        """The sites that pick tokens in any step."""
        return frozenset(i for row in self.table for i, action in enumerate(row) if action.picks_tokens)

    @cached_property
    def score_sources(self) -> dict[int, int]:
        """For each site that is ever partial and scored by attention: the site whose attention is measured."""
        if self.selection is None:
            return {}
        sources = {}
        for i, site in enumerate(self.layout.sites):
            module = self.selection.score_for(self.modules_of(site.layer)).source
            if module is not None and i in self.partial_sites:
                sources[i] = self.site_index[site.layer, module]
        return sources

    def modules_of(self, layer: int) -> tuple[str, ...]:
        """Modules of the sites of one layer."""
        return self._modules[layer]

    @cached_property
    def _modules(self) -> dict[int, tuple[str, ...]]:
        modules: dict[int, tuple[str, ...]] = {}
        for site in self.layout.sites:
            modules[site.layer] = (*modules.get(site.layer, ()), site.module)
        return modules

    @cached_property
    def measured(self) -> tuple[frozenset[int], ...]:
        """For each step, the attention sites that are measured: those whose score a partial action reads, in this
        step or a later one, before the site next computes whole."""
        needed: set[int] = set()
        steps = []
        for row in reversed(self.table):
            # Within a step a feed-forward reads what cross-attention of the same step has just written.
            needed |= {source for i, source in self.score_sources.items() if row[i].picks_tokens}
            steps.append(frozenset(i for i in needed if row[i].kind != "reuse"))
            needed = {i for i in needed if row[i].kind != "compute"} | self._own_readers(row)
        return tuple(reversed(steps))

    def _own_readers(self, row: tuple[Action, ...]) -> set[int]:
        """Partial sites that score by their own earlier measurement (cross-attention)."""
        return {i for i, source in self.score_sources.items() if i == source and row[i].picks_tokens}

    def cost(self, **call) -> Cost:
        """FLOPs, speed-up and cache bytes of a generation, without running the model; see `toca.cost.plan_cost`."""
        return plan_cost(self, **call)

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
        return read_plan(path)

    def draw(self, path: str | PathLike) -> None:
        """Draw the table as a heat map PNG: steps to the right, sites downwards, colour by the share recomputed."""
        draw_plan(self, path)

    def __str__(self) -> str:
        return f"{self.method} on {self.layout.family}, {self.num_inference_steps} steps: {self.steps}"
