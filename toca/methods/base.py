"""What a method is: a validated dataclass with a value on each of three axes, when x which tokens x how to fill."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from ..axes.actions import COMPUTE, FORECAST, LATE, REUSE, SKIP, Action, partial
from ..axes.fills import Fill
from ..axes.gates import Gate
from ..axes.sampling import Sampling
from ..axes.selections import Selection
from ..axes.spans import Span
from ..checks import SomeSteps, check_fields, checked
from ..models import CAPABILITIES, FAMILIES, FamilySpec, Layout, Site, capabilities_of, describe, known_family
from ..models.capabilities import first_lacking
from ..plan import Plan
from ..plan.table import check_size
from ..registry import Registered
from ..sharing.places import file_beside


class Method(Registered, ABC):
    """A published way to make a plan.

    A subclass is a dataclass with validated fields that overrides what its paper has something to say about:

    - **when**: `computes`, which sites compute whole in a step, and for methods that decide while the model runs
      `gate`;
    - **which tokens** a step that is not full computes: `share` of them and `selection`, or `spans` of blocks that are
      not run at all, or late;
    - **how to fill** the others: `filling`, a forecast; reuse where there is none.
    """

    kind: ClassVar[str] = "method"

    name: ClassVar[str]
    """Short name, as in `toca.methods()`."""
    title: ClassVar[str] = ""
    """The paper: authors, venue or year, arXiv number."""
    needs: ClassVar[str] = ""
    """What it needs beside a model, such as a calibration file."""
    files: ClassVar[tuple[str, ...]] = ()
    """Its fields that name a file to read."""

    knob: ClassVar[str | None] = None
    """The field that is a threshold, if it has one: a number above 0, by which more is left out the larger it is."""

    reads_timesteps: ClassVar[bool] = False
    """Whether its plan depends on the scheduler's timesteps, and not on the number of steps alone."""

    def __post_init__(self) -> None:
        """Check the fields by their annotations; a method with further rules adds them.

        Raises:
            ValueError: If a value is of another type or out of range; it names the field and the value.
        """
        if dataclasses.is_dataclass(self):
            check_fields(self)

    @property
    def label(self) -> str:
        """What to call it in plans, summaries and pictures."""
        return self.name

    @property
    def leaves_out_blocks(self) -> bool:
        """Whether some steps do not run some blocks at all."""
        return type(self).spans is not Method.spans

    @property
    def axes(self) -> tuple[str, str, str]:
        """When, which tokens and how to fill, in a word or two each."""
        selection = self.selection()
        which = "blocks" if self.leaves_out_blocks else "nothing"
        if selection is not None:
            which = f"tokens by {selection.label}" + (", blocks" if self.leaves_out_blocks else "")
        when = "plan" if self.gate() is None else "online"
        return when, which, "reuse" if self.filling() is None else "forecast"

    @property
    def asks(self) -> tuple[str, ...]:
        """What it asks of a model, of `toca.models.CAPABILITIES`: what its selection, its fill and its gate ask."""
        parts = (self.selection(), self.filling(), self.gate())
        return tuple(dict.fromkeys(name for part in parts if part is not None for name in part.asks))

    def runs_on(self, spec: FamilySpec) -> bool:
        """Whether the models of a family have what it asks for."""
        return first_lacking(self.asks, capabilities_of(spec)) is None

    def check_asked(self, layout: Layout) -> None:
        """Refuse a model that lacks what the method asks for.

        Raises:
            ValueError: It names the family and its class, what they lack, and what to use instead.
        """
        name = first_lacking(self.asks, layout.capabilities)
        if name is None:
            return
        capability, spec = CAPABILITIES[name], FAMILIES.get(layout.family)
        whose = f"{layout.family} models" + (f" ({spec.transformer})" if spec else "")
        why = "" if spec is None else capability.lacking(spec, layout.default_shape)
        raise ValueError(
            f"{self.label} asks for a model of which {capability.about}, and so does not run on {whose}"
            f"{f': {why}' if why else ''}. Use {capability.instead}."
        )

    def check_fits(self, sampling: Sampling) -> None:  # noqa: B027 (most methods run on any)
        """Refuse a model or a number of steps that the method cannot make a plan for, beyond what it `asks`.

        Raises:
            ValueError: It says why, and what to do.
        """

    def check_scheduler(self, scheduler: Any) -> None:  # noqa: B027 (most methods run with any)
        """Refuse a scheduler that the method was not made for: asked when the cache is put on a pipeline, and at the
        start of each generation.

        Raises:
            ValueError: It says why, and what to do.
        """

    @property
    def lacks_file(self) -> bool:
        """Whether it would be better off with a file of its model, or can do nothing without."""
        return bool(self.files) and all(getattr(self, name) is None for name in self.files)

    @property
    def needs_file(self) -> bool:
        """Whether it can do nothing without the file that it lacks."""
        return self.lacks_file

    def beside(self, folder: str | Path) -> Method:
        """The same with the file that it lacks, if one lies with the weights in a pipeline's folder."""
        if not dataclasses.is_dataclass(self):
            return self
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        found = {name: part.beside(folder) for name, part in parts.items() if isinstance(part, Method)}
        changed = {name: part for name, part in found.items() if part is not parts[name]}
        path = file_beside(folder, self.name)
        changed |= {name: str(path) for name in self.files if self.lacks_file and path.is_file()}
        return dataclasses.replace(self, **changed) if changed else self

    @abstractmethod
    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        """When: whether `site` computes whole in the `step`-th step, in the order of sampling."""

    def gate(self) -> Gate | None:
        """When, decided while the model runs: a `Gate` that each step not computed whole is put before;
        `None` for methods whose plan says it all."""
        return None

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        """Which: the share of the tokens that `site` computes in a step where it is not whole; `None` for none."""
        return None

    def selection(self) -> Selection | None:
        """Which: how those tokens are chosen; `None` for methods that choose none."""
        return None

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        """Which: blocks that a step which is not full leaves out, or runs late."""
        return ()

    def filling(self) -> Fill | None:
        """How to fill: a forecast; `None` to reuse."""
        return None

    @cached_property
    def _forecasts(self) -> bool:
        return self.filling() is not None

    def guided(self, step: int, sampling: Sampling) -> bool:
        """Whether the unconditional branch of classifier-free guidance runs in a step."""
        return True

    def action(self, site: Site, step: int, sampling: Sampling) -> Action:
        """What `site` does in a step in which no span leaves it out."""
        if self.computes(site, step, sampling):
            return COMPUTE
        forecasts = self._forecasts
        share = self.share(site, step, sampling)
        if share == 1.0 and site.whole:
            return COMPUTE
        if share is None or site.whole:
            return FORECAST if forecasts else REUSE
        return partial(share, forecasts)

    def plan(self, transformer: nn.Module, num_inference_steps: int, timesteps: tuple[float, ...] = ()) -> Plan:
        """The plan for a model and a number of steps; the model is not run.

        Args:
            transformer (`nn.Module`): A transformer of a supported family.
            num_inference_steps (`int`): Number of steps.
            timesteps (`tuple[float, ...]`, *optional*): The scheduler's, for methods that read them.

        Raises:
            ValueError: If the model's family is not supported, or the method's values make no valid plan.
        """
        transformer = getattr(transformer, "_orig_mod", transformer)
        layout = describe(transformer, known_family(transformer))
        return self.plan_layout(layout, num_inference_steps, timesteps)

    def plan_layout(self, layout: Layout, num_inference_steps: int, timesteps: tuple[float, ...] = ()) -> Plan:
        """The same from a layout."""
        num_inference_steps = checked(num_inference_steps, SomeSteps, "num_inference_steps")
        check_size(num_inference_steps, len(layout.sites))
        sampling = Sampling(layout, num_inference_steps, timesteps)
        self.check_asked(layout)
        self.check_fits(sampling)
        table, spans, guided = [], [], []
        for step in range(num_inference_steps):
            row, left_out = self._step(step, sampling)
            table.append(row)
            spans.append(left_out)
            guided.append(self.guided(step, sampling))
        fill = self.filling()
        return Plan(
            method=self.label,
            num_inference_steps=num_inference_steps,
            layout=layout,
            table=tuple(table),
            selection=self.selection(),
            spans=tuple(spans),
            fill=fill,
            gate=self.gate(),
            guided=tuple(guided),
            timesteps=timesteps if fill is not None and fill.reads_timesteps else (),
        )

    def _step(self, step: int, sampling: Sampling) -> tuple[tuple[Action, ...], tuple[Span, ...]]:
        sites = sampling.layout.sites
        row = tuple(self.action(site, step, sampling) for site in sites)
        if all(action == COMPUTE for action in row):
            return row, ()
        spans = self.spans(step, sampling)
        filled = {layer: LATE if span.late else SKIP for span in spans for layer in span.layers}
        return tuple(filled.get(site.layer, action) for site, action in zip(sites, row, strict=True)), spans
