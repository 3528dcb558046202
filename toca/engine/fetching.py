"""A cache in the machine's memory, at the blocks' two ends: what a block reads is there before it, and what it has
renewed goes behind it, while other blocks run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..hooks.block import BlockHandle, Streams
from ..memory.part import Part
from ..memory.ram import Ram, Stop
from ..plan.moves import Stage, stages_of
from ..plan.passes import Pass
from ..plan.table import PlanTable


class Fetching:
    """Has what a pass needs brought and taken away. This happens outside what is compiled.

    Args:
        ram (`Ram`): Where what is kept lies.
    """

    def __init__(self, ram: Ram) -> None:
        self.ram = ram
        self._behind: int | None = None

    def freeze(self, plan: PlanTable, run: Pass, part: Part, blocks: Sequence[BlockHandle]) -> None:
        """A pass is decided, and all else is in the blocks' handles: send for what its first stage reads, and see to
        the others."""
        stages = stages_of(plan, run, part.key.shape)
        self._behind = None
        for number, stage in enumerate(stages):
            if stage.layer == len(blocks):
                self._behind = number
                continue
            blocks[stage.layer].entering.insert(0, partial(self._enter, number))
            blocks[stage.layer].leaving.append(partial(self._leave, number))
        self.ram.expect([stop_of(stage, part) for stage in stages])

    def behind_the_blocks(self) -> None:
        """All blocks have run: have at hand what is read behind them."""
        if self._behind is not None:
            self.ram.enter(self._behind)

    def close(self, part: Part) -> None:
        """A pass has ended: nothing that it has read or renewed stays on the device."""
        if self._behind is not None:
            self.ram.leave(self._behind)
        self._behind = None
        part.put_away()
        self.ram.clear()

    def _enter(self, stop: int, streams: Streams) -> Streams:
        self.ram.enter(stop)
        return streams

    def _leave(self, stop: int, streams: Streams) -> Streams:
        self.ram.leave(stop)
        return streams


def stop_of(stage: Stage, part: Part) -> Stop:
    """A stage in what is kept of a part."""
    return Stop(tuple(map(part.kept_of, stage.reads)), tuple(map(part.kept_of, stage.goes)))  # type: ignore[arg-type]
