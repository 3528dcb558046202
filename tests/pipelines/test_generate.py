from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler

import toca
from toca.pipelines import timing
from toca.pipelines.config import GenerationConfig
from toca.pipelines.generate import generate, progress_bar
from toca.pipelines.loading import load
from toca.pipelines.registry import EMBEDDED

CONFIG = GenerationConfig("a red owl", num_inference_steps=6, guidance_scale=4.0, height=64, width=64)
METHOD = toca.preset("toca/pixart")


def pixels(sample) -> np.ndarray:
    return np.asarray(sample.image).astype(int)


def test_without_a_method_the_pipeline_runs_as_it_is(pixart):
    result = generate(pixart, CONFIG)
    assert result.summary is None
    [sample] = result.samples
    assert sample.image.size == (64, 64)
    assert not sample.is_video


def test_with_a_method_there_is_a_summary_and_the_cache_comes_off(pixart):
    before = generate(pixart, CONFIG).samples[0]
    result = generate(pixart, CONFIG, METHOD)
    assert result.summary.steps == METHOD.plan(pixart.transformer, 6).steps
    assert result.summary.flops_speedup > 1
    with pytest.raises(ValueError):
        toca.summary(pixart)
    assert np.array_equal(pixels(generate(pixart, CONFIG).samples[0]), pixels(before))
    assert not np.array_equal(pixels(result.samples[0]), pixels(before))


@pytest.mark.parametrize("method", [None, METHOD])
def test_an_image_does_not_depend_on_its_batch(pixart, method):
    together = generate(pixart, replace(CONFIG, num_images=3, batch_size=3), method).samples
    alone = generate(pixart, replace(CONFIG, num_images=3, batch_size=1), method).samples
    assert [sample.index for sample in together] == [0, 1, 2]
    assert [sample.batch for sample in together] == [range(3)] * 3
    for one, other in zip(together, alone, strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1  # rounding of other matrix sizes
    assert np.abs(pixels(together[0]) - pixels(together[1])).max() > 20


def test_an_image_depends_on_seed_plus_index_only(pixart):
    one = generate(pixart, replace(CONFIG, seed=5, first_index=2)).samples[0]
    other = generate(pixart, replace(CONFIG, seed=7)).samples[0]
    assert np.array_equal(pixels(one), pixels(other))


def test_a_video_has_its_frames(latte):
    config = GenerationConfig("a red owl", num_inference_steps=2, height=32, width=32, num_frames=4, num_images=2)
    samples = generate(latte, config).samples
    assert [len(sample.frames) for sample in samples] == [4, 4]
    assert all(sample.is_video for sample in samples)
    assert samples[0].image.size == (32, 32)


def test_classes_are_generated_too(dit):
    result = generate(dit, GenerationConfig(class_label="goldfish", num_inference_steps=4), "toca/dit-ddim50")
    assert len(result.summary.steps) == 4
    assert result.samples[0].image.size == (32, 32)


def test_a_plan_for_another_number_of_steps_is_refused(pixart):
    plan = METHOD.plan(pixart.transformer, 5)
    with pytest.raises(ValueError, match="for 5 steps, not for 6"):
        generate(pixart, CONFIG, plan)


def test_the_progress_bar_is_put_back(pixart):
    pixart.set_progress_bar_config(desc="mine", disable=True)
    with pytest.raises(RuntimeError), progress_bar(pixart, "ours"):
        assert pixart._progress_bar_config["desc"] == "ours"
        raise RuntimeError
    assert pixart._progress_bar_config == {"desc": "mine", "disable": True}


def test_methods_take_turns_on_the_clock(pixart, monkeypatch):
    runs = []

    def run_once(pipe, config, method, keeping):
        runs.append(method)
        return {None: 2.0, "fora": 1.0}[method] + 0.01 * len(runs)

    monkeypatch.setattr(timing, "_time_once", run_once)
    seconds = timing.measure_seconds(pixart, [(CONFIG, None), (CONFIG, "fora")])
    assert runs == [None, "fora"] * (1 + timing.MAX_TURNS)
    assert seconds == pytest.approx([2.03, 1.04])  # the fastest, the warm-up left out


def test_slow_models_run_the_fewest_turns(pixart, monkeypatch):
    monkeypatch.setattr(timing, "ENOUGH_SECONDS", 0.0)
    runs = []
    monkeypatch.setattr(timing, "_time_once", lambda *arguments: runs.append(arguments) or 1.0)
    assert timing.measure_seconds(pixart, [(CONFIG, None)]) == [1.0]
    assert len(runs) == 1 + timing.MIN_TURNS


def test_the_clock_runs_for_real(pixart):
    config = replace(CONFIG, num_inference_steps=2)
    seconds = timing.measure_seconds(pixart, [(config, None), (config, METHOD)])
    assert all(0 < one < 60 for one in seconds)


def test_a_scheduler_that_the_pipeline_cannot_work_with_is_said(pixart) -> None:
    pixart.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(ValueError, match="PixArtAlphaPipeline cannot work with FlowMatchEulerDiscreteScheduler, wh"):
        generate(pixart, GenerationConfig("a red owl", num_inference_steps=2))


def test_a_picture_of_no_numbers_is_none(pixart) -> None:
    for weight in pixart.vae.parameters():
        weight.data.mul_(float("nan"))
    with pytest.raises(ValueError, match=r"of no numbers \(NaN\)"):
        generate(pixart, GenerationConfig("a red owl", num_inference_steps=2))


@pytest.mark.skipif(not EMBEDDED.exists(), reason="the embedded model is not there")
def test_a_step_count_that_the_pipeline_cannot_take_is_said_so() -> None:
    pipe = load("emoji", device="cpu")
    with pytest.raises(ValueError, match="one step"):
        generate(pipe, GenerationConfig("an owl", num_inference_steps=1))
