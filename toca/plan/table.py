"""The data of a plan: its table of actions, checked, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..axes.actions import COMPUTE, COMPUTING, LATE, SKIP, Action, step_letter, tokens_of
from ..axes.fills import Fill
from ..axes.gates import Gate
from ..axes.sampling import Timeline, spaced_timesteps
from ..axes.selections import Selection
from ..axes.selections.base import check_whole
from ..axes.spans import Span
from ..checks import SomeSteps, check, checked
from ..models.layout import Layout
from ..models.shape import CallShape
from ..models.streams import IMAGE
from .origin import Origin
from .placing import devices_of

MOST_CELLS = 1_000_000
"""Steps x sites of a plan: a thousand steps of a thousand sites."""

LONGEST_NAME = 200
"""Characters of a method's name."""


def check_size(num_inference_steps: int, sites: int) -> None:
    """Refuse a table that nobody needs and that no machine likes to make. Raises `ValueError`."""
    most = f"must be at most {MOST_CELLS // max(sites, 1):,} for a model of {sites:,} sites"
    check(num_inference_steps * sites <= MOST_CELLS, "num_inference_steps", num_inference_steps, most)


@dataclass(frozen=True)
class PlanTable:
    """The data of a plan, with what follows from it; the fields are those of `toca.Plan`.

    Raises:
        ValueError: If the table does not fit the steps, sites and spans, if the first step does not compute every
            site, or if a site that can only be computed or reused whole is partial.
    """

    method: str
    num_inference_steps: int
    layout: Layout
    table: tuple[tuple[Action, ...], ...]
    selection: Selection | None = None
    spans: tuple[tuple[Span, ...], ...] = ()
    fill: Fill | None = None
    gate: Gate | None = None
    guided: tuple[bool, ...] = ()
    timesteps: tuple[float, ...] = ()
    origin: Origin | None = None

    def __post_init__(self) -> None:
        self._check_fields()
        if len(self.table) != self.num_inference_steps:
            raise ValueError(f"The table has {len(self.table)} steps, expected {self.num_inference_steps}.")
        # Equal rows share one tuple, so that comparing them is quick.
        rows: dict[tuple, tuple] = {}
        object.__setattr__(self, "table", tuple(rows.setdefault(row, row) for row in self.table))
        left_out: dict[tuple, tuple] = {}
        each_step = self.spans or ((),) * self.num_inference_steps
        object.__setattr__(self, "spans", tuple(left_out.setdefault(each, each) for each in each_step))
        object.__setattr__(self, "guided", self.guided or (True,) * self.num_inference_steps)
        for name, values in (("spans", self.spans), ("guided", self.guided)):
            if len(values) != self.num_inference_steps:
                raise ValueError(f"`{name}` has {len(values)} steps, expected {self.num_inference_steps}.")
        self._check_timesteps(self.timesteps)
        self._check_timesteps(() if self.origin is None else self.origin.timesteps)
        if not self.guided[0]:
            raise ValueError("The first step must run the unconditional branch.")
        checked_steps: set = set()
        for step, (row, spans) in enumerate(zip(self.table, self.spans, strict=True)):
            # What one step may do, another may; only the first has nothing to look back on.
            alike = row, spans, self.fill is not None and self.fill.latents_weight(step) != 0
            if alike in checked_steps:
                continue
            self._check_spans(step, spans)
            self._check_row(step, row)
            if row != self.full_row:
                self._check_choice(step, row)
            if step:
                checked_steps.add(alike)
        if self.devices > 1 and (self.gate is not None or self.layout.outputs > 1):
            what = f"a {self.layout.family} model's other predictions" if self.gate is None else "a gate"
            raise ValueError(f"Spans that have a `device` go together with no gate, and one prediction, got {what}.")

    def _check_fields(self) -> None:
        for name, hint in FIELDS.items():
            object.__setattr__(self, name, checked(getattr(self, name), hint, name))
        check(len(self.method) <= LONGEST_NAME, "method", self.method, f"must be at most {LONGEST_NAME} characters")
        check_size(self.num_inference_steps, len(self.layout.sites))
        if self.fill is not None:
            self.fill.check_steps(self.num_inference_steps)
        for name, kind in (("table", tuple), ("spans", tuple), ("guided", bool)):
            right = isinstance(getattr(self, name), tuple) and all(isinstance(v, kind) for v in getattr(self, name))
            check(right, name, getattr(self, name), f"must be a tuple of a {kind.__name__} for each step")

    def _check_timesteps(self, timesteps: tuple[float, ...]) -> None:
        if len(timesteps) not in (0, self.num_inference_steps):
            raise ValueError(f"`timesteps` has {len(timesteps)} steps, expected {self.num_inference_steps}.")

    def _check_spans(self, step: int, spans: tuple[Span, ...]) -> None:
        layers = self.layout.layers
        end = 0
        for span in spans:
            check(isinstance(span, Span), f"spans[{step}]", span, "must hold spans")
            if span.first < end or span.stop > layers:
                raise ValueError(
                    f"Step {step}: the span of layers {span.first} to {span.stop - 1} overlaps another one or goes "
                    f"beyond the model's {layers} layers."
                )
            if span.around == "model" and self.layout.outputs > 1:
                raise ValueError(
                    f"Step {step} fills the model's output, but a {self.layout.family} model returns "
                    f"{self.layout.outputs} predictions: use a span around its blocks, which makes all of them."
                )
            if span.around == "model" and (span.first, span.stop) != (0, layers):
                raise ValueError(f"Step {step}: a span around the model must leave out all its {layers} layers.")
            self._check_skips(step, span)
            if span.late and self.selection is not None:
                raise ValueError(f"Step {step}: a plan that chooses tokens has no late spans.")
            if span.forecasts and self.fill is None:
                raise ValueError(f"Step {step} forecasts a span, but the plan does not say how.")
            if span.forecasts and span.around == "blocks":
                self._check_reads_no_latents(step, f"step {step}, layers {span.first} to {span.stop - 1}")
            elif span.forecasts:
                self._check_fills_outputs(step, span)
            end = span.stop

    def _check_skips(self, step: int, span: Span) -> None:
        for giver, taker in self.layout.skips:
            if giver in span and taker not in span:
                does, instead = "leaves out", "leave out both, with"
                if span.late:
                    does, instead = "runs late", "what it gives would not be late; use"
                raise ValueError(
                    f"Step {step} {does} the layers {span.first} to {span.stop - 1}, of which layer {giver} gives "
                    f"layer {taker} what it returns (a long skip of {self.layout.family}): {instead} a span that ends "
                    "as far from the last layer as it begins from the first."
                )

    def _check_row(self, step: int, row: tuple[Action, ...]) -> None:
        if len(row) != len(self.layout.sites):
            sites = len(self.layout.sites)
            raise ValueError(f"Step {step} has {len(row)} actions, expected one for each of the {sites} sites.")
        filled = {layer: LATE if span.late else SKIP for span in self.spans[step] for layer in span.layers}
        for site, action in zip(self.layout.sites, row, strict=True):
            where = f"step {step}, layer {site.layer}, {site.module}"
            check(isinstance(action, Action), f"table[{step}]", action, "must hold actions")
            if step == 0 and action != COMPUTE:
                raise ValueError(f"The first step has nothing to reuse: {where} must be compute, got {action.kind}.")
            if action.picks_tokens and self.selection is None:
                raise ValueError(f"{where} is partial, but the plan has no selection that says which tokens.")
            if action.forecasts and self.fill is None:
                raise ValueError(f"{where} is forecast, but the plan does not say how.")
            if action.forecasts:
                self._check_reads_no_latents(step, where)
            wanted = filled.get(site.layer)
            if (wanted is not None or action.kind in (SKIP.kind, LATE.kind)) and action != wanted:
                raise ValueError(
                    f"{where} must be skip if a span of the step leaves it out, late if one runs it late, and neither "
                    f"otherwise, got {action.kind}."
                )

    def _check_reads_no_latents(self, step: int, where: str) -> None:
        if self.fill is not None and (self.fill.reads_latents or self.fill.latents_weight(step)):
            raise ValueError(
                f"{self.fill.name} reads the model's input and fills its output: {where} must not be forecast by it; "
                "use a span around the model."
            )

    def _check_fills_outputs(self, step: int, span: Span) -> None:
        if self.fill is None or not (self.fill.reads_latents or self.fill.latents_weight(step)):
            return
        if span.keeps != "output":
            raise ValueError(f"Step {step}: what {self.fill.name} fills a span by must keep its output.")
        if not self.fill.reads_latents:
            return
        inner, outer = self.layout.in_width, self.layout.out_width
        if self.layout.predicts != IMAGE:
            raise ValueError(
                f"{self.fill.name} needs a model that returns what it is given anew: a {self.layout.family} model "
                f"returns {self.layout.predicts}."
            )
        if outer > inner:
            raise ValueError(
                f"{self.fill.name} needs a model that returns no more than it is given: this {self.layout.family} "
                f"model takes {inner} numbers for a token and returns {outer}."
            )

    def _check_choice(self, step: int, row: tuple[Action, ...]) -> None:
        if self.selection is None:
            check_whole(self.layout, step, row)
            return
        if self.gate is not None:
            self.selection.check_gate(self.gate)
        self.selection.check_fill(self.fill)
        self.selection.check_step(self.layout, step, row)

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
        """One letter a step: F full, t token-wise, a blocks left out, l blocks late, y forecast, r every site reused,
        m mixed."""
        return "".join(step_letter(row, spans) for row, spans in zip(self.table, self.spans, strict=True))

    @property
    def full_steps(self) -> int:
        """Number of steps in which every site computes."""
        return self.steps.count("F")

    @cached_property
    def kept(self) -> tuple[bool, ...]:
        """For each site, whether any step takes something from its cached output."""
        return tuple(any(self._looks_back(row, i) for row in self.table) for i in range(len(self.layout.sites)))

    @cached_property
    def kept_sites(self) -> tuple[int, ...]:
        """The sites whose output any step takes something from."""
        return tuple(i for i, kept in enumerate(self.kept) if kept)

    def _looks_back(self, row: tuple[Action, ...], i: int) -> bool:
        if row[i].kind in COMPUTING or row[i].kind == "skip" or self.is_hidden(row, i):
            return False
        return row[i].kind != "partial" or self.selection is None or self.selection.fills_sites

    def is_guided(self, step: int) -> bool:
        """Whether the unconditional branch runs in a step; after the last one too."""
        return step >= self.num_inference_steps or self.guided[step]

    def is_hidden(self, row: tuple[Action, ...], i: int) -> bool:
        """Whether a site's output is not looked at, for the site around it is filled."""
        site = self.layout.sites[i]
        if site.inside is None:
            return False
        return row[self.site_index[site.layer, site.inside]].kind in ("reuse", "forecast")

    def left_out(self, row: tuple[Action, ...]) -> frozenset[int]:
        """The layers that do not run."""
        actions = zip(self.layout.sites, row, strict=True)
        return frozenset(site.layer for site, action in actions if action.kind == "skip")

    @cached_property
    def devices(self) -> int:
        """The processes that its blocks are shared out over; 1 where they are not."""
        return devices_of(self.table, self.spans)

    @cached_property
    def full_row(self) -> tuple[Action, ...]:
        """Every site computes."""
        return (COMPUTE,) * len(self.layout.sites)

    @cached_property
    def forecast_sites(self) -> frozenset[int]:
        """The sites whose cached output is forecast in any step."""
        return frozenset(i for row in self.table for i, action in enumerate(row) if action.forecasts and self.kept[i])

    @cached_property
    def kept_spans(self) -> dict[Span, bool]:
        """What is remembered of spans, and for each whether it is ever forecast."""
        kept = {span.stored: span.forecasts for span in self.selection_spans}
        for spans in self.spans:
            for span in spans:
                kept[span.stored] = kept.get(span.stored, False) or span.forecasts
        return kept

    @cached_property
    def stored_sites(self) -> tuple[frozenset[int], ...]:
        """For each step, the sites whose output is stored: those that a later step takes before it is made again.
        Where something is forecast every step counts, and where a gate decides no step is known beforehand."""
        if self.gate is not None:
            return (frozenset(self.kept_sites),) * self.num_inference_steps
        needed: set[int] = set()
        steps = []
        for row in reversed(self.table):
            made, taken = self._made_and_taken[row]
            steps.append(made & needed)
            needed -= made - self.forecast_sites
            needed |= taken
        return tuple(reversed(steps))

    @cached_property
    def _made_and_taken(self) -> dict[tuple[Action, ...], tuple[frozenset[int], frozenset[int]]]:
        """For each row of the table, the kept sites that are made for all tokens, and those from which it takes."""
        found = {}
        for row in dict.fromkeys(self.table):
            seen = [] if self.drops(row) else [i for i in self.kept_sites if not self.is_hidden(row, i)]
            made = frozenset(i for i in seen if row[i].kind in COMPUTING)
            found[row] = made, frozenset(i for i in self.kept_sites if self._looks_back(row, i))
        return found

    @cached_property
    def stored_spans(self) -> tuple[frozenset[Span], ...]:
        """For each step, the spans whose quantity is stored: those that a later step takes before it is stored again.
        Where something is forecast every step counts, and where a gate decides no step is known beforehand."""
        needed: set[Span] = set()
        steps = []
        for row, spans in zip(reversed(self.table), reversed(self.spans), strict=True):
            left_out = self.left_out(row)
            run = {span for span in needed if left_out.isdisjoint(span.layers)}
            drops = self.drops(row)
            # What blocks make in a step that drops tokens is that of some alone.
            run -= {span for span in run if drops and span.around == "blocks"}
            steps.append(frozenset(run))
            if self.gate is None:
                needed -= {span for span in run if not self.kept_spans[span]}
            needed |= {span.stored for span in spans}
            needed |= self._dropping_spans if drops else set()
        return tuple(reversed(steps))

    @cached_property
    def selection_spans(self) -> tuple[Span, ...]:
        """What is kept to fill the tokens that are dropped before the first block."""
        return self.selection.spans(self.layout) if self.selection is not None and self.partial_sites else ()

    @cached_property
    def _dropping_spans(self) -> set[Span]:
        return {span.stored for span in self.selection_spans}

    @cached_property
    def wraps_blocks(self) -> bool:
        """Whether whole blocks must be reached, and not only the modules in them."""
        return bool(self.kept_spans) or self.gate is not None or any(self.observed) or not all(self.guided)

    @property
    def parts_batches(self) -> bool:
        """Whether some rows of a call may do other things than others."""
        return (self.gate is not None and self.gate.per_sample) or not all(self.guided)

    def drops(self, row: tuple[Action, ...]) -> bool:
        """Whether a step drops tokens before the first block."""
        return self.selection is not None and self.selection.drops(row)

    def fresh_tokens(self, i: int, row: tuple[Action, ...], shape: CallShape) -> int:
        """How many tokens of each of its rows a site computes."""
        if row[i].picks_tokens and self.selection is not None:
            return self.selection.fresh_tokens(self.layout.sites[i], row, i, shape)
        return tokens_of(row[i], self.layout.sites[i].geometry(shape)[1])

    @cached_property
    def observed(self) -> tuple[bool, ...]:
        """For each step, whether the selection looks at what leaves the last block: in full ones, before tokens are
        picked by it; where a gate decides, in any."""
        if self.selection is None or not self.selection.observes:
            return (False,) * self.num_inference_steps
        needed, steps = False, []
        for row in reversed(self.table):
            full = row == self.full_row
            steps.append(full and (needed or self.gate is not None))
            needed = (needed and not full) or any(action.picks_tokens for action in row)
        return tuple(reversed(steps))

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
            if i not in self.partial_sites:
                continue
            module = self.selection.source(self.layout.modules_seen(i))
            if module is not None:
                if (site.layer, module) not in self.site_index:
                    raise ValueError(f"Layer {site.layer} has no {module}, by whose attention tokens are scored.")
                sources[i] = self.site_index[site.layer, module]
        return sources

    @cached_property
    def attended_sites(self) -> frozenset[int]:
        """The attention sites whose keys and values are remembered, for the tokens that are dropped."""
        if self.selection is None:
            return frozenset()
        return self.selection.attended(self.layout, self.partial_sites)

    @cached_property
    def renewed_keys(self) -> tuple[bool, ...]:
        """For each step, whether what attends in full remembers its keys and values: where a later step, before the
        next full one, attends to tokens that it does not compute."""
        needed, steps = False, []
        for row in reversed(self.table):
            kinds = [row[i] for i in self.attended_sites]
            steps.append(COMPUTE in kinds and (needed or self.gate is not None))
            needed = (needed and set(kinds) != {COMPUTE}) or any(action.picks_tokens for action in kinds)
        return tuple(reversed(steps))

    @cached_property
    def passes(self) -> dict[Any, Any]:
        """The passes of its steps, as far as they have been made."""
        return {}

    @cached_property
    def timeline(self) -> Timeline:
        """The steps as fills see them."""
        return Timeline(self.num_inference_steps, self.timesteps or spaced_timesteps(self.num_inference_steps))

    @cached_property
    def measured(self) -> tuple[frozenset[int], ...]:
        """For each step, the attention sites that are measured: those whose score a partial action reads, in this
        step or a later one, before the site next computes whole."""
        needed: set[int] = set()
        steps = []
        for row in reversed(self.table):
            # Where a gate decides, any step may be computed and be followed by any other.
            needed |= set(self.score_sources.values()) if self.gate is not None else set()
            # Within a step a feed-forward reads what cross-attention of the same step has just written.
            needed |= {source for i, source in self.score_sources.items() if row[i].picks_tokens}
            steps.append(frozenset(i for i in needed if self._measures(row, i)))
            needed = {i for i in needed if row[i].kind != "compute"} | self._own_readers(row)
        return tuple(reversed(steps))

    def _measures(self, row: tuple[Action, ...], i: int) -> bool:
        """Whether a step renews what is measured of a site. Self-attention of some tokens says nothing of what the
        others receive."""
        return row[i] == COMPUTE or (row[i].kind == "partial" and self.layout.sites[i].attends == "cross")

    def _own_readers(self, row: tuple[Action, ...]) -> set[int]:
        """Partial sites that score by their own earlier measurement (cross-attention)."""
        return {i for i, source in self.score_sources.items() if i == source and row[i].picks_tokens}

    def __str__(self) -> str:
        made = "" if self.origin is None else f" ({self.origin})"
        return f"{self.method} on {self.layout.family}, {self.num_inference_steps} steps: {self.steps}{made}"


FIELDS: dict[str, Any] = {
    "method": str,
    "num_inference_steps": SomeSteps,
    "layout": Layout,
    "selection": Selection | None,
    "fill": Fill | None,
    "gate": Gate | None,
    "timesteps": tuple[float, ...],
    "origin": Origin | None,
}
"""What the fields hold, all but the tables."""
