"""Methods that forecast what leaves the last block, against their rules restated in tests/reference, and against the
steps that their authors published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toca
from toca.axes.fills.blend import Blend
from toca.axes.fills.chebyshev import Chebyshev
from toca.axes.fills.expansions import Newton, Taylor
from toca.axes.fills.mean_velocity import MeanVelocity
from toca.axes.fills.polynomial import Polynomial
from toca.axes.fills.reuse import Reuse
from toca.methods import Method
from toca.methods.foca import Calibrated, FoCa
from toca.methods.spectrum import Spectrum

from .conformance.common import assert_close, cached_run, differ
from .conformance.test_cost import check
from .helpers import FAMILIES, TINY, inputs_for, relative_error, run_steps
from .reference import fills as written_out
from .reference import schedules, taylor
from .test_fills import courses, filled, remembered, wanted_of

STEPS = 14
every_family = pytest.mark.parametrize("family", FAMILIES)

METHODS: dict[str, tuple[Method, written_out.Rule, list[bool]]] = {
    "spectrum": (
        Spectrum(),
        written_out.chebyshev(STEPS, 4, 0.1),
        schedules.full_steps_spectrum(STEPS, 5, 2, 0.75),
    ),
    "spectrum, mixed": (
        Spectrum(growth=1.0, warmup_steps=3, degree=2, ridge=1.0, mix=0.6),
        written_out.blend(written_out.chebyshev(STEPS, 2, 1.0), written_out.line, 0.6),
        schedules.full_steps_spectrum(STEPS, 3, 2, 1.0),
    ),
    "foca": (FoCa(interval=5), written_out.foca, taylor.full_steps(STEPS, 5, 2)),
}
every_name = pytest.mark.parametrize("name", METHODS)


@every_family
@every_name
def test_as_the_rule_says(family: str, name: str) -> None:
    transformer, inputs = TINY[family](1), inputs_for(family, STEPS, 2, seed=1)
    method, rule, full = METHODS[name]
    wanted = written_out.run_filled(transformer, inputs, full, rule, "last")
    assert differ(wanted, run_steps(transformer, inputs))
    assert_close(cached_run(transformer, method, inputs), wanted, 2e-5)


@every_family
def test_predicted_is_measured(family: str) -> None:
    """Of what the conformance suite does not see: terms of different widths."""
    check(family, METHODS["spectrum, mixed"][0])


def test_a_rule_is_told_from_a_like_one() -> None:
    transformer, inputs = TINY["dit"](1), inputs_for("dit", STEPS, 1, seed=1)
    full = taylor.full_steps(STEPS, 5, 2)
    rules = [*(rule for _, rule, _ in METHODS.values()), written_out.line, written_out.reuse]
    outputs = [written_out.run_filled(transformer, inputs, full, rule, "last") for rule in rules]
    for i, mine in enumerate(outputs):
        for others in outputs[:i]:
            assert max(relative_error(a, b) for a, b in zip(mine, others, strict=True)) > 1e-2


# --- Spectrum ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "full"),
    [
        ("spectrum/flux", [*range(5), 6, 8, 11, 15, 20, 25, 31, 38, 46]),
        ("spectrum/flux-fast", [*range(5), 6, 11, 19, 30, 44]),
    ],
)
def test_spectrums_published_steps(preset: str, full: list[int]) -> None:
    steps = toca.preset(preset).plan(TINY["flux"](), 50).steps
    assert [s for s, letter in enumerate(steps) if letter == "F"] == full


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 6), st.floats(1, 6), st.floats(0, 4))
def test_spectrums_steps(steps: int, warmup: int, window: float, growth: float) -> None:
    method = Spectrum(growth=growth, window=window, warmup_steps=warmup)
    plan = method.plan(TINY["dit"](num_layers=1), steps)
    assert [letter == "F" for letter in plan.steps] == schedules.full_steps_spectrum(steps, warmup, window, growth)


@settings(max_examples=60, deadline=None)
@given(courses(), st.floats(0, 1), st.data())
def test_a_blend_is_the_mean_of_its_fills(course: Any, share: float, data: Any) -> None:
    """Whatever terms each of them keeps."""
    steps, values, step = course
    fills = (Chebyshev(3), Newton(1), Taylor(2), Polynomial(2), Reuse(), Calibrated())
    one, other = data.draw(st.sampled_from(fills)), data.draw(st.sampled_from(fills))
    blend = Blend(one, other, share)
    wanted = share * filled(one, values, step, steps) + (1 - share) * filled(other, values, step, steps)
    torch.testing.assert_close(filled(blend, values, step, steps), wanted, rtol=1e-3, atol=1e-3)
    terms, _ = remembered(blend, values, steps)
    assert len(terms.higher) == blend.kept == one.kept + other.kept


def test_the_terms_of_a_blend_are_as_wide_as_they_must_be() -> None:
    """Moments are float32, differences of bfloat16 are not."""
    fill = Blend(Chebyshev(2), Newton(1))
    terms, _ = remembered(fill, [(s, torch.ones(1, 2, 2, dtype=torch.bfloat16)) for s in range(2)], 4)
    assert [term.dtype for term in terms.higher] == [torch.float32] * 3 + [torch.bfloat16]
    assert sum(term.element_size() for term in terms.higher) == fill.term_bytes(2) == 14


# --- FoCa ----------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(courses(most=20))
def test_foca_without_its_filled_values(course: Any) -> None:
    """The recurrence runs over filled values; what is kept says the same without them, however long the gaps."""
    steps, values, step = course
    exact = [(s, value.double()) for s, value in values]
    wanted = wanted_of(written_out.foca, exact, step)
    torch.testing.assert_close(filled(Calibrated(), exact, step, steps), wanted, rtol=1e-7, atol=1e-7)


def test_foca_first_steps() -> None:
    """By hand: one value is reused; between 0 and 2, which are a step apart, a line; then half as fast again."""
    course = [(s, torch.full((1, 1, 1), float(value))) for s, value in ((0, 0), (1, 2))]
    got = [filled(Calibrated(), course, s, 9).item() for s in (2, 3, 4, 5)]
    # 2 + 1/2 (2 + 2), 2 + 2/2 (2 + 2), 2 + 3/2 (2 + 2), and beyond three steps back: 2 + 3/4 x 3/2 (2 + 2).
    assert got == [4.0, 6.0, 8.0, 6.5]
    assert filled(Calibrated(), course[:1], 1, 9).item() == 0.0


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: Blend(Reuse(), MeanVelocity()), "'blend' .*mean-velocity is none"),
    (lambda: Blend(Reuse(), Newton(), 1.5), "`share` must be between 0 and 1, got 1.5"),
    (lambda: Spectrum(window=0.5), "`window` must .* got 0.5"),
    (lambda: Spectrum(mix=-0.1), "`mix` must .* got -0.1"),
    (lambda: FoCa(interval=0), "`interval` must .* got 0"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_values_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
