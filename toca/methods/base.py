"""What a method is: a validated dataclass that says for every site and step what to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from ..actions import Action
from ..models import FAMILIES, Layout, Site, describe, family_of
from ..plan import Plan
from ..selection import Selection


class Method(ABC):
    """A published way to make a plan: a value on each of three axes, when x which tokens x how to fill.

    A subclass is a dataclass with validated fields. It says what a site does in a step (`action`), and, if it
    recomputes some tokens, which (`selection`).
    """

    name: ClassVar[str]
    """Short name, as in `toca.methods()`."""

    @abstractmethod
    def action(self, site: Site, step: int, num_inference_steps: int) -> Action:
        """What `site` does in the `step`-th of `num_inference_steps` steps, in the order of sampling."""

    def selection(self) -> Selection | None:
        """Which tokens a partial action recomputes; `None` for methods that have none."""
        return None

    def plan(self, transformer: nn.Module, num_inference_steps: int) -> Plan:
        """The plan for a model and a number of steps; the model is not run.

        Args:
            transformer (`nn.Module`): A transformer of a supported family.
            num_inference_steps (`int`): Number of steps.

        Raises:
            ValueError: If the model's family is not supported, or the method's values make no valid plan.
        """
        transformer = getattr(transformer, "_orig_mod", transformer)
        spec = family_of(transformer)
        if spec is None:
            names = ", ".join(spec.transformer for spec in FAMILIES.values())
            raise ValueError(f"{type(transformer).__name__} is of no supported family; supported are {names}.")
        return self.plan_layout(describe(transformer, spec), num_inference_steps)

    def plan_layout(self, layout: Layout, num_inference_steps: int) -> Plan:
        """The same from a layout."""

        def decide(site: Site, step: int) -> Action:
            return self.action(site, step, num_inference_steps)

        return Plan.build(self.name, layout, num_inference_steps, decide, self.selection())
