"""Long skips: what a block returns is given to a later one too, so that a span must leave out both or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

import toca
from toca.axes.spans import Span

from .subject import subject_of
from .tiny import STEPS, run

ENTRY = "HunyuanDiT2DModel"
"""Six blocks, of which the first gives to the last, and the second to the last but one."""


@dataclass(frozen=True)
class Between(toca.Method):
    """Every other step leaves out the layers from `first` to `stop`."""

    first: int = 0
    stop: int = 1

    name: ClassVar[str] = "between"
    title: ClassVar[str] = "a test"

    def computes(self, site: toca.Site, step: int, sampling: toca.Sampling) -> bool:
        return step % 2 == 0 or not self.first <= site.layer < self.stop

    def spans(self, step: int, sampling: toca.Sampling) -> tuple[Span, ...]:
        return () if step % 2 == 0 else (Span(self.first, self.stop),)


@pytest.mark.parametrize(("first", "stop"), [(0, 6), (1, 5), (2, 4), (3, 6), (4, 6)])
def test_what_leaves_out_both_is_exact_on_still_inputs(first: int, stop: int) -> None:
    subject = subject_of(ENTRY)
    with toca.cached(subject.model, Between(first, stop), num_inference_steps=STEPS):
        outputs = run(subject.model, subject.calls(still=True))
    for got, wanted in zip(outputs, subject.stock_still, strict=True):
        assert (got[0] - wanted[0]).abs().max() < 1e-6 * wanted[0].abs().max()


@pytest.mark.parametrize(("first", "stop", "pair"), [(0, 3, "0 gives layer 5"), (1, 3, "1 gives layer 4")])
def test_what_parts_a_pair_is_refused(first: int, stop: int, pair: str) -> None:
    with pytest.raises(ValueError, match=f"layer {pair} what it returns"):
        Between(first, stop).plan(subject_of(ENTRY).model, STEPS)
