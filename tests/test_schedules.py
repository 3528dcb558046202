"""When: the published schedules as fixed strings, and what holds for every schedule and share."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import toca
from toca.axes.actions import COMPUTE, REUSE, partial, step_letter, tokens_of
from toca.axes.schedule import FullStepSchedule, step_index
from toca.models import FAMILIES, describe

from .helpers import TINY

PUBLISHED = {
    "toca/dit-ddim50": ("dit", "FtttFFtttFtttFtttFtFttFttFttFttFtFtFtFtFtFtFtFtFtF"),
    "fora/dit": ("dit", "FFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrF"),
    "toca/pixart": ("pixart", "FtttFtFttFttFttFttFt"),
    "toca/flux": ("flux", "FFFtttFtttFtttFtttFtttFtttFtttFtttFtttFtttFtttFttt"),
}
DEEP = {"dit": {"num_layers": 28}, "pixart": {"num_layers": 28}, "flux": {"num_layers": 19, "num_single_layers": 38}}


def plan_of(preset: str, family: str, steps: int) -> toca.Plan:
    return toca.preset(preset).plan(TINY[family](**DEEP.get(family, {})), steps)


@pytest.mark.parametrize("preset", PUBLISHED)
def test_published_steps(preset: str) -> None:
    family, wanted = PUBLISHED[preset]
    plan = plan_of(preset, family, len(wanted))
    assert plan.steps == wanted and plan.full_steps == wanted.count("F")


def test_a_plan_of_many_steps_is_made_at_once() -> None:
    """A pipeline's plan is made in its first step; this one took nine seconds."""
    start = time.perf_counter()
    assert len(plan_of("toca/dit-ddpm250", "dit", 1000).steps) == 1000
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize(("interval", "full_steps"), [(4, 14), (5, 12), (6, 10)])
def test_flux_full_steps(interval: int, full_steps: int) -> None:
    method = toca.ToCa(interval=interval, score="self_attention", warmup_steps=3, phase=2)
    assert method.plan(TINY["flux"](), 50).full_steps == full_steps


def test_opensora_runs_cross_attention_half_as_often() -> None:
    plan = toca.preset("toca/opensora").plan(TINY["latte"](), 30)
    full = {module: [s for s in range(30) if plan[s, 0, module] == COMPUTE] for module in ("self_attn", "cross_attn")}
    assert full["self_attn"] == sorted({1, 2} | set(range(0, 30, 3)))
    assert full["cross_attn"] == sorted({1, 2} | set(range(0, 30, 6)))
    assert [plan[4, layer, "ff"].fresh_ratio for layer in range(4)] == pytest.approx([0.1495] * 4)


@pytest.mark.parametrize("preset", [name for name in PUBLISHED if name.startswith("toca")])
def test_published_shares(preset: str) -> None:
    """Every cell of the table against the formulas of the paper, clamped; self-attention is reused whole."""
    family, letters = PUBLISHED[preset]
    steps, plan = len(letters), plan_of(preset, family, len(letters))
    for position, letter in enumerate(letters):
        for site in plan.layout.sites:
            action = plan[position, site.layer, site.module]
            if letter == "F":
                assert action == COMPUTE
            elif site.module == "self_attn":
                assert action == REUSE
            else:
                wanted = _share(preset, site, position, steps)
                assert action.fresh_ratio == pytest.approx(min(1, max(0, wanted)))


def _share(preset: str, site, position: int, steps: int) -> float:  # noqa: ANN001
    depth = site.index / 27
    if preset == "toca/dit-ddim50":
        return 0.07 * (3 - 4 * (steps - 1 - position) / steps) * (0.8 + 0.4 * depth) * 2.5
    if preset == "toca/pixart":
        module = {"cross_attn": 0.6, "ff": 1.6}[site.module]
        return 0.3 * (1.9 - 1.8 * position / steps) * (1.6 - 1.2 * depth) * module
    return 0.1 * (1.5 - depth) * (1.6 if site.module == "block" else 0.4)


def test_ddpm250_shares() -> None:
    plan = toca.preset("toca/dit-ddpm250").plan(TINY["dit"](num_layers=28), 250)
    for position in range(0, 250, 7):
        for layer in (0, 13, 27):
            action = plan[position, layer, "ff"]
            share = 0.07 * (1.4 - 0.8 * (249 - position) / 250) * (1.8 - 1.6 * layer / 27) * 2.5
            assert action == COMPUTE or action.fresh_ratio == pytest.approx(share)


schedules = st.builds(
    FullStepSchedule,
    interval=st.integers(1, 12),
    factor=st.tuples(st.floats(0.5, 2), st.floats(-0.45, 2)),
    window=st.none() | st.tuples(st.floats(0, 0.5), st.floats(0.5, 1), st.integers(1, 5)),
    warmup_steps=st.integers(1, 5),
    phase=st.integers(0, 5),
    counts_down=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(schedules, st.integers(1, 120))
def test_any_schedule(schedule: FullStepSchedule, steps: int) -> None:
    full = schedule.full_steps(steps)
    assert len(full) == steps and all(full[: schedule.warmup_steps])
    # Never further apart than twice the longest interval: one to the next multiple, one to where the rule changes.
    a, b = schedule.factor
    window = schedule.window[2] if schedule.window else 1
    longest = max(schedule.interval / min(a, a + b) + 1, schedule.interval, window)
    gaps = [i for i, is_full in enumerate(full) if is_full] + [steps]
    assert max(later - sooner for sooner, later in zip(gaps, gaps[1:], strict=False)) <= 2 * longest
    assert schedule.full_steps(steps) == full


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.integers(1, 120), st.integers(1, 4), st.integers(0, 4), st.booleans())
def test_constant_interval(interval: int, steps: int, warmup: int, phase: int, counts_down: bool) -> None:
    """Without adaptation: the multiples, and the warm-up, in the order of sampling."""
    schedule = FullStepSchedule(interval, warmup_steps=warmup, phase=phase, counts_down=counts_down)
    wanted = [
        position < warmup or (step_index(position, steps, counts_down) - phase) % interval == 0
        for position in range(steps)
    ]
    assert list(schedule.full_steps(steps)) == wanted


@settings(max_examples=150, deadline=None)
@given(schedules, st.integers(1, 80))
def test_adaptive_interval_by_hand(schedule: FullStepSchedule, steps: int) -> None:
    """The rule of the paper, walked through with nothing shared with the code."""
    if schedule.interval == 1:
        assert all(schedule.full_steps(steps))
        return
    tau, wanted = schedule.interval, []
    order = range(steps - 1, -1, -1) if schedule.counts_down else range(steps)
    for position, s in enumerate(order):
        full = position < schedule.warmup_steps or (s - schedule.phase) % tau == 0
        wanted.append(full)
        if full:
            tau = max(1, round(schedule.interval / (schedule.factor[0] + schedule.factor[1] * s / steps)))
            window = schedule.window
            if window and int(window[0] * steps) <= s < int(window[1] * steps):
                tau = window[2]
    assert list(schedule.full_steps(steps)) == wanted


@given(st.integers(1, 300), st.data())
def test_step_index(steps: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, steps - 1))
    assert step_index(position, steps, False) == position
    assert step_index(position, steps, True) + position == steps - 1


@given(st.floats(-5, 5), st.integers(1, 5000))
def test_shares_are_clamped(share: float, tokens: int) -> None:
    action = partial(share)
    assert 0 <= action.fresh_ratio <= 1 and 0 <= tokens_of(action, tokens) <= tokens
    assert (action == COMPUTE) == (share >= 1)
    assert action.picks_tokens == (0 < share < 1)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 5000))
def test_more_share_is_not_fewer_tokens(one: float, two: float, tokens: int) -> None:
    assume(one <= two)
    assert tokens_of(partial(one), tokens) <= tokens_of(partial(two), tokens)


LAYOUT = describe(TINY["pixart"](), FAMILIES["pixart"])


@settings(max_examples=60, deadline=None)
@given(
    ratio=st.floats(0, 3),
    step_factor=st.tuples(st.floats(-2, 3), st.floats(-4, 4)),
    layer_factor=st.tuples(st.floats(-2, 3), st.floats(-4, 4)),
    steps=st.integers(1, 30),
    counts_down=st.booleans(),
)
def test_any_toca_makes_a_valid_plan(
    ratio: float, step_factor: tuple, layer_factor: tuple, steps: int, counts_down: bool
) -> None:
    method = toca.ToCa(fresh_ratio=ratio, step_factor=step_factor, layer_factor=layer_factor, counts_down=counts_down)
    plan = method.plan_layout(LAYOUT, steps)
    assert len(plan.steps) == steps and plan.steps[0] == "F"
    assert all(0 <= action.fresh_ratio <= 1 for row in plan.table for action in row)
    cost = plan.cost()
    assert 0 < cost.flops <= cost.flops_full * 1.2 and 0 <= cost.tokens_recomputed <= 1 and cost.cache_bytes >= 0


@pytest.mark.parametrize("family", TINY)
def test_letters(family: str) -> None:
    assert step_letter((COMPUTE, COMPUTE)) == "F" and step_letter((REUSE, REUSE)) == "r"
    assert step_letter((COMPUTE, REUSE)) == "m"
    assert step_letter((REUSE, partial(0.3))) == "t" == step_letter((COMPUTE, partial(0.0)))
    transformer = TINY[family]()
    assert toca.NoCache().plan(transformer, 5).steps == "FFFFF"
    assert set(toca.FORA(interval=2).plan(transformer, 6).steps) == {"F", "r"}
    assert set(toca.RandomTokens(interval=2).plan(transformer, 6).steps) == {"F", "t"}
