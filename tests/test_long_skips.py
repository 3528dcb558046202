"""Models whose late blocks are handed what has left the early ones: each probed block is put back with its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import toca
from toca.methods.dicache import DiCache
from toca.methods.fbcache import DBCache
from toca.methods.speca import SpeCa
from toca.models import family_of

from .conformance.common import assert_close, assert_equal, cached_run
from .conformance.test_cost import counted_flops
from .helpers import run_steps
from .zoo import ZOO

STEPS = 8
NAME = "HunyuanDiT2DModel"
if NAME not in ZOO or family_of(ZOO[NAME].make()) is None:
    pytest.skip("no model with long skips is known", allow_module_level=True)


def generation(first: int, batch: int) -> list[dict[str, Any]]:
    """Sample 0 moves a little from step to step, sample 1 more."""
    calls = [ZOO[NAME].inputs(step, batch, first=first, dtype=torch.float64) for step in range(STEPS)]
    start = calls[0]["hidden_states"]
    speed = torch.tensor([0.05, 1.0], dtype=torch.float64)[first : first + batch].view(-1, 1, 1, 1)
    return [call | {"hidden_states": start + speed * (call["hidden_states"] - start)} for call in calls]


@pytest.mark.parametrize(
    "method",
    [
        DBCache(threshold=0.2, first_blocks=2, warmup_steps=1),
        DiCache(threshold=0.05, probe_blocks=2),
        SpeCa(threshold=0.5, decay=1.0, min_drafts=0, warmup_steps=2, order=1),
    ],
    ids=lambda method: method.name,
)
def test_images_that_decide_differently_come_out_as_alone(method: toca.Method) -> None:
    transformer = ZOO[NAME].make(torch.float64)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        together = run_steps(transformer, generation(0, 2))
        letters = [toca.summary(transformer).steps_of(image) for image in (0, 1)]
        assert letters[0] != letters[1], letters
        for image in (0, 1):
            alone = run_steps(transformer, generation(image, 1))
            assert toca.summary(transformer).steps == letters[image]
            assert_close([output[image : image + 1] for output in together], alone)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_all_let_pass_nothing(blocks: int) -> None:
    transformer, inputs = ZOO[NAME].make(), ZOO[NAME].generation()
    stock, full = run_steps(transformer, inputs), counted_flops(transformer, inputs)
    method = DBCache(threshold=0.0, first_blocks=blocks, warmup_steps=1)
    assert_equal(cached_run(transformer, method, inputs), stock)
    with toca.cached(transformer, method, num_inference_steps=len(inputs)):
        assert counted_flops(transformer, inputs) == full == toca.summary(transformer).flops
