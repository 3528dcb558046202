"""What becomes of something that is added to all that the model returns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import tiny_dit_pipeline, tiny_flux_pipeline
from tests.tuning.test_following import STEPS, rehearsal
from toca.tuning.passage import share_that_arrives
from toca.tuning.rehearsal import Rehearsal
from toca.tuning.scheduler_watch import SchedulerStep

SHAPE = (2, 4, 3)


def asked(model_output: torch.Tensor, sample: torch.Tensor) -> SchedulerStep:
    return SchedulerStep(0, model_output, sample, 0, {}, None, None)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*(shape or SHAPE), generator=torch.Generator().manual_seed(seed))


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=3), st.booleans(), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_it_is_the_sum_of_the_weights_of_all_branches(weights: list[float], batched: bool, seed: int) -> None:
    """Classifier-free guidance: g and 1 - g, together 1; a pipeline that turns the sign: -1."""
    sample, outputs = drawn(seed), [drawn(seed + 1 + i) for i in range(len(weights))]
    guided = sum(weight * output for weight, output in zip(weights, outputs, strict=True))
    given, returned = [sample] * len(weights), outputs
    if batched:
        given, returned = [torch.cat(given)], [torch.cat(outputs)]
    share = share_that_arrives(given, returned, asked(guided, sample), 1)
    assert share == pytest.approx(sum(weights), abs=1e-3)
    arrived = sum(weight * (output + 0.5 * sample) for weight, output in zip(weights, outputs, strict=True))
    torch.testing.assert_close(arrived, guided + 0.5 * share * sample, rtol=1e-2, atol=1e-2)


def test_a_learned_variance_is_no_part_of_it() -> None:
    sample, output = drawn(0), drawn(1, 2, 8, 3)
    assert share_that_arrives([sample], [output], asked(-output[:, :4], sample), 1) == pytest.approx(-1)


@pytest.mark.parametrize("what", ["scaled", "with more channels", "not linear", "another shape", "half of it"])
def test_where_it_cannot_be_told(what: str) -> None:
    sample, output = drawn(0), drawn(1)
    given, guided = sample, output
    if what == "scaled":
        given = sample / 2
    elif what == "with more channels":
        given = torch.cat([sample, sample], dim=1)
    elif what == "not linear":
        guided = output.abs()
    elif what == "another shape":
        guided = output.flatten(1)[:, :, None]
    else:
        given = sample[:1]
    assert share_that_arrives([given], [output], asked(guided, sample), 1) is None


def test_in_stock_pipelines() -> None:
    """Euler's scheduler has the latents scaled before the model is called with them."""
    guided, scaled = rehearsal("dpm").full(STEPS), rehearsal("euler").full(STEPS)
    assert guided.shares == pytest.approx([1.0] * STEPS, abs=1e-4)
    assert scaled.shares == (None,) * STEPS and scaled.arriving(0, scaled.latents[0]) is None
    arguments: dict[str, Any] = {"height": 16, "width": 16, "max_sequence_length": 8}
    flux = Rehearsal(tiny_flux_pipeline(), ["an owl"], [0], arguments).full(STEPS)
    assert flux.shares == pytest.approx([1.0] * STEPS, abs=1e-6)
    torch.testing.assert_close(flux.arriving(2, flux.latents[2]), flux.latents[2])


def test_in_pipelines_that_take_the_latents_of_both_branches_along() -> None:
    """DiT has each sample twice in the scheduler, with a guided prediction for both."""
    dit = Rehearsal(tiny_dit_pipeline(), [3, 5], [0, 1], {"guidance_scale": 4.0}).full(STEPS)
    assert len(dit.latents[0]) == 4 and dit.shares == pytest.approx([1.0] * STEPS, abs=1e-4)
