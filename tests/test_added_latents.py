"""Fills that add the model's input to what they fill its output with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toca
from toca.axes.fills.blend import Blend
from toca.axes.fills.fitted import Fitted
from toca.axes.fills.polynomial import Polynomial
from toca.axes.fills.reuse import Reuse
from toca.axes.fills.segments import Segments
from toca.engine.model_span import with_latents
from toca.registry import from_data, to_data

from .helpers import TINY, inputs_for, relative_error, run_steps
from .test_fills import FilledBetween

STEPS = 6
FULL = (0, 1, 3)
ROWS = ((1.5, -0.5),) * STEPS
LATENTS = (0.0, 0.0, 0.25, 0.0, -0.125, 0.5)
ADDING = Fitted(ROWS, LATENTS)
FAMILIES = ["flux", "dit", "pixart"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("by_segments", [False, True])
def test_the_input_is_added_with_the_weight_of_the_step(family: str, by_segments: bool) -> None:
    """A learned variance has no input to be added: its channels are the weighted sum alone."""
    transformer, calls = TINY[family](1), inputs_for(family, STEPS, 2)
    fill = Segments((Reuse(), ADDING), (0, 0, 1, 0, 0, 1)) if by_segments else ADDING
    with toca.cached(transformer, FilledBetween(fill, "output", full=FULL), num_inference_steps=STEPS):
        got = run_steps(transformer, calls)
    stock = run_steps(transformer, calls)
    dim = toca.models.known_family(transformer).channel_dim
    for step, newest, before in ((2, 1, 0), (4, 3, 1), (5, 3, 1)):
        reused = by_segments and step == 4
        wanted = stock[newest] if reused else 1.5 * stock[newest] - 0.5 * stock[before]
        given = calls[step]["hidden_states"]
        common = min(given.shape[dim], wanted.shape[dim])
        weight = 0.0 if reused else LATENTS[step]
        wanted.narrow(dim, 0, common).add_(given.narrow(dim, 0, common), alpha=weight)
        assert relative_error(got[step], wanted) < 1e-5


def test_what_is_returned_is_the_callers_own() -> None:
    """A pipeline that writes in what it was given changes nothing that is kept."""
    transformer, calls = TINY["flux"](1), inputs_for("flux", STEPS)
    for fill in (Reuse(), Fitted(((1.0,),) * STEPS), ADDING):
        ends = []
        for factor in (1.0, 0.0):
            method = FilledBetween(fill, "output", full=FULL)
            with toca.cached(transformer, method, num_inference_steps=STEPS), torch.no_grad():
                for call in calls[:-1]:
                    transformer(**call).sample.mul_(factor)
                ends.append(transformer(**calls[-1]).sample)
        assert torch.equal(*ends)


@given(st.floats(-2, 2), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_the_channels_that_both_have(weight: float, inner: int, outer: int) -> None:
    latents, sample = torch.randn(2, inner, 3), torch.randn(2, outer, 3)
    got, common = with_latents(sample, latents, weight, 1), min(inner, outer)
    torch.testing.assert_close(got[:, :common], sample[:, :common] + weight * latents[:, :common])
    assert torch.equal(got[:, common:], sample[:, common:])


@pytest.mark.parametrize("scope", ["module", "block", "last"])
def test_only_what_the_model_returns_has_its_input_added(scope: str) -> None:
    with pytest.raises(ValueError, match="fitted reads the model's input .* use a span around the model"):
        FilledBetween(ADDING, scope, full=FULL).plan(TINY["flux"](), STEPS)
    without = FilledBetween(Fitted(ROWS, (0.0,) * STEPS), scope, full=FULL)
    assert without.plan(TINY["flux"](), STEPS).steps.count("F") == len(FULL)


def test_a_weight_in_one_step_only_is_looked_at() -> None:
    """Steps that do the same are looked at once, and these do not."""
    fill = Fitted(ROWS, (0.0,) * (STEPS - 1) + (0.5,))
    with pytest.raises(ValueError, match="step 5.*use a span around the model"):
        FilledBetween(fill, "block", full=FULL).plan(TINY["flux"](), STEPS)


def test_a_span_that_keeps_what_the_model_adds_is_refused() -> None:
    plan = FilledBetween(ADDING, "output", full=FULL).plan(TINY["flux"](), STEPS)
    spans = tuple(tuple(replace(span, keeps="residual") for span in step) for step in plan.spans)
    with pytest.raises(ValueError, match="Step 2: what fitted fills a span by must keep its output"):
        replace(plan, spans=spans)


def test_weights_are_for_all_steps_or_for_none() -> None:
    with pytest.raises(ValueError, match=r"`latents` must be a weight for each of the 6 steps, or none, got \(1.0,\)"):
        Fitted(ROWS, (1.0,))


def test_the_mean_of_two_fills_adds_nothing() -> None:
    with pytest.raises(ValueError, match="The fills of 'blend' must not add the model's input: fitted does"):
        Blend(ADDING, Polynomial())


def test_files_hold_it_and_those_of_before_are_read() -> None:
    data = to_data(ADDING)
    assert from_data(data, "fill") == ADDING
    del data["fields"]["latents"]
    assert from_data(data, "fill") == Fitted(ROWS)
