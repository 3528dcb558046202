"""SeaCache's filter and what it reads of a step; its decisions beside those of diffusers' own."""

from __future__ import annotations

import sys
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

import toca
from toca.axes.sampling import NoiseLevel
from toca.engine.clock import make_clock
from toca.engine.noise_levels import noise_level
from toca.engine.timesteps import Reading
from toca.methods.seacache import SeaCache, sea_filtered, sea_gain

from .helpers import TINY, inputs_for, relative_error, run_steps
from .reference.gates import sea_filtered as naive
from .zoo import ZOO
from .zoo.tiny import run

sizes = st.tuples(*[st.integers(1, 5)] * 3)


@settings(max_examples=30, deadline=None)
@given(sizes, st.floats(0, 1), st.floats(0.5, 4), st.integers(0, 9))
def test_filter_by_its_formula(grid: tuple[int, ...], sigma: float, p: float, seed: int) -> None:
    tensor = torch.randn(2, *grid, 3, generator=torch.Generator().manual_seed(seed))
    got = sea_filtered(tensor, sea_gain(grid, NoiseLevel.of_flow(sigma), p, tensor.device))
    assert relative_error(got, naive(tensor, sigma, p).float()) < 1e-4


def test_filter_passes_all_without_noise_and_the_mean_alone_without_picture() -> None:
    tensor = torch.randn(1, 1, 4, 6, 2, generator=torch.Generator().manual_seed(0))
    clean = sea_filtered(tensor, sea_gain((1, 4, 6), NoiseLevel.of_flow(0.0), 2.0, tensor.device))
    noisy = sea_filtered(tensor, sea_gain((1, 4, 6), NoiseLevel.of_flow(1.0), 2.0, tensor.device))
    assert torch.allclose(clean, tensor, atol=1e-5)
    assert torch.allclose(noisy, 24 * tensor.mean(dim=(1, 2, 3), keepdim=True).expand_as(noisy), rtol=1e-3, atol=1e-3)


# --- how noisy a step is ---------------------------------------------------------------------------------------------


def level_of(scheduler: Any, step: int) -> tuple[float, float]:
    scheduler.set_timesteps(10)
    level = noise_level(scheduler, step, float(scheduler.timesteps[step]))
    return level.signal, level.noise


@pytest.mark.parametrize("step", [0, 4, 9])
def test_noise_level_is_the_schedulers(step: int) -> None:
    flow = FlowMatchEulerDiscreteScheduler(shift=3.0)
    signal, noise = level_of(flow, step)
    assert noise == pytest.approx(float(flow.sigmas[step])) and signal == pytest.approx(1 - noise)
    for scheduler in (DDIMScheduler(), DPMSolverMultistepScheduler()):
        signal, noise = level_of(scheduler, step)
        alpha = float(scheduler.alphas_cumprod[int(scheduler.timesteps[step])])
        assert (signal, noise) == (pytest.approx(alpha**0.5, abs=1e-3), pytest.approx((1 - alpha) ** 0.5, abs=1e-3))
    flow = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    signal, noise = level_of(flow, step)
    assert noise == pytest.approx(float(flow.timesteps[step]) / 1000, abs=2e-3) and signal == pytest.approx(1 - noise)


def test_inverted_sigmas_are_of_the_picture() -> None:
    signal, noise = level_of(FlowMatchEulerDiscreteScheduler(invert_sigmas=True), 0)
    assert (signal, noise) == pytest.approx((0.0, 1.0), abs=0.02)


def test_a_bare_transformers_timesteps_are_taken_for_flow_matching() -> None:
    clock = make_clock(None, 4, False, Reading())
    told = type("Told", (), {"name": None, "num_inference_steps": None, "step_of": lambda self, steps: None})()
    clock.tick(told, torch.tensor([700.0]), torch.zeros(1, 4, 2, 2))
    assert clock.level_at(0) == NoiseLevel.of_flow(0.7)


# --- where tokens stand ----------------------------------------------------------------------------------------------


def test_tokens_form_their_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a packed picture too, whose rows and columns its positions tell, once a generation."""
    seen: list[tuple[int, ...]] = []
    asked: list[dict[str, Any]] = []

    def noted(grid: tuple[int, ...], *args: Any) -> torch.Tensor:
        seen.append(grid)
        return sea_gain(grid, *args)

    def told(call: dict[str, Any], grid: Any = toca.models.FAMILIES["flux"].grid) -> tuple[int, int] | None:
        asked.append(call)
        return grid(call)

    monkeypatch.setattr(sys.modules[SeaCache.__module__], "sea_gain", noted)
    monkeypatch.setitem(vars(toca.models.FAMILIES["flux"]), "grid", told)
    for family, width, grid in (("pixart", 24, (1, 6, 12)), ("flux", 24, (1, 6, 12)), ("latte", 16, (4, 6, 8))):
        inputs = inputs_for(family, 4, height=12, width=width)
        with toca.cached(TINY[family](), SeaCache(1e9), num_inference_steps=4) as transformer:
            run_steps(transformer, inputs)
        assert seen == [grid] * 4
        seen.clear()
    assert len(asked) == 1


# --- diffusers' own --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(diffusers, "SeaCacheConfig"), reason="this diffusers has no SeaCache")
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("threshold", [0.15, 0.25, 0.4])
def test_as_diffusers_has_it(order: int, threshold: float) -> None:
    """The same decisions and the same output on Wan, whose latents both look at."""
    entry = ZOO["WanTransformer3DModel"]
    calls = entry.generation(batch=1)
    sigmas = [float(call["timestep"].flatten()[0]) / 1000 for call in calls]
    theirs = entry.make()
    theirs.enable_cache(diffusers.SeaCacheConfig(threshold=threshold, residual_order=order))
    wanted = []
    for step, call in enumerate(calls):
        with theirs.cache_context("cond", step_index=step, sigma=sigmas[step], num_inference_steps=len(calls)):
            wanted += run(theirs, [call])
    method = SeaCache(threshold, "latents", 3.0, residual_order=order, max_cached_steps=2)
    with toca.cached(entry.make(), method, num_inference_steps=len(calls)) as ours:
        got = run(ours, calls)
        letters = toca.summary(ours).steps
    for (mine,), (other,) in zip(got, wanted, strict=True):
        assert relative_error(mine, other) < 1e-5
    assert "F" in letters[1:-1] and set(letters) != {"F"}
