"""Thresholds for speed-ups: found on a made-up clock to the digit, and on a tiny pipeline at all."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict

import numpy as np
import pytest

import toca
from tests.helpers import tiny_flux_pipeline
from tests.tuning.clocks import BlockClock
from toca.plan.front_parts import Rule
from toca.registry import registered
from toca.tuning import clock
from toca.tuning.generations import Generation, Generations, psnr
from toca.tuning.pace import Pace
from toca.tuning.rule import setting_for
from toca.tuning.rules import LEAST, MOST, HeldOut, ThresholdSearch, bisect, tune_rules

FULL, FILLED, START, STEPS = 2.0, 0.5, 3.0, 42


class MadeUp:
    """Of 42 steps the first and the last are full, and of the others as many as the threshold and the prompt say: all
    below 0.01, none from 10 on."""

    pipe = None

    def __init__(self) -> None:
        self.made = 0

    def make(self, prompt: float, seed: int, method: toca.FBCache | None = None) -> Generation:
        self.made += 1
        steps = "F" * STEPS
        if method is not None:
            part = np.clip(np.log(method.threshold * prompt / 0.01) / np.log(1000), 0, 1)
            filled = round(float(part) * (STEPS - 2))
            steps = "F" + "y" * filled + "F" * (STEPS - 1 - filled)
        inner = [FULL if letter == "F" else FILLED for letter in steps[1:]]
        sample = np.full((2, 2, 3), 0.5 + 0.001 * steps.count("y"), np.float32)
        return Generation(sample, (FULL + START, *inner), steps)


def speedup(steps: str) -> float:
    full = START + STEPS * FULL
    return full / (full - steps.count("y") * (FULL - FILLED))


def searched(**settings) -> tuple[ThresholdSearch, MadeUp]:
    made_up = MadeUp()
    return ThresholdSearch(made_up, toca.FBCache(**settings), [1.0, 1.2]), made_up


@pytest.mark.parametrize("wanted", [1.1, 1.5, 2.0, 2.7])
@pytest.mark.parametrize("start", [0.001, 0.05, 50.0])
def test_the_threshold_of_a_speedup_is_found(wanted, start):
    search, made_up = searched(threshold=start)
    search.time()
    value = search.value_for(wanted)
    exact = np.mean([1 / speedup(steps) for steps in search.steps(value)])
    assert 1 / exact == pytest.approx(wanted, rel=0.021)
    assert search.speedup(value) == pytest.approx(1 / exact)
    assert made_up.made < 50


def test_what_was_run_is_not_run_again():
    search, made_up = searched()
    search.time()
    first = search.value_for(2.0)
    made = made_up.made
    assert search.value_for(2.0) == first
    assert made_up.made == made


def test_a_rule_says_what_held_out_prompts_gave():
    search, made_up = searched()
    rule = bisect(search, HeldOut(made_up, [1.1], 7), (1.5, 2.0))
    assert [reached for _, reached, _ in rule.points] == pytest.approx([1.5, 2.0, 2.2], rel=0.03)
    value, reached, decibels = rule.points[0]
    run = made_up.make(1.1, 0, search.at(value))
    assert reached == pytest.approx(speedup(run.steps))
    assert decibels == pytest.approx(-20 * np.log10(0.001 * run.steps.count("y")), abs=0.01)
    assert (rule.method, rule.field, rule.settings["first_blocks"]) == ("fbcache", "threshold", 1)


def test_beyond_its_reach_a_rule_ends_with_the_most_there_is():
    search, made_up = searched()
    most = speedup("F" + "y" * (STEPS - 2) + "F")
    rule = bisect(search, HeldOut(made_up, [1.0], 7), (2.0, 20.0))
    assert rule.fastest == pytest.approx(most, rel=0.06)
    with pytest.raises(ValueError, match="No setting of fbcache that was tried is 20 times as fast"):
        setting_for(rule, 20.0)
    search, made_up = searched()
    with pytest.raises(ValueError, match=f"no further than {most:.2f}x here, and 19x"):
        bisect(search, HeldOut(made_up, [1.0], 7), (19.0, 20.0))


def test_a_method_that_nothing_slows_down_enough_is_as_slow_as_it_gets():
    class Fast(MadeUp):
        def make(self, prompt, seed, method=None):
            made = super().make(prompt, seed, method)
            return (
                made
                if method is None
                else Generation(made.sample, made.step_seconds[:22] + (FILLED,) * 20, made.steps[:22] + "y" * 20)
            )

    made_up = Fast()
    search = ThresholdSearch(made_up, toca.FBCache(), [1.0])
    search.time()
    assert search.value_for(1.01) == LEAST
    assert search.speedup(LEAST) > 1.3


def test_a_method_that_fills_nothing_is_refused():
    class Slow(MadeUp):
        def make(self, prompt, seed, method=None):
            return super().make(prompt, seed)

    with pytest.raises(
        ValueError, match="No `threshold` of fbcache between 0.0001 and 100 fills some steps of these 42"
    ):
        ThresholdSearch(Slow(), toca.FBCache(), [1.0]).time()


def test_a_pace_is_of_the_mean_step_of_each_kind():
    """A machine that is slower at one time than at another is so for both."""
    made_up, method = MadeUp(), toca.FBCache(threshold=0.5)
    full, runs = ([_slowed(made_up.make(1.0, 0, on), slow) for slow in (1.0, 3.0)] for on in (None, method))
    pace = Pace(full, runs)
    assert pace.speedup([runs[0].steps]) == pytest.approx(speedup(runs[0].steps))
    # Branches of guidance that decide differently.
    assert pace.seconds("FmF") - pace.seconds("FFF") == pytest.approx(2 * (FILLED - FULL) / 2)


def test_a_moment_in_which_the_machine_stood_still_hardly_counts():
    made_up, method = MadeUp(), toca.FBCache(threshold=0.5)
    full, run = made_up.make(1.0, 0), made_up.make(1.0, 0, method)
    seconds = list(run.step_seconds)
    seconds[4] *= 1e6
    stood = Generation(run.sample, tuple(seconds), run.steps)
    assert Pace([full] * 20, [run] * 19 + [stood]).speedup([run.steps]) == pytest.approx(speedup(run.steps), rel=0.02)


def _slowed(run: Generation, slow: float) -> Generation:
    return Generation(run.sample, tuple(slow * seconds for seconds in run.step_seconds), run.steps)


# --- the rule as data ------------------------------------------------------------------------------------------------

POINTS = ((0.1, 1.5, 50.0), (0.4, 2.0, 40.0), (1.6, 1.9, 38.0), (6.4, 4.0, 30.0))


def rule(**more) -> Rule:
    return Rule(
        **{"method": "teacache", "field": "threshold", "settings": {"per_sample": False}, "points": POINTS} | more
    )


def test_a_setting_is_measured_or_lies_between_two_that_are():
    assert setting_for(rule(), 2.0) == toca.TeaCache(threshold=0.4, per_sample=False)
    assert setting_for(rule(), 1.2).threshold == 0.1
    assert setting_for(rule(), 1.75).threshold == pytest.approx(0.2)
    assert rule().value_for(2.95) == pytest.approx(3.2)
    assert rule().value_for(4.05) == 6.4
    assert rule().fastest == 4.0


def test_a_rule_is_plain_data():
    assert Rule(**json.loads(json.dumps(asdict(rule())))) == rule()


@pytest.mark.parametrize(
    "more, message", [({"method": "teacach"}, "no method 'teacach'"), ({"field": "treshold"}, "no field 'treshold'")]
)
def test_a_rule_of_what_there_is_not_is_refused(more, message):
    with pytest.raises(ValueError, match=message):
        setting_for(rule(**more), 2.0)


def test_from_a_threshold_of_nothing_there_is_no_way_by_logarithms():
    assert rule(points=((0.0, 1.0, 80.0), (0.5, 2.0, 40.0))).value_for(1.5) == 0.5


@pytest.mark.parametrize("value", [0.5, -1, float("nan"), "2", True, None])
def test_a_speedup_below_one_is_none(value):
    with pytest.raises(ValueError, match="`speedup` must be"):
        rule().value_for(value)


# --- methods and pipelines -------------------------------------------------------------------------------------------


def test_every_method_that_decides_by_itself_says_by_what():
    """A third party's may do without."""
    ours = {name: cls for name, cls in registered("method").items() if cls.__module__.startswith("toca.methods")}
    deciding = [cls for cls in ours.values() if "gate" not in inspect.signature(cls).parameters and cls().gate()]
    assert len(deciding) >= 6
    for cls in deciding:
        assert cls.knob is not None and LEAST <= getattr(cls(), cls.knob) <= MOST, cls.name


def test_a_tiny_pipeline_is_tuned_and_left_as_it_was(monkeypatch):
    pipe, told = tiny_flux_pipeline(), []
    monkeypatch.setattr(clock, "time", BlockClock(pipe))
    before = dict(vars(pipe).get("_progress_bar_config", {}))
    call = {"height": 32, "width": 32, "max_sequence_length": 8}
    arguments = {"speedups": (1.3,), "num_inference_steps": 6, "call": call, "rounds": 1}
    (rule,) = tune_rules(pipe, ["fbcache"], ["an owl"], ["a cat"], told=lambda *more: told.append(more), **arguments)
    assert [name for name, _ in told] == ["fbcache"] and told[0][1] < 25
    assert not pipe.transformer._forward_hooks and not pipe.transformer._forward_pre_hooks
    assert vars(pipe).get("_progress_bar_config", {}) == before

    generations = Generations(pipe, 6, call)
    run, full = (generations.make("a cat", 1, method) for method in (setting_for(rule, rule.fastest), None))
    assert full.seconds == 6 * 5
    assert rule.points[-1][1] == pytest.approx(full.seconds / run.seconds)
    assert rule.points[-1][2] == pytest.approx(psnr(run.sample, full.sample))


def test_a_method_without_a_threshold_is_refused():
    with pytest.raises(
        ValueError, match="fora has no threshold that a speed-up could be found by; methods that have one"
    ):
        tune_rules(tiny_flux_pipeline(), ["fora"], ["an owl"], ["a cat"])


def test_equal_samples_are_as_near_as_float_tells():
    black = np.zeros((2, 2, 3), np.float32)
    assert psnr(black, black) == pytest.approx(144.5, abs=0.05)
    assert psnr(black, black + 0.1) == pytest.approx(20.0)
