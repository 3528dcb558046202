"""A pass: what one decision has the transformer's blocks do, over all rows of a call or some of them.

A gate that looks at blocks decides in the middle of a run: what came before is a pass, and so is what follows; and so
is the last block run a second time, to verify. What stands outside of the blocks runs in one of them alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..axes.actions import COMPUTE, SKIP, Action
from ..axes.spans import Span
from .table import PlanTable

MODULATED = -1
"""Key of the modulated input of the first attention among what a job notes."""

VERIFIED = -2
"""Key of what leaves the last block when it is run a second time."""


ENTERED = -3
"""Key of what enters the watched layer: between two layers a model may add something."""


@dataclass(frozen=True)
class Pass:
    """What the blocks do in one run, or in a part of one.

    Args:
        row (`tuple[Action, ...]`): What each site does; skip where its block does not run in this pass.
        measured (`frozenset[int]`): The attention sites that are measured.
        spans (`tuple[Span, ...]`): Blocks that are filled, for they are left out or late.
        stores (`frozenset[Span]`): Spans whose quantity is remembered.
        left_out (`frozenset[int]`): All layers that do not run.
        renews (`frozenset[int]`): The sites whose computed output is remembered.
        watches (`tuple[int, ...]`): Boundaries whose hidden states are noted: 0 enters the first layer, n leaves the
            n-th.
        layer (`int`, *optional*): A layer of which what enters it is noted.
        probes_input (`bool`, defaults to `False`): Whether the modulated input of the first attention is noted.
        observes (`bool`, defaults to `False`): Whether the selection is shown what leaves the last layer.
        drops (`bool`, defaults to `False`): Whether tokens are dropped before the first layer.
        refreshes (`bool`, defaults to `False`): Whether self-attention renews the keys and values that it remembers.
        verifies (`bool`, defaults to `False`): Whether the last layer runs a second time, and computes.
        outside (`bool`, defaults to `True`): Whether what stands outside of the blocks runs. Where the model's output
            is filled and no block runs nothing of the model does.
    """

    row: tuple[Action, ...]
    measured: frozenset[int] = frozenset()
    spans: tuple[Span, ...] = ()
    stores: frozenset[Span] = frozenset()
    left_out: frozenset[int] = frozenset()
    renews: frozenset[int] = frozenset()
    watches: tuple[int, ...] = ()
    layer: int | None = None
    probes_input: bool = False
    observes: bool = False
    drops: bool = False
    refreshes: bool = False
    verifies: bool = False
    outside: bool = True

    @property
    def placed(self) -> tuple[Span, ...]:
        """The spans that one process each runs of several."""
        return tuple(span for span in self.spans if span.device is not None)

    def leaves_sites_alone(self, plan: PlanTable) -> bool:
        """Whether every site computes, and nothing of any is remembered, measured or noted."""
        return not (self.renews or self.measured or self.refreshes or self.probes_input) and self.is_full(plan)

    def is_full(self, plan: PlanTable) -> bool:
        """Whether every site computes, so that the model returns what it returns without a cache."""
        return self.row == plan.full_row


def step_pass(plan: PlanTable, step: int, computed: bool | None = None, compiled: bool = False) -> Pass:
    """The run of one step.

    Args:
        plan (`PlanTable`): The plan.
        step (`int`): The step.
        computed (`bool`, *optional*): Whether everything is computed, whatever the plan says.
        compiled (`bool`, defaults to `False`): Whether blocks are to have one graph for all full steps, and few for
            the others: every output that is ever remembered is then, and in full steps every site that is ever
            measured, and keys and values that are ever remembered.
    """
    key = step, computed, compiled
    if key not in plan.passes:
        plan.passes[key] = _step_pass(plan, step, computed, compiled)
    return plan.passes[key]


def _step_pass(plan: PlanTable, step: int, computed: bool | None, compiled: bool) -> Pass:
    everything = frozenset(plan.score_sources.values())
    if computed:
        stores, observes = frozenset(plan.kept_spans), any(plan.observed)
        return Pass(
            row=plan.full_row,
            measured=everything,
            stores=stores,
            renews=frozenset(plan.kept_sites),
            watches=_watches(plan, observes),
            observes=observes,
            refreshes=any(plan.renewed_keys),
        )
    spans, observes = plan.spans[step], plan.observed[step]
    drops, stores = plan.drops(plan.table[step]), plan.stored_spans[step]
    measure_all = compiled and plan.table[step] == plan.full_row
    if measure_all and plan.selection_spans:
        stores = frozenset(plan.kept_spans)
    return Pass(
        row=plan.table[step],
        measured=everything if measure_all else plan.measured[step],
        spans=spans,
        stores=stores,
        renews=frozenset(plan.kept_sites) if compiled and not drops else plan.stored_sites[step],
        left_out=plan.left_out(plan.table[step]),
        watches=_watches(plan, observes),
        observes=observes,
        drops=drops,
        refreshes=drops or (any(plan.renewed_keys) if measure_all else plan.renewed_keys[step]),
        outside=drops or not any(span.around == "model" for span in spans),
    )


def _watches(plan: PlanTable, observes: bool) -> tuple[int, ...]:
    return (plan.layout.layers,) if observes else ()


def probe_pass(plan: PlanTable, layers: int) -> Pass:
    """The run of the first blocks alone, or for 0 of block 0's norm alone."""
    sites = plan.layout.sites
    row = tuple(COMPUTE if site.layer < layers else SKIP for site in sites)
    measured = frozenset(i for i in plan.score_sources.values() if sites[i].layer < layers)
    left_out = frozenset(range(max(layers, 1), plan.layout.layers))
    watches = (0, layers) if layers else ()
    renews = frozenset(i for i in plan.kept_sites if sites[i].layer < layers)
    return Pass(row, measured, left_out=left_out, renews=renews, watches=watches, probes_input=layers == 0)


def resumed(plan: PlanTable, run: Pass, layers: int) -> Pass:
    """The same run after a probe has run the first blocks; those that it leaves out anyhow stay so."""
    done = probed_layers(run, layers)
    if not done:
        return run
    sites = plan.layout.sites
    return replace(
        run,
        row=tuple(SKIP if site.layer in done else action for site, action in zip(sites, run.row, strict=True)),
        measured=frozenset(i for i in run.measured if sites[i].layer not in done),
        renews=frozenset(i for i in run.renews if sites[i].layer not in done),
        left_out=run.left_out | done,
    )


def probed_layers(run: Pass, layers: int) -> frozenset[int]:
    """The layers of a run that a probe of the first ones has done for it."""
    return frozenset(range(layers)) - run.left_out


def share_of(plan: PlanTable, run: Pass, device: int) -> Pass:
    """What one process does of a run whose blocks are shared out: it runs its own, and fills the spans before them by
    what others have made. What leaves its blocks enters none behind them."""
    placed = run.placed
    mine = {*placed[device].layers} if device < len(placed) else set(range(plan.layout.layers))
    mine -= {layer for span in placed[:device] for layer in span.layers}
    return replace(
        run,
        row=tuple(a if s.layer in mine else SKIP for s, a in zip(plan.layout.sites, run.row, strict=True)),
        measured=frozenset(),
        spans=placed[:device],
        stores=frozenset(span for span in run.stores if span.first in mine),
        left_out=frozenset(range(plan.layout.layers)) - mine,
    )


def within(run: Pass) -> Pass:
    """The same as a part of a longer run, which has what stands outside of the blocks."""
    return replace(run, outside=False)


def by_the_model(run: Pass) -> Pass:
    """The same in a call of the model that is under way, whether or not it would have taken one."""
    return replace(run, outside=True)


def verifying_pass(plan: PlanTable) -> Pass:
    """The last block run once more, on what entered it; nothing is remembered."""
    last = plan.layout.layers - 1
    row = tuple(COMPUTE if site.layer == last else SKIP for site in plan.layout.sites)
    return within(Pass(row, left_out=frozenset(range(last))))


def replayed(plan: PlanTable) -> Pass:
    """A run of no block at all, for a call whose output is known."""
    row = (SKIP,) * len(plan.layout.sites)
    stack = Span(0, plan.layout.layers, keeps="output", around="model")
    return Pass(row, spans=(stack,), left_out=frozenset(range(plan.layout.layers)), outside=False)


def watched(run: Pass, boundaries: Iterable[int], probes_input: bool = False) -> Pass:
    """The same run with more noted."""
    return replace(run, watches=tuple(sorted({*run.watches, *boundaries})), probes_input=probes_input)


def watching(run: Pass, layer: int) -> Pass:
    """The same run with what enters and what leaves a layer noted."""
    return replace(watched(run, (layer + 1,)), layer=layer)


def verified(plan: PlanTable, run: Pass) -> Pass:
    """The same run with the last block run a second time, to be held against what it was filled with."""
    last = plan.layout.layers - 1
    return by_the_model(replace(watched(run, (last, last + 1)), verifies=True))


def expected_passes(plan: PlanTable, step: int) -> list[Pass]:
    """The passes that a step takes where the gate, if there is one, lets it be filled."""
    run = step_pass(plan, step)
    if plan.gate is None or plan.table[step] == plan.full_row or plan.gate.probe is None:
        return [run]
    return [within(probe_pass(plan, plan.gate.probe)), by_the_model(resumed(plan, run, plan.gate.probe))]
