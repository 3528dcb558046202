"""However a pipeline calls its transformer: full is full, off is off, and what is skipped is what is said."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import toca

from . import STYLES
from .style import Counter, Style

every_style = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.matrix if each.matrix else ()) for name, each in STYLES.items()]
)


@every_style
def test_full_is_full_and_off_is_off(name: str) -> None:
    style = STYLES[name]
    pipe, stock = style.cacheable()
    with toca.cached(pipe, toca.FORA(interval=1)):
        full = style.generate(pipe)
        assert set(toca.summary(pipe).steps) == set(style.steps[:1])
    assert torch.equal(full, stock)
    assert torch.equal(style.generate(pipe), stock)


@every_style
def test_half_the_steps_call_half_the_sites(name: str) -> None:
    style = STYLES[name]
    pipe, stock = style.cacheable()
    counter = Counter().watch(pipe)
    style.generate(pipe)
    calls = counter.take()
    with toca.cached(pipe, toca.FORA(interval=2)):
        for _ in range(2):
            got = style.generate(pipe)
            check(style, toca.summary(pipe), calls, counter.take())
    assert got.isfinite().all() and torch.equal(got, stock) == (not style.steps)


def check(style: Style, summary: Any, stock: int, cached: int) -> None:
    assert summary.steps == style.steps and summary.bypassed == style.past
    assert tuple(dict.fromkeys(call.branch for call in summary.trace)) == style.branches
    assert len(summary.trace) == (style.calls or len(style.steps) * len(style.branches))
    each = stock // (len(summary.trace) + style.past)
    full = sum(call.letter == "F" for call in summary.trace)
    if not summary.trace:
        assert cached == stock
    elif style.past:
        assert full * each < cached <= (full + style.past) * each
    else:
        assert cached == full * each
