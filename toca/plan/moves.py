"""What a pass reads of what is kept, and what it renews, block by block: what a cache in the machine's memory brings
to the device, and when it takes it away again. What that costs is reckoned from the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..axes.actions import COMPUTING
from ..axes.spans import Span
from ..models.shape import CallShape
from .passes import Pass
from .table import PlanTable


class Place(NamedTuple):
    """What a site keeps: its output's `"terms"`, or its keys and values, its `"context"`."""

    site: int
    kind: str = "terms"


Quantity = Place | Span
"""What is kept apart from all else: of a site, or of a span as it is stored."""


@dataclass(frozen=True)
class Move:
    """What a pass does with one quantity.

    Args:
        what (`Quantity`): The quantity.
        first, last (`int`): The layer before which it must be there, and the one behind which it may go. What is read
            behind the last block has the number of layers for both.
        reads, renews (`bool`): Whether what is kept is read, and whether it is written.
    """

    what: Quantity
    first: int
    last: int
    reads: bool = False
    renews: bool = False

    def with_other(self, other: Move) -> Move:
        """This and another one of the same quantity."""
        return replace(
            self,
            first=min(self.first, other.first),
            last=max(self.last, other.last),
            reads=self.reads or other.reads,
            renews=self.renews or other.renews,
        )


@dataclass(frozen=True)
class Stage:
    """A block of a pass, or what is behind the last one, at which something comes or goes.

    Args:
        layer (`int`): The block.
        reads (`tuple[Quantity, ...]`): What must be there before it.
        goes (`tuple[Quantity, ...]`): What may go behind it.
        renews (`tuple[Quantity, ...]`): Of that what may have been written.
    """

    layer: int
    reads: tuple[Quantity, ...]
    goes: tuple[Quantity, ...]
    renews: tuple[Quantity, ...]


def stages_of(plan: PlanTable, run: Pass, shape: CallShape) -> list[Stage]:
    """The stages of a pass, in order.

    Args:
        plan (`PlanTable`): The plan.
        run (`Pass`): The pass.
        shape (`CallShape`): Of what its blocks see.
    """
    moves = moves_of(plan, run, shape)
    layers = sorted({layer for move in moves for layer in (move.first, move.last)})
    return [
        Stage(
            layer,
            tuple(move.what for move in moves if move.first == layer and move.reads),
            tuple(move.what for move in moves if move.last == layer),
            tuple(move.what for move in moves if move.last == layer and move.renews),
        )
        for layer in layers
    ]


def moves_of(plan: PlanTable, run: Pass, shape: CallShape) -> list[Move]:
    """What a pass does with what is kept, one move for each quantity; the arguments are those of `stages_of`."""
    found: dict[Quantity, Move] = {}
    for move in (*_of_sites(plan, run, shape), *_of_spans(plan, run), *_of_dropped(plan, run)):
        found[move.what] = found[move.what].with_other(move) if move.what in found else move
    return list(found.values())


def _of_sites(plan: PlanTable, run: Pass, shape: CallShape) -> Iterator[Move]:
    for i, action in enumerate(run.row):
        if action.kind == "skip" or plan.is_hidden(run.row, i):
            continue
        layer, attended = plan.layout.sites[i].layer, i in plan.attended_sites
        fresh = action.kind == "partial" and plan.fresh_tokens(i, run.row, shape) > 0
        if run.drops:
            if attended:
                yield Move(Place(i, "context"), layer, layer, reads=True, renews=True)
        elif action.kind in COMPUTING:
            if i in run.renews:
                yield Move(Place(i), layer, layer, reads=i in plan.forecast_sites, renews=True)
            if attended and run.refreshes:
                yield Move(Place(i, "context"), layer, layer, renews=True)
        else:
            # What goes on from whole outputs alone is not written to.
            forecasts = action.forecasts and plan.fill is not None and plan.fill.kept > 0
            yield Move(Place(i), layer, layer, reads=True, renews=fresh and not forecasts)
            if attended and fresh:
                yield Move(Place(i, "context"), layer, layer, reads=True, renews=True)


def _of_spans(plan: PlanTable, run: Pass) -> Iterator[Move]:
    layers = plan.layout.layers
    for span in run.spans:
        estimates = span.forecasts and plan.fill is not None and plan.fill.reads_latents
        if span.around == "model":
            yield Move(span.stored, layers, layers, reads=True, renews=estimates)
        else:
            yield Move(span.stored, span.first, span.stop - 1, reads=True)
    for span in run.stores:
        layer = layers if span.around == "model" else span.stop - 1
        yield Move(span, layer, layer, reads=plan.kept_spans[span], renews=True)


def _of_dropped(plan: PlanTable, run: Pass) -> Iterator[Move]:
    """What takes the places of tokens that were dropped before the first block."""
    for span in plan.selection_spans if run.drops else ():
        layer = plan.layout.layers - (0 if span.around == "model" else 1)
        yield Move(span.stored, layer, layer, reads=True)


def most_at_once(stages: Sequence[Stage], size: Callable[[Quantity], int]) -> int:
    """The most bytes that are on the device at a time while a pass runs: what the stage that runs reads and renews,
    what the next one reads, which is on its way, and what the one before has renewed, which is on its way back.

    Args:
        stages (`Sequence[Stage]`): Of the pass.
        size (`Callable`): Bytes of a quantity.
    """
    most, there, leaving = 0, set[Quantity](), 0
    for number, stage in enumerate(stages):
        there |= {*stage.reads, *stage.goes}
        coming = stages[number + 1].reads if number + 1 < len(stages) else ()
        most = max(most, leaving + sum(map(size, there)) + sum(size(what) for what in coming if what not in there))
        there -= {*stage.goes}
        leaving = sum(map(size, stage.renews))
    return most
