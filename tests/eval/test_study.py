"""One pipeline, all variants, on a tiny random one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.progress import Progress

import toca
from tests.helpers import tiny_pixart, tiny_pixart_pipeline
from toca.eval.config.settings import Settings
from toca.eval.report import Report
from toca.eval.samples import pictures
from toca.eval.samples.prompts import Prompt
from toca.eval.samples.subject import Subject
from toca.eval.store.store import Store
from toca.eval.study import Study
from toca.eval.timing import speed
from toca.eval.variants import Lineup, Variant, parse_variant
from toca.pipelines.config import GenerationConfig

SETTINGS = Settings(prompts=3, batch_size=2, repeats=2, warmups=1, fewer_steps=(3, 4, 5))
LESS = SETTINGS.model_copy(update={"repeats": 1, "fewer_steps": (3,)})
"""For what is asked of the order of things and not of the figures."""
STEPS = 6


def subject() -> Subject:
    config = GenerationConfig(num_inference_steps=STEPS, guidance_scale=4.0, height=64, width=64)
    prompts = [Prompt(i, text) for i, text in enumerate(("a red owl", "a blue cat", "a star", "the moon", "a dog"))]
    return Subject("tiny/pixart", tiny_pixart_pipeline(), config, prompts, "weights", "float32")


def lineup() -> Lineup:
    made = Lineup()
    for text in ("fora:interval=2,3", "none"):
        made.extend(parse_variant(text))
    made.add(Variant("toca, all full", "toca", toca.ToCa(interval=1)))
    made.add(Variant("plan of 4 steps", "plan", toca.FORA(2).plan(tiny_pixart(), 4)))
    return made


def measure(subject: Subject, lineup: Lineup, settings: Settings, output: Path) -> Report:
    """All stages."""
    study = Study(subject, lineup, settings, Store(output), Progress(disable=True))
    study.generate()
    study.time()
    study.score()
    return study.report("toca eval run")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    output = tmp_path_factory.mktemp("study")
    return output, measure(subject(), lineup(), SETTINGS, output).results


def rows(results) -> dict:
    return {row.name: row for row in results.methods + results.uncached}


def test_every_variant_has_its_row_or_its_reason(measured):
    _, results = measured
    methods = ["fora interval=2", "fora interval=3", "none", "toca, all full"]
    assert [row.name for row in results.methods] == methods
    assert [row.num_inference_steps for row in results.uncached] == [3, 4, 5, 6]
    reasons = {failure.variant: failure.reason for failure in results.failures}
    assert "for 4 steps" in reasons["plan of 4 steps"]


def test_figures_are_those_of_the_runs(measured):
    _, results = measured
    fora = rows(results)["fora interval=2"]
    plan = toca.FORA(2).plan(tiny_pixart(sample_size=32, patch_size=4), STEPS)
    assert fora.steps == plan.steps
    assert fora.flops_speedup > 1.3
    assert fora.cache_bytes > 0
    assert fora.steps_of_batches == {plan.steps: 2}  # three samples, two at a time
    assert rows(results)["3 steps"].flops_speedup == 2
    assert len(fora.samples["psnr"]) == 3
    assert fora.psnr > rows(results)["3 steps"].psnr > 10
    assert 3 <= fora.at_latency.steps <= 6
    assert fora.at_flops.between == (4, 5)
    full = results.uncached[-1]
    assert (full.name, full.identical, full.flops_speedup) == ("full", 3, 1)
    assert full.total_seconds > full.loop_seconds > 0


def test_what_changes_nothing_is_identical_and_what_skips_nothing_is_said(measured):
    _, results = measured
    none, full = rows(results)["none"], rows(results)["toca, all full"]
    assert (none.identical, none.psnr, none.skipped_nothing) == (3, None, False)
    assert none.flops_speedup == 1
    assert full.skipped_nothing
    assert not rows(results)["fora interval=3"].skipped_nothing


def test_pictures_are_lossless_files_of_their_own(measured):
    output, _ = measured
    folders = sorted((output / "pictures").glob("full-*/"))
    files = sorted(path.name for path in folders[0].glob("*.png"))
    assert len(files) == 3
    assert all(name.startswith("p00000") and name.endswith("-s000-f0000.png") for name in files)
    image = np.asarray(Image.open(folders[0] / files[0]))
    assert image.shape == (64, 64, 3)
    assert image.std() > 1


@pytest.mark.matrix  # half a minute
def test_token_maps_are_of_what_chooses_tokens_by_a_plan(tmp_path):
    methods = ("toca:interval=2;fresh_ratio=0.3", "fora", "composed:when=easycache;which=toca/pixart")
    lineup = Lineup()
    for text in methods:
        lineup.extend(parse_variant(text))
    report = measure(subject(), lineup, LESS, tmp_path)
    [(name, shares)] = report.token_maps.items()
    assert name.startswith("toca interval=2")
    assert shares.shape[:2] == (3, 1) and 0 < shares.min() < shares.max() <= 1
    assert report.plans[name].steps == next(iter(rows(report.results)[name].steps_of_batches))


def counted(monkeypatch) -> list[str]:
    """The names of the variants that a run computes, in order."""
    calls: list[str] = []
    for module, name in ((pictures, "run_items"), (speed, "VariantWorkload")):

        def run(original, subject, variant, *others):
            calls.append(variant.name)
            return original(subject, variant, *others)

        monkeypatch.setattr(module, name, partial(run, getattr(module, name)))
    return calls


def test_what_is_done_is_not_done_again(measured, monkeypatch):
    output, results = measured
    calls = counted(monkeypatch)
    again = measure(subject(), lineup(), SETTINGS, output).results
    assert calls == ["plan of 4 steps"]  # what failed is tried anew
    assert again == results


def test_an_interrupted_run_goes_on_where_it_stopped(monkeypatch, tmp_path):
    methods = parse_variant("fora:interval=2,3")

    def broken(subject, variant, *others):
        if variant.name == "fora interval=3":
            raise KeyboardInterrupt
        return original(subject, variant, *others)

    original = pictures.run_items
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "run_items", broken)
        with pytest.raises(KeyboardInterrupt):
            measure(subject(), methods, LESS, tmp_path)
    calls = counted(monkeypatch)
    results = measure(subject(), methods, LESS, tmp_path).results
    assert calls[:2] == ["fora interval=3"] * 2
    assert "fora interval=2" not in calls[:3]
    assert len(results.methods) == 2


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 3}, {"prompts": 4}])
def test_other_settings_are_measured_anew(measured, monkeypatch, change):
    output, _ = measured
    calls = counted(monkeypatch)
    measure(subject(), parse_variant("fora:interval=2"), LESS.model_copy(update=change), output)
    assert {"full", "3 steps", "fora interval=2"} <= set(calls)


def test_nothing_is_timed_before_all_pictures_are_made(monkeypatch, tmp_path):
    order: list[str] = []
    for module, name, what in ((pictures, "run_items", "pictures"), (speed, "VariantWorkload", "times")):

        def run(original, name, *arguments):
            order.append(name)
            return original(*arguments)

        monkeypatch.setattr(module, name, partial(run, getattr(module, name), what))
    measure(subject(), parse_variant("fora"), LESS, tmp_path)
    assert order == sorted(order)
    assert set(order) == {"pictures", "times"}


def test_a_full_run_that_fails_stops_everything(tmp_path):
    broken = replace(subject(), config=replace(subject().config, height=13))
    with pytest.raises(ValueError, match="multiple"):
        measure(broken, lineup(), SETTINGS, tmp_path)
