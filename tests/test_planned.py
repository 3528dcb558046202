"""LeMiCa, MeanCache, BudCache and SCM: the published tables as fixed points, and what is filled in between against the
rules restated in tests/reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

import toca
from toca.axes.fills.mean_velocity import MeanVelocity
from toca.methods import Method
from toca.methods.presets import foreign_to
from toca.methods.published.plans import read

from .conformance.common import assert_close, cached_run
from .helpers import TINY, inputs_for, relative_error, run_steps, tiny_flux
from .reference import planned

# Full steps by their number, first and last, and some in between: from the authors' tables.
LEMICA = {
    "flux-26": (26, 50, {10, 12, 15, 18, 42, 44}, {11, 43}),
    "flux-20": (20, 50, {7, 9, 12, 43, 46}, {8, 45}),
    "flux-15": (15, 50, {5, 7, 10, 15, 47}, {6, 48}),
    "flux-10": (10, 50, {1, 3, 7, 14, 42}, {2, 43}),
    "qwenimage-25": (25, 50, {19, 26, 33, 42}, {20, 48}),
    "qwenimage-17": (17, 50, {10, 15, 22, 42}, {11, 48}),
    "qwenimage-10": (10, 50, {1, 3, 7, 42}, {2, 48}),
    "wan-1.3b-25": (25, 50, {12, 14, 24, 44, 47}, {13, 46}),
    "wan-1.3b-20": (20, 50, {9, 11, 45, 48}, {10, 47}),
    "wan-1.3b-17": (17, 50, {8, 10, 46}, {9, 48}),
    "wan-1.3b-14": (14, 50, {5, 7, 44}, {6, 48}),
    "wan-14b-25": (25, 50, {11, 13, 45, 47}, {12, 46}),
    "wan-14b-20": (20, 50, {9, 11, 46, 48}, {10, 47}),
    "wan-14b-17": (17, 50, {7, 9, 43, 47}, {8, 48}),
    "hunyuanvideo15-25": (25, 50, {13, 15, 45, 48}, {14, 47}),
    "hunyuanvideo15-20": (20, 50, {11, 13, 44}, {12, 48}),
    "hunyuanvideo15-15": (15, 50, {6, 8, 41}, {7, 48}),
    "hunyuanvideo15-10": (10, 50, {1, 3, 5, 41}, {2, 48}),
    "zimage-turbo-8": (8, 10, {3, 5, 7}, {4, 6}),
    "zimage-turbo-7": (7, 10, {2, 4, 6, 8}, {3, 7}),
    "zimage-turbo-6": (6, 10, {2, 5, 8}, {3, 7}),
}
# The same, and the steps after which a segment looks back on more than one.
MEANCACHE = {
    "qwenimage-25": (25, {40: 5, 43: 5, 45: 5}),
    "qwenimage-17": (17, {8: 2, 45: 4}),
    "qwenimage-10": (10, {1: 2, 42: 4}),
    "qwenimage-2512-25": (25, {15: 2, 23: 2, 31: 2}),
    "qwenimage-2512-17": (17, {9: 2, 43: 5, 47: 5}),
    "qwenimage-2512-10": (10, {2: 3, 42: 4}),
    "zimage-25": (25, {6: 2, 8: 2, 13: 2, 18: 5, 20: 5, 42: 5, 45: 5}),
    "zimage-20": (20, {4: 2, 6: 2, 8: 2, 10: 2, 12: 2, 14: 5, 16: 4, 18: 5, 20: 5, 43: 5, 46: 2}),
    "zimage-13": (13, {3: 2, 43: 5, 47: 2}),
}
SCM = {
    ("slow", 28): "FFFFFFFFaFFFaaFFFaaFFaaFaaaF",
    ("medium", 28): "FFFFFFaFFaaaFFaaaFFaaaFFaaaF",
    ("fast", 28): "FFFFFFaFaaaFaaaaFaaaaaFaaaaF",
    ("ultra", 28): "FFFFaaFaaaaaFaaaaaaFaaaaaaaF",
    ("slow", 50): "FFFFFFFFFFFFFFFFFFFFFFaaFFFFFaaaFFFFFaaaFFFaaaFFaF",
    ("fast", 50): "FFFFFFFFFFFaaFFaaaaaFFaaaaaaaFFaaaaaaaaaFFaaaaaaaF",
    ("slow", 20): "FFFFFFFFaFFFaaFFFaaF",
    ("medium", 20): "FFFFFFaFFaaaFFaaaFaF",
    ("medium", 15): "FFFFaFFaFaaFaaF",
    ("ultra", 12): "FFaFaaFaaaFF",
    ("slow", 9): "FFFFFaFFF",
    ("fast", 8): "FFFaFaaF",
    ("medium", 6): "FFFaaF",
    ("ultra", 4): "FFaF",
}


def plan_of(method: Method, family: str, steps: int) -> toca.Plan:
    return method.plan(TINY[family](num_layers=2), steps)


def as_letters(full: set[int], steps: int) -> str:
    return "".join("F" if step in full else "a" for step in range(steps))


@pytest.mark.parametrize("name", LEMICA)
def test_lemicas_tables(name: str) -> None:
    number, steps, among, not_among = LEMICA[name]
    method = toca.preset(f"lemica/{name}")
    assert isinstance(method, toca.LeMiCa) and method.num_inference_steps == steps
    full = method.full_steps
    assert len(full) == number and (full[0], full[-1]) == (0, steps - 1)
    assert among <= set(full) and not not_among & set(full)
    assert max(b - a for a, b in zip(full, full[1:], strict=False)) <= 8


@pytest.mark.parametrize("name", MEANCACHE)
def test_meancaches_tables(name: str) -> None:
    number, look_back = MEANCACHE[name]
    method = toca.preset(f"meancache/{name}")
    assert isinstance(method, toca.MeanCache) and method.num_inference_steps == 50
    full = method.full_steps
    assert len(full) == number and (full[0], full[-1]) == (0, 49)
    assert {s: K for s, K in zip(full, method.look_back, strict=True) if K > 1} == look_back


def test_both_have_published_the_same_ten_of_qwen_image() -> None:
    """LeMiCa's ten are those of MeanCache."""
    assert toca.preset("lemica/qwenimage-10").full_steps == toca.preset("meancache/qwenimage-10").full_steps


def test_a_table_is_read() -> None:
    assert read("0-2[4],5") == ((0, 1, 2, 5), (1, 1, 4, 1))


def test_a_plan_is_the_table() -> None:
    plan = plan_of(toca.preset("lemica/flux-10"), "flux", 50)
    assert plan.steps == as_letters({0, 1, 3, 7, 14, 21, 28, 35, 42, 49}, 50)
    spans = {span for row in plan.spans for span in row}
    assert {(span.keeps, span.around, span.forecasts) for span in spans} == {("residual", "blocks", False)}
    plan = plan_of(toca.preset("meancache/qwenimage-10"), "flux", 50)
    assert [s for s in range(50) if plan.steps[s] == "F"] == [0, 1, 3, 7, 14, 21, 28, 35, 42, 49]
    assert [fill.look_back for fill in plan.fill.fills] == [1, 2, 4]
    labels = plan.fill.labels
    assert (labels[2], labels[5], labels[43], labels[48]) == (1, 0, 2, 2)


def test_one_look_back_is_one_fill() -> None:
    assert toca.MeanCache((0, 4), 8, (3, 3)).filling() == MeanVelocity(3)
    assert toca.MeanCache((0, 4), 8, ()).filling() == MeanVelocity(1)


def test_more_look_backs_than_full_steps() -> None:
    with pytest.raises(ValueError, match="`look_back`.*at most one value for each of the 2 full steps"):
        plan_of(toca.MeanCache((0, 4), 8, (1, 2, 3)), "flux", 8)


@pytest.mark.parametrize("preset", ["lemica/flux-20", "lemica/zimage-turbo-8", "meancache/qwenimage-17"])
@pytest.mark.parametrize("steps", [9, 20, 49, 51])
def test_another_number_of_steps_is_refused(preset: str, steps: int) -> None:
    made_for = toca.preset(preset).num_inference_steps
    wanted = f"found for {made_for} steps, and this generation has {steps}.*`toca tune`.*{steps}"
    with pytest.raises(ValueError, match=wanted):
        plan_of(toca.preset(preset), "flux", steps)


def test_a_generation_of_another_number_of_steps_is_refused() -> None:
    transformer = tiny_flux()
    with pytest.raises(ValueError, match="found for 50 steps, and this generation has 20"):
        toca.enable_cache(transformer, "lemica/flux-20", num_inference_steps=20)


def test_a_preset_says_which_family_it_was_made_for() -> None:
    assert foreign_to("lemica/wan-1.3b-20", "wan") is foreign_to("meancache/qwenimage-2512-25", "qwenimage") is None
    assert foreign_to("lemica/zimage-turbo-8", "zimage") is foreign_to("toca/dit-ddim50", "dit") is None
    said = foreign_to("lemica/flux-20", "wan")
    assert said is not None and "made for flux, and not for wan" in said and "lemica/wan-14b-17" in said


RULES = {
    "lemica": (toca.LeMiCa((0, 1, 4, 6), 8), {0, 1, 4, 6}),
    "scm": (toca.SCM("medium"), {0, 1, 2, 3, 5, 7}),
    "scm bins": (toca.SCM(compute_bins=(2, 1), cache_bins=(3, 4)), {0, 1, 5}),
}


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize("name", RULES)
def test_the_residual_of_the_stack_is_reused(family: str, name: str) -> None:
    method, full = RULES[name]
    transformer, inputs = TINY[family](1), inputs_for(family, 8, 2, seed=1)
    wanted = planned.run_stack_residual(transformer, inputs, full)
    assert_close(cached_run(transformer, method, inputs), wanted)


def test_budcache_runs_as_its_mask_says() -> None:
    method = toca.BudCache(budget=4, seed=3)
    transformer, inputs = TINY["dit"](1), inputs_for("dit", 8, 2, seed=1)
    steps = method.plan(transformer, 8).steps
    full = {step for step in range(8) if steps[step] == "F"}
    assert len(full) == 4 and steps[0] == "F"
    assert_close(cached_run(transformer, method, inputs), planned.run_stack_residual(transformer, inputs, full))


@pytest.mark.parametrize("budget", [1, 10, 17, 50, 80])
def test_budcache_starts_as_the_authors_do(budget: int) -> None:
    plans = [plan_of(toca.BudCache(budget, seed), "dit", 50) for seed in (0, 0, 1)]
    assert all(plan.full_steps == min(50, budget) for plan in plans)
    assert all(plan.steps.startswith("F" * max(1, budget // 4)) for plan in plans if budget <= 50)
    assert plans[0].steps == plans[1].steps and (plans[1].steps != plans[2].steps) == (1 < budget < 50)


def test_meancache_as_written_out() -> None:
    transformer, calls = TINY["flux"](1), inputs_for("flux", 10, 2, seed=1)
    start, sigmas = calls[0]["hidden_states"], [1 - s / 10 for s in range(10)] + [0.0]
    look_back = {0: 2, 3: 1, 5: 3, 8: 6}
    method = toca.MeanCache(tuple(look_back), 10, tuple(look_back.values()))

    def velocity(s: int, x: np.ndarray) -> np.ndarray:
        return run_steps(transformer, [calls[s] | {"hidden_states": torch.from_numpy(x).float()}])[0].double().numpy()

    wanted = planned.run_mean_velocity(velocity, start.double().numpy(), sigmas, look_back)
    got, x = [], start
    with toca.cached(transformer, method, num_inference_steps=10):
        for s, call in enumerate(calls):
            got += run_steps(transformer, [call | {"hidden_states": x}])
            x = x + (sigmas[s + 1] - sigmas[s]) * got[-1]
        assert toca.summary(transformer).steps == "FyyFyFyyFy"
    assert_close(got, [torch.from_numpy(output).float() for output in wanted], 1e-4)
    alike = planned.run_mean_velocity(velocity, start.double().numpy(), sigmas, look_back | {5: 2})
    assert max(relative_error(a, torch.from_numpy(b)) for a, b in zip(got, alike, strict=True)) > 1e-3


def test_meancache_runs_with_schedulers_of_flow_matching() -> None:
    method = toca.MeanCache()
    method.check_scheduler(FlowMatchEulerDiscreteScheduler())
    method.check_scheduler(UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True))
    for scheduler in (DDIMScheduler(), UniPCMultistepScheduler()):
        with pytest.raises(ValueError, match=f"flow matching.*{type(scheduler).__name__}.*lemica.*toca tune"):
            method.check_scheduler(scheduler)


# --- SCM -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "steps"), SCM)
def test_cache_dits_masks(policy: str, steps: int) -> None:
    assert plan_of(toca.SCM(policy), "dit", steps).steps == SCM[policy, steps]


@pytest.mark.parametrize("policy", ["slow", "medium", "fast", "ultra"])
def test_a_mask_of_every_number_of_steps(policy: str) -> None:
    for steps in range(1, 120):
        mask = toca.SCM(policy).mask(steps)
        assert len(mask) == steps and mask[0] and mask[-1]


def test_bins_in_place_of_a_policy() -> None:
    """The example of cache-dit's documentation; the last step is no other than the bins say."""
    method = toca.SCM(compute_bins=(6, 1, 1, 1, 1), cache_bins=(1, 2, 5, 5, 5))
    assert plan_of(method, "dit", 28).steps == "FFFFFFaFaaFaaaaaFaaaaaFaaaaa"
    assert plan_of(method, "dit", 8).steps == "FFFFFFaF"
    with pytest.raises(ValueError, match="compute_bins.*add up to 29 steps"):
        plan_of(method, "dit", 29)


def test_a_dynamic_mask_only_allows() -> None:
    """DBCache that lets everything pass skips where the mask says so, and one that lets nothing pass nowhere."""
    transformer, inputs = TINY["dit"](1, num_layers=4), inputs_for("dit", 20, 1, seed=1)
    steps = {}
    for threshold in (0.0, 1e9):
        inner = toca.DBCache(threshold=threshold, first_blocks=1, last_blocks=1, warmup_steps=3)
        with toca.cached(transformer, toca.SCM("fast", when=inner), num_inference_steps=20):
            run_steps(transformer, inputs)
            steps[threshold] = toca.summary(transformer).steps
            trace = toca.summary(transformer).trace
    assert steps[0.0] == "F" * 20
    mask = toca.SCM("fast").mask(20)
    assert [letter == "F" for letter in steps[1e9]] == list(mask) and trace


def test_a_dynamic_mask_has_the_first_steps_of_its_method_full() -> None:
    plan = plan_of(toca.SCM("ultra", when="teacache"), "dit", 28)
    assert plan.gate is not None and plan.steps == plan_of(toca.SCM("ultra"), "dit", 28).steps
    late = plan_of(toca.SCM("ultra", when=toca.EasyCache(warmup_steps=10)), "dit", 28)
    assert late.steps[:10] == "F" * 10 and late.steps[10:] == plan.steps[10:].replace("a", late.steps[10])


def test_a_mask_goes_together_with_what_another_method_does() -> None:
    """On the axes: SCM says when, ToCa which tokens, TaylorSeer how the rest is filled."""
    method = toca.CacheMethod(when=toca.SCM("fast"), which=toca.RandomTokens(), fill=toca.TaylorSeer(order=1))
    plan = plan_of(method, "dit", 28)
    assert [letter == "F" for letter in plan.steps] == list(toca.SCM("fast").mask(28)) and "t" in plan.steps


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (toca.LeMiCa, {"full_steps": (1, 3)}, "`full_steps`.*rise from step 0"),
        (toca.LeMiCa, {"full_steps": ()}, "`full_steps`.*rise from step 0"),
        (toca.LeMiCa, {"full_steps": (0, 3, 3)}, "`full_steps`.*rise from step 0"),
        (toca.LeMiCa, {"full_steps": (0, 50)}, r"`full_steps`\[1\].*below 50.*50"),
        (toca.MeanCache, {"full_steps": (0,), "look_back": (7,)}, r"`look_back`\[0\].*at most 6"),
        (toca.BudCache, {"budget": 0}, "`budget`.*0"),
        (toca.SCM, {"policy": "brisk"}, "`policy`.*'ultra'.*brisk"),
        (toca.SCM, {"compute_bins": (3,)}, "`cache_bins`.*where `compute_bins` are"),
        (toca.SCM, {"compute_bins": (3,), "cache_bins": (0,)}, r"`cache_bins`\[0\].*at least 1"),
        (toca.SCM, {"when": "dbcash"}, "did you mean dbcache"),
    ],
)
def test_wrong_values_are_named(cls: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**values)
