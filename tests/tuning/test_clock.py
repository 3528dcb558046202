"""The clock of the denoising loop, step by step, and the seconds of each kind of step."""

from __future__ import annotations

import diffusers
import pytest
from torch import nn

import toca
from tests.pipelines_tiny import STYLES
from toca.tuning import clock as clock_module
from toca.tuning.clock import LoopClock
from toca.tuning.kinds import StepTimes, time_kinds

STEPS = 5


class Ticking:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def ticking(monkeypatch):
    monkeypatch.setattr(clock_module, "time", Ticking())


def timed(name: str, **more) -> LoopClock:
    style = STYLES[name]
    pipe = style.pipeline()
    with LoopClock(pipe) as clock:
        style.generate(pipe, **more)
    transformers = [part for key, part in pipe.components.items() if key.startswith("transformer") and part]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in transformers)
    return clock


@pytest.mark.parametrize(
    "name, steps, calls",
    [
        ("flux", 5, 1),
        ("flux-true-guidance", 5, 2),
        ("wan", 5, 2),
        ("wan-unipc", 5, 2),
        ("wan-two-transformers", 5, 2),
        ("pixart-ddim", 5, 1),
        ("pixart-heun", 9, 1),
        ("dit", 5, 1),
    ],
)
def test_each_step_has_its_seconds(ticking, name, steps, calls):
    """A call takes two readings, one before and one after it, and so two seconds."""
    clock = timed(name)
    assert clock.calls == steps * calls
    assert clock.step_seconds == [2.0 * calls] * (steps - 1) + [2.0 * calls - 1]
    assert sum(clock.step_seconds) == clock.seconds == 2 * steps * calls - 1


def test_a_part_of_the_schedule_is_a_loop_of_fewer_steps(ticking):
    assert len(timed("flux-img2img").step_seconds) == 4


def test_two_generations_are_not_one(ticking):
    """Of one step each: neither the timestep nor the scheduler's index tells them apart."""
    style = STYLES["dit"]
    pipe = style.pipeline()
    with LoopClock(pipe) as clock:
        for _ in range(2):
            style.generate(pipe, num_inference_steps=1)
    assert len(clock.step_seconds) == 2


def test_a_cached_step_takes_less_on_the_clock_than_a_full_one():
    style = STYLES["flux"]
    pipe = style.pipeline()
    with toca.cached(pipe, toca.FORA(interval=2)), LoopClock(pipe) as clock:
        style.generate(pipe, num_inference_steps=8)
    assert all(seconds > 0 for seconds in clock.step_seconds)
    assert sum(clock.step_seconds) == pytest.approx(clock.seconds)


def test_before_any_call_there_is_no_loop():
    with LoopClock(STYLES["dit"].pipeline()) as clock:
        pass
    with pytest.raises(ValueError, match="No transformer has been called"):
        _ = clock.step_seconds


def test_a_pipeline_without_a_transformer_is_refused():
    class Pipe:
        components = {"unet": nn.Linear(1, 1), "scheduler": diffusers.DDIMScheduler()}

    with pytest.raises(ValueError, match="no transformer to time among unet, scheduler"):
        LoopClock(Pipe())


# --- kinds of steps --------------------------------------------------------------------------------------------------


def plan_of(interval: int = 2) -> toca.Plan:
    return toca.FORA(interval=interval).plan(STYLES["dit"].pipeline().transformer, 8)


def test_kinds_take_turns_and_the_ends_do_not_count():
    """FrFrFrFr: the first step takes what comes once a generation, and behind the last no scheduler's step is seen."""
    order, plans = [], {"reuse": plan_of(), "sparse": plan_of(3)}

    def run(plan):
        order.append(plan)
        inner = [2.0 if letter == "F" else 0.5 for letter in plan.steps[1:-1]]
        return [5.0, *inner, 0.1]

    times = time_kinds(run, plans, rounds=2, warmups=0)
    assert order == [plans["reuse"], plans["sparse"]] * 2
    assert times["reuse"] == StepTimes(full=2.0, filled=0.5, spread=0.0, start=3.0)
    assert times["sparse"].loop(3, 5) == 3 + 3 * 2 + 5 * 0.5


def test_the_spread_is_that_of_the_rounds():
    rounds = iter([1.0, 2.0, 3.0])

    def run(plan):
        slow = next(rounds)
        return [slow * (1.0 if c == "F" else 0.5) for c in plan.steps]

    assert time_kinds(run, {"": plan_of()}, rounds=3, warmups=0)[""] == StepTimes(2.0, 1.0, spread=0.5, start=0.0)


def test_what_cannot_be_timed_is_refused():
    model = STYLES["dit"].pipeline().transformer
    with pytest.raises(ValueError, match=r"`plans`\[all\] must have full and filled steps.*FFFF"):
        time_kinds(lambda plan: [], {"all": toca.NoCache().plan(model, 4)})
    with pytest.raises(ValueError, match="must tell the seconds of 8 steps, got 3"):
        time_kinds(lambda plan: [1.0] * 3, {"": plan_of()}, rounds=1)
    with pytest.raises(ValueError, match="`rounds` must be at least 1, got 0"):
        time_kinds(lambda plan: [], {}, rounds=0)
