"""What a gate looks at in a running pass: what goes through the first blocks, until it has decided."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..hooks.block import BlockHandle, Streams
from ..plan.table import PlanTable

Left = dict[int, Streams]
"""What has left each of some layers."""


class Probe:
    """Asks where the probed blocks have run, and the others have not yet.

    Args:
        plan (`PlanTable`): The plan; its gate probes.
        blocks (`list[BlockHandle]`): One for each layer, frozen to run the first ones alone.
        layers (`int`): How many are probed; 0 for block 0 being looked at before it runs.
        parts (`bool`): Whether images may decide differently: what leaves each block is held for passes to come.
    """

    def __init__(self, plan: PlanTable, blocks: list[BlockHandle], layers: int, parts: bool):
        self.blocks, self.layers = blocks, layers
        spans = [span for span in plan.kept_spans if span.around == "blocks"]
        # Where spans begin and end that are to be stored or filled, which is not known yet.
        self._begins = {span.first for span in spans if span.first < self.layers}
        self._ends = {self.layers - 1, *(range(self.layers) if parts else (span.stop - 1 for span in spans))}
        self._entered: Left = {}
        self._left: Left = {}

    def watch(self, ask: Callable[[Left], bool]) -> None:
        """Have `ask` called, with what has left the probed blocks; it says whether it has frozen the others anew."""
        if not self.layers:
            self.blocks[0].run, self.blocks[0].rehearsed = False, partial(ask, {})
            return
        for layer, block in enumerate(self.blocks[: self.layers]):
            if layer in self._begins:
                block.entering.append(partial(_note, self._entered, layer))
            if layer in self._ends:
                block.leaving.append(partial(_note, self._left, layer))
        self.blocks[self.layers - 1].leaving.append(partial(self._passed, ask))

    def _passed(self, ask: Callable[[Left], bool], streams: Streams) -> Streams:
        if any(block.calls != 1 for block in self.blocks[: self.layers]):
            # The engine sees it when the pass has ended.
            return streams
        if not ask(self._left):
            return streams
        for layer, block in enumerate(self.blocks[: self.layers]):
            streams = self._seen_late(layer, block)
        self._entered, self._left = {}, {}
        return streams

    def _seen_late(self, layer: int, block: BlockHandle) -> Streams:
        """Show what has gone through a block to those who watch it only now."""
        for watch in block.entering:
            watch(self._entered[layer])
        streams = self._left.get(layer, ())
        for watch in block.leaving:
            streams = watch(streams)
        return streams


def _note(notes: Left, layer: int, streams: Streams) -> Streams:
    notes[layer] = streams
    return streams
