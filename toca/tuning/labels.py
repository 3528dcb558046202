"""Labels: what stands in the place of the steps between two full ones, and the plan that labels make."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..axes.actions import COMPUTE, FORECAST, REUSE, SKIP, Action, partial
from ..axes.fills import Fill
from ..axes.fills.fitted import Fitted
from ..axes.fills.polynomial import Polynomial
from ..axes.fills.segments import Segments
from ..axes.selections import Selection
from ..axes.selections.drifting import ByDrift
from ..axes.spans import Span
from ..models import Layout
from ..models.capabilities import first_lacking
from ..models.streams import IMAGE
from ..plan import Plan

Scope = Literal["output", "residual", "last", "sites", "tokens"]

SPANS: Mapping[str, tuple[str, str]] = {
    "output": ("output", "model"),
    "residual": ("residual", "blocks"),
    "last": ("output", "blocks"),
}
"""What is kept, and around what, of the scopes that leave out the whole stack."""


@dataclass(frozen=True)
class Label:
    """How a filled step is filled.

    Args:
        name (`str`): What to call it.
        scope (`str`): Where: `"output"` (the model's), `"residual"` (what the stack of blocks adds), `"last"` (what
            leaves the last block), `"sites"` (each module's output) or `"tokens"` (the same, with a share of the
            tokens recomputed).
        fill (`Fill`, *optional*): A forecast; reuse where there is none.
        fitted (`int`, defaults to 0): Of how many last values the weights are fitted to each step of a run, which
            take the place of the fill; 0 for none. Of the model's output alone.
        share (`float`, defaults to 0): Of the tokens, for `"tokens"`.
        selection (`Selection`, *optional*): Which tokens.
    """

    name: str
    scope: Scope
    fill: Fill | None = None
    fitted: int = 0
    share: float = 0.0
    selection: Selection | None = None

    @property
    def forecasts(self) -> bool:
        return self.fill is not None or self.fitted > 0

    @property
    def looks_back(self) -> int:
        """How many full steps it goes on from."""
        if self.fitted:
            return self.fitted
        return 1 if self.fill is None else self.fill.remembers or 2

    @property
    def kind(self) -> tuple[bool, bool]:
        """Labels of one kind go wrong in one way: what a deviation does to the end is measured once for all of
        them."""
        return self.scope == "output", self.forecasts

    def row(self, layout: Layout) -> tuple[tuple[Action, ...], tuple[Span, ...]]:
        """What a filled step does."""
        sites = layout.sites
        if self.scope in SPANS:
            keeps, around = SPANS[self.scope]
            span = Span(0, sites[-1].layer + 1, keeps, around, self.forecasts)
            return (SKIP,) * len(sites), (span,)
        plain = FORECAST if self.forecasts else REUSE
        if self.scope == "sites":
            return (plain,) * len(sites), ()
        # What has no image token to choose, the text's own modules, is computed.
        chosen = partial(self.share, self.forecasts)
        return tuple((plain if site.whole else chosen) if IMAGE in site.parts else COMPUTE for site in sites), ()


LINE_IN_TIME = Polynomial(order=1)
LINE_IN_STEP = Polynomial(order=1, variable="step")


def standard_labels() -> tuple[Label, ...]:
    """What a search tries by itself."""
    return (
        Label("reuse the output", "output"),
        Label("line in the timestep, output", "output", LINE_IN_TIME),
        Label("line in step, output", "output", LINE_IN_STEP),
        Label("parabola in the timestep, output", "output", Polynomial(order=2)),
        Label("four values fitted, output", "output", fitted=4),
        Label("reuse the residual", "residual"),
        Label("line in step, residual", "residual", LINE_IN_STEP),
        Label("reuse the last block", "last"),
        Label("line in step, last block", "last", LINE_IN_STEP),
        Label("reuse the modules", "sites"),
        Label("tokens that drift", "tokens", LINE_IN_STEP, share=0.3, selection=ByDrift()),
    )


def usable(layout: Layout, timesteps: tuple[float, ...]) -> tuple[Label, ...]:
    """The standard labels of which a model can have plans."""
    found = []
    for label in standard_labels():
        asked = () if label.selection is None else label.selection.asks
        with contextlib.suppress(ValueError):
            if first_lacking(asked, layout.capabilities) is not None:
                continue
            plan_of(Draft((0,), (0,)), [label], layout, timesteps)
            found.append(label)
    return tuple(found)


@dataclass(frozen=True)
class Draft:
    """A plan in the making.

    Args:
        full (`tuple[int, ...]`): The full steps; the first is 0.
        labels (`tuple[int, ...]`): For each of them the label, by its number, of the steps that follow it up to the
            next; 0 where none do.
    """

    full: tuple[int, ...]
    labels: tuple[int, ...]

    def segments(self, num_inference_steps: int) -> list[tuple[int, int, int]]:
        """`(full step, the next one or the end, label)`."""
        return list(zip(self.full, (*self.full[1:], num_inference_steps), self.labels, strict=True))

    def filled(self, num_inference_steps: int) -> dict[int, int]:
        """The label of each step that is not full."""
        segments = self.segments(num_inference_steps)
        return {step: label for start, stop, label in segments for step in range(start + 1, stop)}

    def grown(self, num_inference_steps: int) -> list[Draft]:
        """All that come of it by one full step more, which parts a segment in two of the same label."""
        found = []
        for place, (start, stop, label) in enumerate(self.segments(num_inference_steps)):
            for step in range(start + 1, stop):
                full = (*self.full[: place + 1], step, *self.full[place + 1 :])
                # A segment in which nothing is left to fill has no label.
                parts = (label if step > start + 1 else 0, label if stop > step + 1 else 0)
                found.append(Draft(full, (*self.labels[:place], *parts, *self.labels[place + 1 :])))
        return found

    def shrunk(self, num_inference_steps: int) -> list[Draft]:
        """All that come of it by one full step less: two segments become one, with the label of either that fills
        anything, or where neither does with each label that the draft has."""
        parts = self.segments(num_inference_steps)
        filling = [label for start, stop, label in parts if stop > start + 1]
        found: dict[Draft, None] = {}
        for place in range(1, len(parts)):
            sides = [label for start, stop, label in parts[place - 1 : place + 1] if stop > start + 1]
            full = (*self.full[:place], *self.full[place + 1 :])
            for label in sides or filling or [0]:
                found[Draft(full, (*self.labels[: place - 1], label, *self.labels[place + 1 :]))] = None
        return list(found)


def plan_of(
    draft: Draft,
    labels: Sequence[Label],
    layout: Layout,
    timesteps: tuple[float, ...],
    fitted: Fitted | None = None,
    method: str = "tuned",
) -> Plan:
    """The plan that a draft stands for.

    Args:
        draft (`Draft`): Full steps and labels.
        labels (`Sequence[Label]`): What its numbers mean.
        layout (`Layout`): The model.
        timesteps (`tuple[float, ...]`): Of the scheduler's steps.
        fitted (`Fitted`, *optional*): The weights of the last values, for the steps that a fitted label fills; without
            them the newest one stands there.
        method (`str`, defaults to `"tuned"`): What the plan says that it was made by.
    """
    steps = len(timesteps)
    full: tuple[Action, ...] = (COMPUTE,) * len(layout.sites)
    table: list[tuple[Action, ...]] = [full] * steps
    spans: list[tuple[Span, ...]] = [()] * steps
    filled = {step: labels[number] for step, number in draft.filled(steps).items()}
    for step, label in filled.items():
        table[step], spans[step] = label.row(layout)
    fill = _fill_of(filled, steps, fitted)
    selections = {label.selection for label in filled.values() if label.selection is not None}
    return Plan(
        method=method,
        num_inference_steps=steps,
        layout=layout,
        table=tuple(table),
        selection=next(iter(selections), None),
        spans=tuple(spans),
        fill=fill,
        timesteps=timesteps if fill is not None and fill.reads_timesteps else (),
    )


def unfitted(values: int, steps: int) -> tuple[tuple[float, ...], ...]:
    """A row of weights for each step, of which none is fitted: the newest value as it is."""
    return ((1.0, *[0.0] * (values - 1)),) * steps


def _fill_of(filled: Mapping[int, Label], steps: int, fitted: Fitted | None) -> Fill | None:
    """The one fill of a plan: that of all forecasting steps, or one that says for each step which it is."""
    fills: dict[Fill, int] = {}
    numbers = [0] * steps
    for step, label in filled.items():
        fill = (fitted or Fitted(unfitted(label.fitted, steps))) if label.fitted else label.fill
        if fill is not None:
            numbers[step] = fills.setdefault(fill, len(fills))
    if len(fills) < 2:
        return next(iter(fills), None)
    return Segments(tuple(fills), tuple(numbers))
