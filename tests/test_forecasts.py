"""Methods that forecast what leaves the last block, against their rules restated in tests/reference, and against the
steps that their authors published."""

from __future__ import annotations

import math
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
from toca.hooks.tracing import can_compile
from toca.kernels.bands import low_pass_of_grids
from toca.methods import Method
from toca.methods.dmd import DMD, DynamicModes
from toca.methods.foca import Calibrated, FoCa
from toca.methods.freqca import FreqCa
from toca.methods.hyca import HyCa, SolverPool, solvers
from toca.methods.spectrum import Spectrum

from .conformance.common import assert_close, cached_run, differ
from .conformance.test_cost import check
from .helpers import FAMILIES, TINY, inputs_for, relative_error, run_steps
from .reference import fills as written_out
from .reference import schedules, taylor
from .test_compile import BLOCK_CLASSES, build, compiled
from .test_fills import FilledBetween, courses, drawn, filled, remembered, wanted_of

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
    "freqca, cosines": (
        FreqCa(interval=4, cutoff=0.3),
        written_out.bands_of_grids(written_out.reuse, written_out.hermite_series(2, 0.71), 0.3, (8, 8)),
        taylor.full_steps(STEPS, 4, 3),
    ),
    "freqca, waves": (
        FreqCa(interval=4, cutoff=0.3, transform="fourier"),
        written_out.bands(written_out.reuse, written_out.hermite_series(2, 0.71), 0.3),
        taylor.full_steps(STEPS, 4, 3),
    ),
    "foca": (FoCa(interval=5), written_out.foca, taylor.full_steps(STEPS, 5, 2)),
    "hyca": (HyCa(interval=3), written_out.solver_pool(4), taylor.full_steps(STEPS, 3, 5)),
    "dmd": (DMD(interval=2, warmup_steps=5), written_out.dmd(6), taylor.full_steps(STEPS, 2, 5)),
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


@pytest.mark.parametrize("family", ["dit", "flux"])
def test_predicted_is_measured(family: str) -> None:
    """Of what the conformance suite does not see: terms of different widths."""
    check(family, METHODS["spectrum, mixed"][0])


def test_a_rule_is_told_from_a_like_one() -> None:
    transformer, inputs = TINY["dit"](1), inputs_for("dit", STEPS, 2, seed=1)
    full = taylor.full_steps(STEPS, 3, 5)
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


# --- FreqCa --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (6, 1), (4, 4), (3, 8), (7, 5)], ids=str)
@pytest.mark.parametrize("cutoff", [0.1, 0.3, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("frames", [1, 3])
def test_the_low_cosines_are_those_of_the_matrix(grid: tuple[int, int], cutoff: float, frames: int) -> None:
    value = drawn(2, frames * math.prod(grid), 3)
    wanted = torch.from_numpy(written_out.low_cosines(value.double().numpy(), cutoff, grid))
    got = low_pass_of_grids(value, cutoff, (2 * frames, *grid))
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)
    by_frame = value.reshape(2 * frames, -1, 3)
    torch.testing.assert_close(low_pass_of_grids(by_frame, cutoff, (2 * frames, *grid)).reshape(value.shape), got)
    pixels = by_frame.unflatten(1, grid).permute(0, 3, 1, 2)
    torch.testing.assert_close(
        low_pass_of_grids(pixels, cutoff, None), got.reshape(-1, *grid, 3).permute(0, 3, 1, 2), rtol=1e-5, atol=1e-5
    )
    assert low_pass_of_grids(value.bfloat16(), cutoff, None).dtype == torch.bfloat16


def test_a_smooth_picture_is_low_and_a_checkerboard_is_not() -> None:
    down, across = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing="ij")
    smooth = torch.cos(math.pi * (across + 0.5) / 12).reshape(1, 96, 1)
    board = ((down + across) % 2 * 2 - 1).reshape(1, 96, 1)
    torch.testing.assert_close(low_pass_of_grids(smooth + board, 0.1, (1, 8, 12)), smooth, rtol=0, atol=0.05)
    assert low_pass_of_grids(board, 0.1, (1, 8, 12)).abs().max() < 0.05


def test_tokens_that_form_no_grid_are_a_line() -> None:
    """Text, and rows that are less than a grid."""
    for tokens in (7, 16):
        value = drawn(4, tokens, 3)
        line = low_pass_of_grids(value, 0.4, None)
        torch.testing.assert_close(low_pass_of_grids(value, 0.4, (2, 8, 4)), line)


def test_the_grid_of_packed_latents_is_read_from_their_positions() -> None:
    """FLUX: its call tells tokens alone. Without positions that form a grid they are a line."""
    transformer, inputs = TINY["flux"](1), inputs_for("flux", STEPS, 1, seed=1, height=8, width=32)
    method, high = FreqCa(interval=4, cutoff=0.3), written_out.hermite_series(2, 0.71)
    full = taylor.full_steps(STEPS, 4, 3)
    for calls, grid in ((inputs, (4, 16)), ([_scattered(call) for call in inputs], (64, 1))):
        rule = written_out.bands_of_grids(written_out.reuse, high, 0.3, grid)
        wanted = written_out.run_filled(transformer, calls, full, rule, "last")
        assert_close(cached_run(transformer, method, calls), wanted, 2e-5)


def _scattered(call: dict[str, Any]) -> dict[str, Any]:
    ids = call["img_ids"].clone()
    ids[..., 1] *= 3
    return call | {"img_ids": ids}


@pytest.mark.parametrize(("preset", "family"), [("freqca/flux", "flux"), ("freqca/qwenimage", "dit")])
def test_freqcas_published_steps(preset: str, family: str) -> None:
    steps = toca.preset(preset).plan(TINY[family](), 50).steps
    assert [s for s, letter in enumerate(steps) if letter == "F"] == [0, 1, *range(2, 50, 6)]


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


# --- HyCa ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 9, 8), (2, 3, 4, 5), (2, 6, 2, 3, 4)], ids=["tokens", "pixels", "frames"])
@pytest.mark.parametrize("steps", [(0, 1, 2, 3, 4), (0, 1, 2, 5, 8, 11), (0, 3), (0, 4, 5, 6)], ids=str)
@pytest.mark.parametrize("clusters", [1, 3, 50])
def test_each_cluster_has_its_solver(shape: tuple[int, ...], steps: tuple[int, ...], clusters: int) -> None:
    """Channels that lie still, move evenly, bend and jump."""
    channel = -1 if len(shape) == 3 else 1
    kinds = torch.arange(shape[channel]) % 4
    values = []
    for s in steps:
        course = torch.stack(
            [torch.tensor(0.0), torch.tensor(s), torch.tensor(0.1 * s * s), (torch.tensor(2.0 * s)).sin()]
        )
        way = course[kinds].movedim(0, -1).reshape(-1, *[1] * (len(shape) - 2)) if channel == 1 else course[kinds]
        values.append((s, drawn(*shape, seed=1) + way * drawn(*shape, seed=2) + 0.05 * drawn(*shape, seed=s + 3)))
    wanted = wanted_of(written_out.solver_pool(clusters), values, steps[-1] + 2)
    torch.testing.assert_close(filled(SolverPool(clusters), values, steps[-1] + 2, 20), wanted, rtol=1e-4, atol=1e-4)


def test_channels_that_move_alike_are_forecast_by_what_suits_them() -> None:
    """Even channels are parabolas, odd ones lie still but for noise: each is continued as well as can be."""
    even = torch.arange(8) % 2 == 0
    start, slope = drawn(1, 30, 8), drawn(1, 30, 8, seed=1)

    def value(s: int) -> torch.Tensor:
        return start + torch.where(even, slope * (0.2 * s + 0.1 * s * s), 0.01 * drawn(1, 30, 8, seed=s + 2))

    values = [(s, value(s)) for s in (0, 2, 4, 6, 8)]
    got = filled(SolverPool(2), values, 9, 10)
    torch.testing.assert_close(got[..., even], value(9)[..., even], rtol=1e-3, atol=1e-3)
    assert torch.equal(got[..., ~even], values[-1][1][..., ~even])


def test_solvers_continue_what_they_are_made_for() -> None:
    """All of the pool but reuse a straight line, over any gaps; the midpoint a parabola."""
    history = (11, 8, 6, 1)
    for weights in solvers(13, history):
        assert sum(weights) == pytest.approx(1)
    lines = [sum(w * t for w, t in zip(weights, history, strict=True)) for weights in solvers(13, history)]
    assert lines == pytest.approx([11, *[13] * 6])
    assert sum(w * t * t for w, t in zip(solvers(13, history)[-1], history, strict=True)) == pytest.approx(169)


# --- dynamic modes -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_sums_of_exponentials_are_continued_exactly(data: Any) -> None:
    """Growing, fading and swinging ones, at any spacing, and between the snapshots' places; each sample by itself."""
    spacing, snapshots = data.draw(st.integers(1, 5)), data.draw(st.integers(4, 6))
    swings = data.draw(st.booleans())
    later = spacing * (snapshots - 1) + data.draw(st.integers(1, 2 * spacing))

    def course(seed: int) -> Callable[[int], torch.Tensor]:
        first, other = (drawn(1, 6, 4, seed=2 * seed + i).double() for i in range(2))
        rates = drawn(2, seed=seed).double().tanh() * 0.3
        angle = 1.5 * data.draw(st.floats(0.2, 1)) / spacing

        def value(t: int) -> torch.Tensor:
            if swings:
                turning = first * math.cos(angle * t) + other * math.sin(angle * t)
                return turning * math.exp(rates[0] * t / spacing)
            return first * math.exp(rates[0] * t / spacing) + other * math.exp((rates[1] - 0.5) * t / spacing)

        return value

    samples = [course(seed) for seed in range(2)]
    values = [(t, torch.cat([sample(t) for sample in samples])) for t in range(0, spacing * snapshots, spacing)]
    got = filled(DynamicModes(), values, later, later + 1)
    wanted = torch.cat([sample(later) for sample in samples])
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


@settings(max_examples=60, deadline=None)
@given(courses(most=16), st.integers(4, 8))
def test_dynamic_modes_are_those_of_the_singular_values(course: Any, window: int) -> None:
    """The same from products of the snapshots as from the snapshots, however many there are and wherever."""
    steps, values, step = course
    exact = [(s, value.double()) for s, value in values]
    wanted = wanted_of(written_out.dmd(window), exact, step)
    got = filled(DynamicModes(window), exact, step, steps)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


def test_dynamic_modes_are_of_samples_and_not_of_rows() -> None:
    """Where a sample has several rows (frames, positions) they are fitted together."""
    values = [(s, drawn(4, 3, 2, seed=s)) for s in range(5)]
    fill = DynamicModes()
    terms, timeline = remembered(fill, values, 9)
    shape = toca.CallShape(batch=2, tokens=3, frames=2)
    got = terms.total(fill.weights(5, terms.history, timeline), fill.combine_for(shape))
    joined = [(s, value.reshape(2, 6, 2)) for s, value in values]
    torch.testing.assert_close(got.reshape(2, 6, 2), filled(fill, joined, 5, 9))
    assert relative_error(got, filled(fill, values, 5, 9)) > 1e-2


def test_dynamic_modes_without_numbers() -> None:
    """A sample whose snapshots are zero, or not finite, is reused; the other is not touched."""
    values = [(s, drawn(3, 3, 2, seed=s)) for s in range(5)]
    alone = filled(DynamicModes(), [(s, value[:1]) for s, value in values], 5, 9)
    for _, value in values:
        value[1] = 0.0
    values[-1][1][2, 0] = float("inf")
    got = filled(DynamicModes(), values, 5, 9)
    torch.testing.assert_close(got[:1], alone)
    assert torch.equal(got[1], torch.zeros(3, 2)) and torch.equal(got[2, 1:], values[-1][1][2, 1:])


@pytest.mark.skipif(not can_compile(), reason="this torch cannot trace classes made on the fly")
@pytest.mark.parametrize("fill", [DynamicModes(), SolverPool()], ids=lambda fill: fill.name)
def test_compiled_blocks(fill: Any) -> None:
    """Within a block's graph; what fills spans stands outside of it."""
    torch._dynamo.reset()
    transformer, inputs = build("dit")
    method = FilledBetween(fill, full=(0, 1, 2, 3))
    wanted = cached_run(transformer, method, inputs)
    counter = compiled(transformer)
    with toca.cached(transformer, method, num_inference_steps=len(inputs)):
        assert_close(run_steps(transformer, inputs), wanted, 1e-4)
        graphs = counter.frame_count
        assert 0 < graphs <= 3 * BLOCK_CLASSES["dit"]
        run_steps(transformer, inputs)
        assert counter.frame_count == graphs


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: Blend(Reuse(), MeanVelocity()), "'blend' .*mean-velocity is none"),
    (lambda: Blend(Reuse(), Newton(), 1.5), "`share` must be between 0 and 1, got 1.5"),
    (lambda: Spectrum(window=0.5), "`window` must .* got 0.5"),
    (lambda: Spectrum(mix=-0.1), "`mix` must .* got -0.1"),
    (lambda: DMD(window=3), "`window` must .* got 3"),
    (lambda: FreqCa(transform="wavelet"), "`transform` must be 'cosine' or 'fourier', got 'wavelet'"),  # type: ignore[arg-type]
    (lambda: HyCa(clusters=0), "`clusters` must .* got 0"),
    (lambda: FoCa(interval=0), "`interval` must .* got 0"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_values_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
