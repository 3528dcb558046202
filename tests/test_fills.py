"""Ways to fill: each against its rule written out in numpy, alone and in models, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import toca
from toca.axes.fills import Fill
from toca.axes.fills.bands import Bands
from toca.axes.fills.chebyshev import Chebyshev
from toca.axes.fills.expansions import Hermite, Newton, Taylor
from toca.axes.fills.fitted import Fitted
from toca.axes.fills.mean_velocity import MeanVelocity
from toca.axes.fills.polynomial import Polynomial
from toca.axes.fills.reuse import Reuse
from toca.axes.fills.segments import Segments
from toca.axes.fills.two_point import TwoPoint
from toca.axes.gates import Gate, GateSizes, Observation
from toca.axes.sampling import Sampling, Timeline, spaced_timesteps
from toca.axes.spans import Span
from toca.engine.install import engine_of
from toca.hooks.tracing import can_compile
from toca.kernels.bands import low_pass, low_pass_of_grids
from toca.memory.terms import Terms
from toca.models import Site
from toca.plan import Plan
from toca.registry import from_data, to_data

from .conformance.common import PipelineLike, assert_close, assert_equal, at, cached_run, differ
from .conformance.test_batch import rows_of
from .conformance.test_cost import check, held_bytes, options_for
from .helpers import FAMILIES, TINY, TINY_PIPELINES, inputs_for, pipeline_arguments, relative_error, run_steps
from .reference import fills as written_out
from .reference import taylor
from .test_compile import BLOCK_CLASSES, build, compiled

STEPS = 8
FULL = (0, 1, 2, 5)
ROWS = tuple((0.2 + 0.1 * s, 0.9 - 0.2 * s, 0.05 * s) for s in range(STEPS))
LABELS = (0, 0, 0, 1, 2, 0, 2, 1)
BANDS = Bands(Reuse(), Hermite(order=2, sigma=0.71), cutoff=0.3)
HIGH = written_out.hermite_series(2, 0.71)
VALUES = (Reuse(), Fitted(ROWS), Polynomial(2))

RULES: dict[str, tuple[Fill, written_out.Rule]] = {
    "reuse": (Reuse(), written_out.reuse),
    "fitted": (Fitted(ROWS), written_out.fitted(ROWS)),
    "chebyshev": (Chebyshev(degree=4, ridge=0.1), written_out.chebyshev(STEPS, 4, 0.1)),
    "bands": (BANDS, written_out.bands(written_out.reuse, HIGH, 0.3)),
    "bands of polynomials": (
        Bands(Chebyshev(1, ridge=10.0), Chebyshev(1, ridge=0.01), cutoff=0.5),
        written_out.bands(written_out.chebyshev(STEPS, 1, 10.0), written_out.chebyshev(STEPS, 1, 0.01), cutoff=0.5),
    ),
    "segments": (
        Segments(VALUES, LABELS),
        written_out.segments(
            [written_out.reuse, written_out.fitted(ROWS), written_out.polynomial(2, spaced_timesteps(STEPS))], LABELS
        ),
    ),
}
every_rule = pytest.mark.parametrize("name", RULES)
every_family = pytest.mark.parametrize("family", FAMILIES)
SCOPES = ("module", "block", "last", "output")
# Every fill within modules; those that keep most, around blocks and the model too.
PLACES = [(name, "module") for name in RULES] + [
    (name, scope) for name in ("chebyshev", "bands") for scope in SCOPES[1:]
]
every_place = pytest.mark.parametrize(("name", "scope"), PLACES)


# --- methods that fill so ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AtTimes(Gate):
    """Opens in every third step, counted for each image from a number that its latents tell."""

    name: ClassVar[str] = "at-times"

    def opens(self, now: Observation) -> Tensor:
        first = now.input.flatten(1).float().mean(dim=1).abs() * 1e4
        return (first.long() + now.step) % 3 == 0

    def observe(self, now: Observation, computed: bool) -> None:
        now.memory["seen"] = torch.ones(len(now.input))

    def bytes_kept(self, sizes: GateSizes) -> int:
        return 4 * sizes.images


@dataclass(frozen=True)
class FilledBetween(toca.Method):
    """Some full steps; what is within the scope is filled in the others."""

    by: Fill
    scope: str = "module"
    full: tuple[int, ...] = FULL
    by_gate: bool = False

    name: ClassVar[str] = "filled-between"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step in self.full

    def gate(self) -> Gate | None:
        return AtTimes() if self.by_gate else None

    @property
    def leaves_out_blocks(self) -> bool:
        return self.scope != "module"

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        layers = sampling.layers
        return {
            "module": (),
            "block": tuple(Span(layer, layer + 1, forecasts=True) for layer in range(layers)),
            "last": (Span(0, layers, keeps="output", forecasts=True),),
            "output": (Span(0, layers, keeps="output", around="model", forecasts=True),),
        }[self.scope]

    def filling(self) -> Fill:
        return self.by


# --- numbers alone -------------------------------------------------------------------------------------------------


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def remembered(fill: Fill, values: list[tuple[int, Tensor]], steps: int) -> tuple[Terms, Timeline]:
    """The terms after these steps have computed."""
    terms, timeline = Terms(), Timeline(steps, spaced_timesteps(steps))
    for step, value in values:
        terms.renew(value, terms.scales(step, fill, timeline), fill.renewal)
    return terms, timeline


def filled(fill: Fill, values: list[tuple[int, Tensor]], step: int, steps: int) -> Tensor:
    terms, timeline = remembered(fill, values, steps)
    return terms.total(fill.weights(step, terms.history, timeline), fill.combine)


@st.composite
def courses(draw: Any, most: int = 12, tokens: int = 9) -> tuple[int, list[tuple[int, Tensor]], int]:
    """Number of steps, the values of those that computed, and a later step that does not."""
    steps = draw(st.integers(2, most))
    step = draw(st.integers(1, steps - 1))
    computed = sorted({0, *draw(st.lists(st.integers(0, step - 1), max_size=8))})
    size = draw(st.integers(1, tokens))
    seed = draw(st.integers(0, 10**6))
    return steps, [(s, drawn(2, size, 3, seed=seed + s)) for s in computed], step


def wanted_of(rule: written_out.Rule, values: list[tuple[int, Tensor]], step: int) -> Tensor:
    return written_out.filled(values, step, rule)


weights = st.floats(-2, 2, width=32)


@settings(max_examples=60, deadline=None)
@given(courses(), st.integers(1, 5), st.data())
def test_fitted_is_the_weighted_last_values(course: Any, length: int, data: Any) -> None:
    """However many have been computed."""
    steps, values, step = course
    rows = tuple(data.draw(st.tuples(*[weights] * length)) for _ in range(steps))
    wanted = wanted_of(written_out.fitted(rows), values, step)
    torch.testing.assert_close(filled(Fitted(rows), values, step, steps), wanted, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(courses())
def test_straight_lines_and_reuse_are_among_the_fitted(course: Any) -> None:
    steps, values, step = course
    history = [s for s, _ in values]
    w = (step - history[-1]) / (history[-1] - history[-2]) if len(values) > 1 else 0.5
    line, still = Fitted(((1 + w, -w),) * steps), Fitted(((1.0,),) * steps)
    wanted = wanted_of(written_out.line, values, step)
    torch.testing.assert_close(filled(line, values, step, steps), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(filled(line, values, step, steps), filled(Newton(1), values, step, steps))
    assert torch.equal(filled(still, values, step, steps), values[-1][1])


@st.composite
def schedules(draw: Any, steps: int) -> tuple[float, ...]:
    """Timesteps that fall from 1000 in steps of any size."""
    falls = draw(st.lists(st.floats(0.5, 200), min_size=steps, max_size=steps))
    ways = np.cumsum([0.0, *falls])
    return tuple((1000 * (1 - ways[:-1] / ways[-1])).tolist())


@settings(max_examples=60, deadline=None)
@given(courses(), st.integers(0, 4), st.data())
def test_polynomials_go_through_the_last_values(course: Any, order: int, data: Any) -> None:
    """Over timesteps that are as they are, and over the number of the step."""
    steps, values, step = course
    timesteps = data.draw(schedules(steps))
    exact = [(s, value.double()) for s, value in values]
    history = [s for s, _ in reversed(values)]
    for variable, places in (("timestep", timesteps), ("step", range(steps))):
        fill = Polynomial(order, variable)
        weights = fill.weights(step, history, Timeline(steps, timesteps))
        assert len(weights) == order + 1 and sum(weights) == pytest.approx(1, abs=1e-9 * sum(map(abs, weights)))
        got = sum(w * value for w, (_, value) in zip(weights, reversed(exact), strict=False))
        wanted = wanted_of(written_out.polynomial(order, places), exact, step)
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-10 * sum(map(abs, weights)))


@settings(max_examples=40, deadline=None)
@given(courses(most=30), st.integers(0, 3))
def test_a_polynomial_is_newtons(course: Any, order: int) -> None:
    """In the step, and where timesteps are evenly spaced in the timestep too."""
    steps, values, step = course
    exact = [(s, value.double()) for s, value in values]
    wanted = filled(Newton(order), exact, step, steps)
    for variable in ("step", "timestep"):
        got = filled(Polynomial(order, variable), exact, step, steps)
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6 * wanted.abs().max().item())


def test_a_polynomial_of_steps_at_one_timestep() -> None:
    """Schedulers with two calls a step tell each timestep twice; the newest value of it counts."""
    twice = Timeline(7, (1000.0, 800.0, 800.0, 600.0, 600.0, 400.0, 400.0))
    assert Polynomial(2).weights(3, (2, 1, 0), twice) == [2.0, 0.0, -1.0]
    assert Polynomial(1).weights(4, (3, 2), twice) == [1.0, 0.0]
    assert Polynomial(1).weights(6, (2, 1), twice) == [1.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_holds_weights_that_nearly_cancel(dtype: torch.dtype) -> None:
    """Parts of the sum are beyond what float16 holds; the sum is as exact as what is kept."""
    course = [(s, (drawn(1, 5, 4) * 0.01 * s + 3000).to(dtype)) for s in (0, 1, 2, 3)]
    fill, steps = Polynomial(3), 12
    got = filled(fill, course, 8, steps)
    wanted = wanted_of(written_out.polynomial(3, range(steps)), [(s, v.double()) for s, v in course], 8)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), wanted, rtol=torch.finfo(dtype).eps, atol=0)


def test_least_squares_give_back_what_was_recorded() -> None:
    """A feature that is a mixture of its last two values, as recorded in three steps, is filled without an error."""
    values = [(s, drawn(1, 6, 4, seed=s)) for s in range(2)]
    truth = 0.7 * values[1][1] + 0.6 * values[0][1]
    design = np.stack([value.flatten().double().numpy() for _, value in reversed(values)], axis=1)
    row = tuple(np.linalg.lstsq(design, truth.flatten().double().numpy(), rcond=None)[0].tolist())
    assert row == pytest.approx((0.7, 0.6), abs=1e-6)
    torch.testing.assert_close(filled(Fitted((row,) * 3), values, 2, 3), truth)


@settings(max_examples=60, deadline=None)
@given(courses(most=50), st.integers(0, 6), st.sampled_from([1e-2, 0.1, 1.0, 100.0]))
def test_moments_are_the_regression_through_all_values(course: Any, degree: int, ridge: float) -> None:
    steps, values, step = course
    fill = Chebyshev(degree, ridge)
    wanted = wanted_of(written_out.chebyshev(steps, degree, ridge), values, step)
    got = filled(fill, values, step, steps)
    torch.testing.assert_close(got, wanted, rtol=2e-4, atol=2e-4)
    terms, _ = remembered(fill, values, steps)
    assert len(terms.higher) == degree + 1 and len(terms.history) == len(values)


def test_moments_of_bfloat16_are_float32() -> None:
    """A tiny share of a large sum: with moments in bfloat16 the forecast would be off by as much as it changes."""
    course = [(s, (100 + drawn(1, 5, 4, seed=s) + 0.5 * s).bfloat16()) for s in range(40)]
    fill, steps = Chebyshev(degree=4), 50
    terms, _ = remembered(fill, course, steps)
    assert terms.value.dtype == torch.bfloat16 and {term.dtype for term in terms.higher} == {torch.float32}
    exact = [(s, value.double()) for s, value in course]
    wanted = wanted_of(written_out.chebyshev(steps, 4, 0.1), exact, 45)
    got = filled(fill, course, 45, steps)
    assert got.dtype == torch.bfloat16
    # Half a unit in the last place of bfloat16 at 128 is 0.5.
    assert (got.double() - wanted).abs().max() <= 0.5 + 1e-2


def test_a_polynomial_is_found_again() -> None:
    """Without much of a ridge, and with as many values."""
    steps, course = 20, [(s, torch.full((1, 2, 2), (s / 10 - 1) ** 3 - s / 10)) for s in (0, 3, 6, 9, 12, 14)]
    got = filled(Chebyshev(3, ridge=1e-9), course, 17, steps)
    torch.testing.assert_close(got, torch.full((1, 2, 2), 0.7**3 - 1.7), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tokens", [1, 2, 3, 7, 16, 21, 64])
@pytest.mark.parametrize("cutoff", [0.05, 0.1, 0.3, 0.5, 0.77, 1.0])
def test_the_low_band_is_numpys(tokens: int, cutoff: float) -> None:
    value = drawn(2, tokens, 3)
    wanted = torch.from_numpy(written_out.low_band(value.double().numpy(), cutoff))
    torch.testing.assert_close(low_pass(value, cutoff).double(), wanted, rtol=1e-5, atol=1e-5)
    assert low_pass(value.bfloat16(), cutoff).dtype == torch.bfloat16


@pytest.mark.parametrize("grids", [None, (1, 3, 4)])
def test_tokens_of_one_row_are_that_row(grids: tuple[int, int, int] | None) -> None:
    """Cosmos 3 Omni has all tokens of a call in one row, without a dimension for it."""
    row = drawn(12, 5)
    assert torch.equal(low_pass(row, 0.3), low_pass(row[None], 0.3)[0])
    assert torch.equal(low_pass_of_grids(row, 0.3, grids), low_pass_of_grids(row[None], 0.3, grids)[0])


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (2, 3, 2, 4, 6)], ids=["pictures", "videos"])
def test_pixels_of_a_models_output_are_its_tokens(shape: tuple[int, ...]) -> None:
    """Whose channels come first; each frame by itself."""
    value = drawn(*shape)
    lines = value.flatten(0, -3).flatten(1)[:, :, None]
    torch.testing.assert_close(low_pass(value, 0.3), low_pass(lines, 0.3).view(shape))


@settings(max_examples=50, deadline=None)
@given(courses(tokens=20), st.sampled_from([0.1, 0.3, 0.62]))
def test_each_band_is_filled_its_own_way(course: Any, cutoff: float) -> None:
    steps, values, step = course
    got = filled(Bands(cutoff=cutoff), values, step, steps)
    wanted = wanted_of(written_out.bands(written_out.reuse, HIGH, cutoff), values, step)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-3)
    low, high = low_pass(got, cutoff), got - low_pass(got, cutoff)
    torch.testing.assert_close(low, low_pass(values[-1][1], cutoff), rtol=1e-3, atol=1e-3)
    series = wanted_of(partial(_hermite_of_taylor), values, step)
    torch.testing.assert_close(high, series - low_pass(series, cutoff), rtol=1e-3, atol=1e-3)


def _hermite_of_taylor(history: Any, s: int) -> np.ndarray:
    tensors = [(t, torch.from_numpy(value)) for t, value in history]
    return taylor.forecast(tensors, s, 2, basis=partial(taylor.hermite, sigma=0.71)).numpy()


@settings(max_examples=20, deadline=None)
@given(courses())
def test_a_cutoff_of_one_leaves_the_low_fill_alone(course: Any) -> None:
    steps, values, step = course
    for low in (Reuse(), Taylor(1)):
        got = filled(Bands(low, Taylor(2), cutoff=1.0), values, step, steps)
        torch.testing.assert_close(got, filled(low, values, step, steps), rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(courses(), st.data())
def test_a_segment_is_filled_as_by_its_own_fill(course: Any, data: Any) -> None:
    steps, values, step = course
    family = data.draw(
        st.sampled_from(
            [
                (Reuse(), Taylor(1), Taylor(3), Hermite(2)),
                (Newton(2), Reuse(), Hermite(1, spacing="divided")),
                (Chebyshev(2, ridge=0.5), Chebyshev(2), Reuse()),
                (Fitted(((1.3, -0.3),) * steps), Reuse(), Fitted(((0.5, 0.25, 0.25),) * steps)),
                (Polynomial(), Fitted(((1.3, -0.3, 0.1),) * steps), Reuse(), Polynomial(3, "step")),
                (TwoPoint(), Reuse()),
            ]
        )
    )
    label = data.draw(st.integers(0, len(family) - 1))
    mixed = Segments(family, (label,) * steps)
    alone = filled(family[label], values, step, steps)
    torch.testing.assert_close(filled(mixed, values, step, steps), alone, rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(courses(), st.integers(0, 2))
def test_reuse_is_the_last_value_itself(course: Any, number: int) -> None:
    steps, values, step = course
    fill = (Reuse(), Segments((Reuse(),), (0,) * steps), Segments((Reuse(), Taylor(2)), (0,) * steps))[number]
    assert filled(fill, values, step, steps) is values[-1][1]
    assert Reuse().kept == 0 and Segments((Reuse(), Taylor(2)), (0,)).kept == 2


@cache
def timeline(steps: int) -> Timeline:
    return Timeline(steps, spaced_timesteps(steps))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 99), st.sets(st.integers(1, 11)))
def test_mean_velocity_over_a_generation(steps: int, K: int, seed: int, also: set[int]) -> None:
    """The recursion written out, every step of it remembered; the model here is a curved field."""
    full = [s == 0 or s in also for s in range(steps)]
    sigmas = [1 - s / steps for s in range(steps)] + [0.0]
    start = drawn(2, 5, 3, seed=seed)

    def velocity(s: int, x: np.ndarray) -> np.ndarray:
        return np.sin(3 * x + s) + sigmas[s] * x

    wanted = written_out.mean_velocity(velocity, start.double().numpy(), sigmas, full, K)
    fill, terms, x = MeanVelocity(K), Terms(), start.double()
    for s in range(steps):
        if full[s]:
            v = torch.from_numpy(velocity(s, x.numpy()))
        else:
            kept = [terms.value, *terms.higher][: len(terms.history)]
            v = fill.estimate(kept, x, s, terms.history, timeline(steps))
        terms.renew((v, x), terms.scales(s, fill, timeline(steps)), fill.renewal)
        torch.testing.assert_close(v, torch.from_numpy(wanted[s]), rtol=1e-3, atol=1e-3)
        x = x + (sigmas[s + 1] - sigmas[s]) * v


# --- in models -----------------------------------------------------------------------------------------------------


@every_family
@every_rule
def test_modules_are_filled_as_written_out(family: str, name: str) -> None:
    fill, rule = RULES[name]
    transformer, inputs = TINY[family](1), inputs_for(family, STEPS, 2, seed=1)
    full = [s in FULL for s in range(STEPS)]
    wanted = written_out.run_filled(transformer, inputs, full, rule, "module")
    assert differ(wanted, run_steps(transformer, inputs))
    assert_close(cached_run(transformer, FilledBetween(fill), inputs), wanted, 2e-5)


@every_family
@pytest.mark.parametrize("scope", SCOPES[1:])
@pytest.mark.parametrize("name", ["chebyshev", "bands"])
def test_spans_are_filled_as_written_out(family: str, scope: str, name: str) -> None:
    fill, rule = RULES[name]
    transformer, inputs = TINY[family](1), inputs_for(family, STEPS, 2, seed=1)
    full = [s in FULL for s in range(STEPS)]
    wanted = written_out.run_filled(transformer, inputs, full, rule, scope)
    assert_close(cached_run(transformer, FilledBetween(fill, scope), inputs), wanted, 2e-5)


@pytest.mark.parametrize("family", ["dit", "flux"])
@every_place
def test_models_in_bfloat16(family: str, name: str, scope: str) -> None:
    """The terms are rounded, and so is what is filled: it stays near. Moments are float32 there too, and are counted
    as such."""
    fill, rule = RULES[name]
    transformer = TINY[family](1).bfloat16()
    inputs = inputs_for(family, STEPS, 2, seed=1, dtype=torch.bfloat16)
    wanted = written_out.run_filled(transformer, inputs, [s in FULL for s in range(STEPS)], rule, scope)
    method = FilledBetween(fill, scope)
    predicted = method.plan(transformer, STEPS).cost(**options_for(family, 2, (16, 16)))
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        got = run_steps(transformer, inputs[:-1])
        assert held_bytes(transformer) == predicted.cache_bytes == toca.summary(transformer).cache_bytes
        got += run_steps(transformer, inputs[-1:])
    assert {output.dtype for output in got} == {torch.bfloat16}
    assert_close([a.float() for a in got], [b.float() for b in wanted], 0.06)


def test_a_rule_is_told_from_a_like_one() -> None:
    """The comparisons above have something to find."""
    transformer, inputs = TINY["dit"](1), inputs_for("dit", STEPS, 2, seed=1)
    outputs = [cached_run(transformer, FilledBetween(fill), inputs) for fill, _ in RULES.values()]
    for i, mine in enumerate(outputs):
        for others in outputs[:i]:
            assert max(relative_error(a, b) for a, b in zip(mine, others, strict=True)) > 1e-2


@every_family
@pytest.mark.parametrize("scope", SCOPES)
def test_reuse_as_a_fill_is_reuse(family: str, scope: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, 2)
    plan = FilledBetween(Reuse(), scope).plan(transformer, STEPS)
    rows = tuple(
        tuple(toca.Action("reuse", 0.0) if action.kind == "forecast" else action for action in row)
        for row in plan.table
    )
    spans = tuple(tuple(replace(span, forecasts=False) for span in step) for step in plan.spans)
    plain = replace(plan, table=rows, spans=spans, fill=None)
    assert plain.cost() == plan.cost() or plan.cost().cache_bytes == plain.cost().cache_bytes
    with toca.cached(transformer, plan):
        got = run_steps(transformer, inputs)
    with toca.cached(transformer, plain):
        assert_equal(got, run_steps(transformer, inputs))


@pytest.mark.parametrize("family", ["dit", "flux"])
@every_place
def test_images_that_decide_for_themselves_are_filled_as_alone(family: str, name: str, scope: str) -> None:
    fill, rule = RULES[name]
    transformer, inputs = TINY[family](1), inputs_for(family, STEPS, 3, seed=1)
    method = FilledBetween(fill, scope, full=(0,), by_gate=True)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        together, summary = run_steps(transformer, inputs), toca.summary(transformer)
    letters = [summary.steps_of(image) for image in range(3)]
    assert len(set(letters)) > 1
    for image, steps in enumerate(letters):
        full = [letter == "F" for letter in steps]
        wanted = written_out.run_filled(transformer, rows_of(inputs, [image]), full, rule, scope)
        # The first forecasts may be near 0, and rounding is measured by them.
        assert_close([output[image : image + 1] for output in together], wanted, 1e-4)


@every_rule
@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_a_forecast_recovers(name: str, value: float) -> None:
    """From a step in which numbers broke: the next that computes makes what is filled finite again, and an image's
    batch-mates are not touched."""
    transformer, inputs = TINY["dit"](1), inputs_for("dit", STEPS, 2, seed=1)
    method = FilledBetween(RULES[name][0], full=(0, 1, 3, 5))
    sound = cached_run(transformer, method, inputs)
    latents = inputs[3]["hidden_states"].clone()
    latents[1, 0, 5] = value
    got = cached_run(transformer, method, [*inputs[:3], inputs[3] | {"hidden_states": latents}, *inputs[4:]])
    assert not got[3][1].isfinite().all()
    assert all(output[1].isfinite().all() for output in got[5:])
    assert_close([output[0] for output in got], [output[0] for output in sound])


@pytest.mark.parametrize("step", [3, 4], ids=["computed", "filled"])
def test_a_mean_velocity_recovers(step: int) -> None:
    transformer, inputs = TINY["flux"](1), inputs_for("flux", STEPS, 2, seed=1)
    broken = inputs[step]["hidden_states"].clone()
    broken[1, 5] = float("nan")
    inputs[step] = inputs[step] | {"hidden_states": broken}
    got = cached_run(transformer, FilledBetween(MeanVelocity(3), "output", full=(0, 1, 3, 5)), inputs)
    assert not got[step][1].isfinite().all()
    assert all(output.isfinite().all() for output in got[5:])


# --- what it costs -------------------------------------------------------------------------------------------------


@every_family
@every_place
def test_predicted_is_measured(family: str, name: str, scope: str) -> None:
    check(family, FilledBetween(RULES[name][0], scope))


def test_chebyshev_holds_as_much_however_many_steps() -> None:
    transformer = TINY["dit"]()
    sizes = {
        FilledBetween(Chebyshev(), full=full).plan(transformer, STEPS).cost().cache_bytes for full in (FULL, (0,))
    }
    assert len(sizes) == 1


# --- the mean velocity ---------------------------------------------------------------------------------------------


def euler(transformer: nn.Module, method: Any, start: Tensor, sigmas: list[float], **options: Any) -> list[Tensor]:
    """The outputs of a generation of FLUX in which each step starts from where the last one led."""
    calls, x, outputs = inputs_for("flux", len(sigmas) - 1, len(start)), start, []
    with toca.cached(transformer, method, num_inference_steps=len(calls), **options):
        for s, call in enumerate(calls):
            outputs += run_steps(transformer, [call | {"hidden_states": x}])
            x = x + (sigmas[s + 1] - sigmas[s]) * outputs[-1]
    return outputs


def sigmas_of(steps: int) -> list[float]:
    return [1 - s / steps for s in range(steps)] + [0.0]


def written_out_velocities(
    transformer: nn.Module, start: Tensor, full: list[bool], K: int, images: list[int]
) -> list[Tensor]:
    calls = rows_of(inputs_for("flux", STEPS, len(start)), images)

    def velocity(s: int, x: np.ndarray) -> np.ndarray:
        latents = torch.from_numpy(x).float()
        return run_steps(transformer, [calls[s] | {"hidden_states": latents}])[0].double().numpy()

    wanted = written_out.mean_velocity(velocity, start[images].double().numpy(), sigmas_of(STEPS), full, K)
    return [torch.from_numpy(output).float() for output in wanted]


@pytest.mark.parametrize("K", [1, 2, 3, 6])
def test_mean_velocity_in_a_model(K: int) -> None:
    transformer, start = TINY["flux"](1), inputs_for("flux", 1, 2)[0]["hidden_states"]
    full = [s in FULL for s in range(STEPS)]
    got = euler(transformer, FilledBetween(MeanVelocity(K), "output"), start, sigmas_of(STEPS))
    assert_close(got, written_out_velocities(transformer, start, full, K, [0, 1]), 1e-4)


def test_one_step_back_it_is_reuse_under_eulers_rule() -> None:
    transformer, start = TINY["flux"](1), inputs_for("flux", 1, 2)[0]["hidden_states"]
    got, still, other = (
        euler(transformer, FilledBetween(fill, "output"), start, sigmas_of(STEPS))
        for fill in (MeanVelocity(1), Reuse(), MeanVelocity(2))
    )
    assert_close(got, still, 1e-4)
    assert max(relative_error(a, b) for a, b in zip(other, still, strict=True)) > 1e-2


def test_mean_velocity_of_images_that_decide_for_themselves() -> None:
    transformer, start = TINY["flux"](1), inputs_for("flux", 1, 3)[0]["hidden_states"]
    method, outputs, x = FilledBetween(MeanVelocity(3), "output", full=(0,), by_gate=True), [], start
    sigmas = sigmas_of(STEPS)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        for s, call in enumerate(inputs_for("flux", STEPS, 3)):
            outputs += run_steps(transformer, [call | {"hidden_states": x}])
            x = x + (sigmas[s + 1] - sigmas[s]) * outputs[-1]
        letters = [toca.summary(transformer).steps_of(image) for image in range(3)]
    assert len(set(letters)) > 1
    for image, steps in enumerate(letters):
        full = [letter == "F" for letter in steps]
        wanted = written_out_velocities(transformer, start, full, 3, [image])
        assert_close([output[image : image + 1] for output in outputs], wanted, 1e-4)


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_predicted_is_measured_with_latents(K: int, dtype: torch.dtype) -> None:
    """Latents are kept beside outputs."""
    method = FilledBetween(MeanVelocity(K), "output")
    check("flux", method)
    transformer = TINY["flux"]().to(dtype)
    predicted = method.plan(transformer, STEPS).cost(**options_for("flux", 2, (16, 16)))
    assert predicted.cache_bytes == 2 * 64 * (16 + 16) * K * dtype.itemsize
    inputs = inputs_for("flux", STEPS, 2, dtype=dtype)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        outputs = run_steps(transformer, inputs[:-1])
        assert held_bytes(transformer) == predicted.cache_bytes == toca.summary(transformer).cache_bytes
    assert {output.dtype for output in outputs} == {dtype}


def test_mean_velocity_reads_the_schedulers_timesteps() -> None:
    """In a pipeline, whose sigmas are shifted: each step's forecast is worked out from the scheduler's own."""
    pipe, method = TINY_PIPELINES["flux"](), FilledBetween(MeanVelocity(2), "output")
    arguments = pipeline_arguments("flux", STEPS)
    with toca.cached(pipe, method):
        got = pipe(**arguments).images
        plan = engine_of(pipe.transformer).record.plan
        assert toca.summary(pipe).steps == "FFFyyFyy"
    sigmas = pipe.scheduler.sigmas.tolist()
    assert plan.timesteps == pytest.approx([1000 * sigma for sigma in sigmas[:-1]])
    stock, outputs, before = pipe.transformer.forward, [], []

    def forward(*args: Any, **kwargs: Any) -> Any:
        s, x = len(outputs), kwargs["hidden_states"].double()
        before.append(x)
        if s in FULL:
            sample = stock(*args, **kwargs)[0].double()
        else:
            r = s - 2
            way = sigmas[s] - sigmas[r]
            slope = (outputs[r] - (x - before[r]) / way) / way
            sample = outputs[s - 1] - slope * (sigmas[s + 1] - sigmas[s])
        outputs.append(sample)
        return (sample.float(),)

    pipe.transformer.forward = forward
    wanted = pipe(**pipeline_arguments("flux", STEPS)).images
    del pipe.transformer.forward
    assert relative_error(torch.as_tensor(got), torch.as_tensor(wanted)) < 1e-4


def test_a_plan_of_it_knows_its_timesteps(tmp_path: Any) -> None:
    """Which a pipeline with others does not have."""
    transformer = TINY["flux"]()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(STEPS)
    method = FilledBetween(MeanVelocity(2), "output")
    plan = method.plan(transformer, STEPS, tuple(scheduler.timesteps.tolist()))
    plan.save(tmp_path / "plan.yaml")
    assert Plan.load(tmp_path / "plan.yaml") == plan and plan.timesteps
    calls = inputs_for("flux", STEPS)
    same, other = (PipelineLike(FlowMatchEulerDiscreteScheduler(shift=shift), transformer) for shift in (3.0, 1.0))
    with toca.cached(same, plan):
        for position, t in same.steps(STEPS):
            run_steps(transformer, [at(calls[position], t)])
        assert toca.summary(same).steps == plan.steps
    with toca.cached(other, plan):
        position, t = next(iter(other.steps(STEPS)))
        with pytest.raises(ValueError, match="other timesteps: step 1 was at"):
            run_steps(transformer, [at(calls[position], t)])


def test_a_branch_that_missed_a_step_goes_on_from_what_it_knows() -> None:
    """The mean velocity is that since the last steps that are remembered, whichever they are."""
    transformer, calls = TINY["flux"](1), inputs_for("flux", STEPS)
    method, sigmas = FilledBetween(MeanVelocity(2), "output", full=(0, 1)), sigmas_of(STEPS)
    with toca.cached(transformer, method, num_inference_steps=STEPS), torch.no_grad():
        for s, call in enumerate(calls):
            with transformer.cache_context("cond"):
                transformer(**call)
            if s != 2:
                with transformer.cache_context("uncond"):
                    last = transformer(**call).sample
            if s == 4:
                got = last
    x = [call["hidden_states"].double() for call in calls]
    stock = [output.double() for output in run_steps(transformer, calls)]
    # Steps 0 and 1 were full, and so was 3, after the one that was missed.
    way = sigmas[4] - sigmas[1]
    slope = (stock[1] - (x[4] - x[1]) / way) / way
    wanted = stock[3] - slope * (sigmas[5] - sigmas[4])
    assert relative_error(got.double(), wanted) < 1e-4


def test_what_the_model_is_given_beside_its_latents_does_not_count() -> None:
    """A picture to fill, or a control: the same in every step, it has no velocity."""
    transformer, calls = TINY["flux"](1, in_channels=24, out_channels=16), inputs_for("flux", STEPS, 2)
    beside = drawn(2, 64, 8)
    calls = [call | {"hidden_states": torch.cat([call["hidden_states"], beside], dim=2)} for call in calls]
    method, sigmas = FilledBetween(MeanVelocity(2), "output", full=(0, 1, 2)), sigmas_of(STEPS)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        got = run_steps(transformer, calls[:4])[3].double()
        predicted = method.plan(transformer, STEPS).cost(**options_for("flux", 2, (16, 16)))
        assert held_bytes(transformer) == predicted.cache_bytes == 2 * 64 * (16 + 16) * 2 * 4
    x = [call["hidden_states"][..., :16].double() for call in calls]
    stock = [output.double() for output in run_steps(transformer, calls)]
    way = sigmas[3] - sigmas[1]
    slope = (stock[1] - (x[3] - x[1]) / way) / way
    assert relative_error(got, stock[2] - slope * (sigmas[4] - sigmas[3])) < 1e-4


# --- what does not fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["module", "block", "last"])
def test_what_reads_latents_is_for_the_model_as_a_whole(scope: str) -> None:
    with pytest.raises(ValueError, match="mean-velocity reads the model's input .*use a span around the model"):
        FilledBetween(MeanVelocity(), scope).plan(TINY["flux"](), STEPS)


def test_what_reads_latents_fills_outputs() -> None:
    plan = FilledBetween(MeanVelocity(), "output").plan(TINY["flux"](), STEPS)
    spans = tuple(tuple(replace(span, keeps="residual") for span in step) for step in plan.spans)
    with pytest.raises(ValueError, match="Step 3: what mean-velocity fills a span by must keep its output"):
        replace(plan, spans=spans)


def test_what_reads_latents_needs_a_velocity() -> None:
    """A learned variance has no latents."""
    with pytest.raises(ValueError, match="mean-velocity needs .* takes 16 numbers for a token and returns 32"):
        FilledBetween(MeanVelocity(), "output").plan(TINY["dit"](), STEPS)


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: Fitted(()), r"`rows` must be rows of weights of one length, got \(\)"),
    (lambda: Fitted(((),)), "`rows` must be rows of weights"),
    (lambda: Fitted(((1.0,), (1.0, 2.0))), "`rows` must be rows of weights of one length"),
    (lambda: Fitted(((1.0, "much"),)), r"`rows.* must be a number, got 'much'"),
    (lambda: Chebyshev(degree=-1), "`degree` must .* got -1"),
    (lambda: Chebyshev(ridge=0.0), "`ridge` must be above 0, got 0.0"),
    (lambda: Bands(cutoff=0.0), "`cutoff` must .* got 0.0"),
    (lambda: Bands(cutoff=1.5), "`cutoff` must .* got 1.5"),
    (lambda: Bands(Chebyshev(), Hermite()), "'bands' must keep the same terms, and those of chebyshev and hermite"),
    (lambda: Bands(MeanVelocity(), MeanVelocity()), "'bands' must not read the latents: mean-velocity does"),
    (lambda: Bands(Reuse(), Bands()), "'bands' must be weighted sums of their terms: bands is none"),
    (lambda: Bands(Reuse(), TwoPoint("gate")), "'bands' .*gate"),
    (lambda: Polynomial(-1), "`order` must .* got -1"),
    (lambda: Polynomial(1, "sigma"), "`variable` must be 'timestep' or 'step', got 'sigma'"),  # type: ignore[arg-type]
    (lambda: MeanVelocity(0), "`look_back` must .* got 0"),
    (lambda: MeanVelocity(7), "`look_back` must .* got 7"),
    (lambda: Segments((), ()), "`fills` must name at least one"),
    (lambda: Segments((Reuse(),), (1,)), "`labels` must be below 1, the number of fills, got 1"),
    (lambda: Segments((Taylor(), Newton()), (0,)), "'segments' must keep the same terms"),
    (lambda: Segments((Reuse(), Bands()), (0,)), "'segments' must be weighted sums of their terms: bands is none"),
    (lambda: Segments((Reuse(), MeanVelocity()), (0,)), "'segments' all must read the latents, or none"),
    (lambda: Segments((Reuse(), TwoPoint("gate")), (0,)), "'segments' .*gate"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_values_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (Fitted(((1.0,),) * 5), "`rows` must be one for each of the 8 steps, got 5"),
        (Segments((Reuse(), Taylor(1)), (0,) * 5), "`labels` must be one for each of the 8 steps, got 5"),
    ],
)
def test_a_fill_for_another_number_of_steps(fill: Fill, message: str) -> None:
    """It is known before anything runs."""
    with pytest.raises(ValueError, match=message):
        FilledBetween(fill).plan(TINY["dit"](), STEPS)


@every_rule
def test_fills_as_data(name: str) -> None:
    fill = RULES[name][0]
    assert from_data(json.loads(json.dumps(to_data(fill))), "fill") == fill


# --- compiled blocks -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not can_compile(), reason="this torch cannot trace classes made on the fly")
@pytest.mark.parametrize("family", BLOCK_CLASSES)
@pytest.mark.parametrize("scope", ["module", "block"])
@pytest.mark.parametrize("name", ["fitted", "chebyshev", "bands"])
def test_compiled_blocks(family: str, scope: str, name: str) -> None:
    torch._dynamo.reset()
    transformer, inputs = build(family)
    method = FilledBetween(RULES[name][0], scope)
    wanted = cached_run(transformer, method, inputs)
    counter = compiled(transformer)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        assert_close(run_steps(transformer, inputs), wanted)
        graphs = counter.frame_count
        assert 0 < graphs <= 3 * BLOCK_CLASSES[family]
        assert_close(run_steps(transformer, inputs), wanted)
        assert counter.frame_count == graphs
