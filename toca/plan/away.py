"""What a cache costs that lies in the machine's memory: bytes there, on the device, and copied between the two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ..axes.selections.base import key_rows, keys_kept
from ..axes.spans import Span
from ..models.shape import CallShape
from .kept import Kept
from .moves import Place, Quantity, most_at_once, stages_of
from .passes import Pass, expected_passes, step_pass
from .table import PlanTable

PARTED = 2
"""How many of one quantity are there when images part or come together: what was kept, and what becomes of it."""

MERGED = 3
"""The same when two branches of guidance become one."""


@dataclass(frozen=True)
class Away:
    """What a branch of a generation moves where its features lie in the machine's memory.

    Args:
        plan (`PlanTable`): Its plan.
        shape (`CallShape`): Of its calls.
        kept (`Kept`): How features are kept.
        batched_cfg (`bool`): Whether the batch's halves are guidance branches of the same samples.
    """

    plan: PlanTable
    shape: CallShape
    kept: Kept
    batched_cfg: bool = False

    @property
    def bytes(self) -> int:
        """Bytes in the machine's memory: all that is kept of features."""
        return sum(map(self.size, self._quantities))

    @cached_property
    def most_on_device(self) -> int:
        """Bytes of it that are on the device at the most."""
        passes = [stages_of(self.plan, run, self.shape) for run in dict.fromkeys(self._runs())]
        most = max((most_at_once(stages, self.size) for stages in passes), default=0)
        # Before the first block tokens are chosen by what is kept of a span.
        alone = max((self.size(span.stored) for span in self.plan.selection_spans), default=0)
        return max(most, alone, self._copies * max(map(self.size, self._quantities), default=0))

    @property
    def _copies(self) -> int:
        """How many of one quantity are there at once between the passes."""
        images = self.shape.batch // 2 if self.batched_cfg else self.shape.batch
        parts = self.plan.gate is not None and self.plan.gate.per_sample and images > 1
        return MERGED if not all(self.plan.guided) else PARTED if parts else 0

    @property
    def copied(self) -> int:
        """Bytes that are copied in a generation, both ways; where a gate decides, if it lets every step be filled."""
        total, held = 0, set[Quantity]()
        for step in range(self.plan.num_inference_steps):
            shape = self._shape_in(step)
            sized = replace(self, shape=shape).size
            for run in self._passes(step):
                if run.drops:
                    # Tokens are chosen by it before the first block.
                    total += sized(self.plan.selection_spans[0].stored)
                for stage in stages_of(self.plan, run, shape):
                    total += sum(sized(what) for what in stage.reads if what in held)
                    total += sum(map(sized, stage.renews))
                    held |= {*stage.renews}
        return total

    def size(self, what: Quantity) -> int:
        """Bytes of a quantity."""
        if isinstance(what, Span):
            return span_bytes(self.plan, what, self.shape, self.kept)
        site = self.plan.layout.sites[what.site]
        if what.kind == "context":
            numbers = keys_kept((site,), self.shape) * self.kept.itemsize
            return numbers + self.kept.scale_bytes(key_rows((site,), self.shape))
        return site_bytes(self.plan, what.site, self.shape, self.kept)

    @property
    def _quantities(self) -> list[Quantity]:
        of_sites = [Place(i) for i in self.plan.kept_sites]
        return [*of_sites, *(Place(i, "context") for i in self.plan.attended_sites), *self.plan.kept_spans]

    def _passes(self, step: int) -> list[Pass]:
        """The passes of a step that a gate, if there is one, lets be filled."""
        if self.plan.gate is not None and self.plan.table[step] == self.plan.full_row:
            return [step_pass(self.plan, step, computed=True)]
        return expected_passes(self.plan, step)

    def _runs(self) -> Iterator[Pass]:
        """All passes that a generation may take."""
        for step in range(self.plan.num_inference_steps):
            yield from self._passes(step)
            if self.plan.gate is not None:
                yield step_pass(self.plan, step)
                yield step_pass(self.plan, step, computed=True)

    def _shape_in(self, step: int) -> CallShape:
        halved = self.batched_cfg and not self.plan.is_guided(step)
        return replace(self.shape, batch=self.shape.batch // 2) if halved else self.shape


def site_bytes(plan: PlanTable, i: int, shape: CallShape, kept: Kept) -> int:
    """Bytes kept of a site's output."""
    site, fill = plan.layout.sites[i], plan.fill if i in plan.forecast_sites else None
    rows, tokens = site.geometry(shape)
    return kept.bytes(site.numbers(shape), rows * tokens, fill)


def span_bytes(plan: PlanTable, span: Span, shape: CallShape, kept: Kept) -> int:
    """Bytes kept of a span: what leaves its last block, or the model."""
    fill = plan.fill if plan.kept_spans[span] else None
    if span.around == "blocks":
        layer = span.stop - 1
        return kept.bytes(plan.layout.numbers_leaving(layer, shape), plan.layout.tokens_leaving(layer, shape), fill)
    outputs = 2 if fill is not None and fill.reads_latents else 1
    samples = shape.batch * outputs
    return kept.bytes(samples * plan.layout.predicted_tokens(shape) * plan.layout.out_width, samples, fill)
