"""The whole of it, on a tiny random pipeline."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

import toca
from tests.helpers import tiny_pixart, tiny_pixart_pipeline
from tests.pipelines.folders import save_tiny
from toca.eval import pictures, speed, table
from toca.eval.prompts import Prompt
from toca.eval.study import Settings
from toca.eval.subject import Subject, embedded_models
from toca.eval.variants import Lineup, Variant, parse_variant
from toca.pipelines.config import GenerationConfig

SETTINGS = Settings(prompts=3, batch_size=2, repeats=2, warmups=1, smallest_share=0.5)
STEPS = 6


def subject() -> Subject:
    config = GenerationConfig(num_inference_steps=STEPS, guidance_scale=4.0, height=64, width=64)
    prompts = [Prompt(i, text) for i, text in enumerate(("a red owl", "a blue cat", "a star", "the moon", "a dog"))]
    return Subject("tiny/pixart", tiny_pixart_pipeline(), config, prompts, "weights", "float32")


def lineup() -> Lineup:
    made = Lineup()
    for text in ("fora:interval=2,3", "fora:interval=0", "none"):
        made.extend(parse_variant(text))
    made.add(Variant("toca, all full", "toca", toca.ToCa(interval=1)))
    made.add(Variant("plan of 4 steps", "plan", toca.FORA(2).plan(tiny_pixart(), 4)))
    return made


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    output = tmp_path_factory.mktemp("table")
    return output, table.measure(subject(), lineup(), SETTINGS, output)


def rows(results) -> dict:
    return {row.name: row for row in results.methods + results.uncached}


def test_every_variant_has_its_row_or_its_reason(measured):
    _, results = measured
    methods = ["fora interval=2", "fora interval=3", "none", "toca, all full"]
    assert [row.name for row in results.methods] == methods
    assert [row.num_inference_steps for row in results.uncached] == [3, 4, 5, 6]
    reasons = {failure.variant: failure.reason for failure in results.failures}
    assert "at least 1" in reasons["fora interval=0"]
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
    assert fora.at_latency.steps in (3, 4, 5, 6)
    assert fora.at_flops.steps in (3, 4)
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
    folders = sorted((output / "stages" / "tiny_pixart" / "pictures").glob("full-*/"))
    files = sorted(path.name for path in folders[0].glob("*.png"))
    assert len(files) == 3
    assert all(name.startswith("p00000") and name.endswith("-s000-f0000.png") for name in files)
    image = np.asarray(Image.open(folders[0] / files[0]))
    assert image.shape == (64, 64, 3)
    assert image.std() > 1


def test_the_files_say_what_was_found(measured, tmp_path):
    _, results = measured
    paths = table.write(results, {"device": "x", "threads": 1, "torch": "2", "git": None}, [2.0], tmp_path)
    assert [path.name for path in paths] == ["tiny_pixart.md", "tiny_pixart.json", "tiny_pixart.png"]
    data = json.loads(paths[1].read_text())
    fora = data["methods"][0]
    assert fora["method"] == {"method": "fora", "fields": {"interval": 2, "counts_down": True}}
    assert fora["fidelity"]["psnr"]["mean"] == results.methods[0].psnr
    assert fora["samples"]["psnr"] == results.methods[0].samples["psnr"]
    assert fora["wall_over_flops"] == results.methods[0].wall_over_flops
    assert len(data["config"]["items"]) == 3
    assert "**plan of 4 steps** failed" in paths[0].read_text()
    assert Image.open(paths[2]).size[0] > 1000


def counted(monkeypatch) -> list[str]:
    """The names of the variants that a run computes, in order."""
    calls: list[str] = []
    for module in (pictures, speed):

        def run(original, subject, variant, items, seed):
            calls.append(variant.name)
            return original(subject, variant, items, seed)

        monkeypatch.setattr(module, "run_items", partial(run, module.run_items))
    return calls


def test_what_is_done_is_not_done_again(measured, monkeypatch):
    output, results = measured
    calls = counted(monkeypatch)
    again = table.measure(subject(), lineup(), SETTINGS, output)
    assert calls == ["plan of 4 steps"]  # what failed is tried anew
    assert again == results


def test_an_interrupted_run_goes_on_where_it_stopped(monkeypatch, tmp_path):
    methods = parse_variant("fora:interval=2,3")

    def broken(subject, variant, items, seed):
        if variant.name == "fora interval=3":
            raise KeyboardInterrupt
        return original(subject, variant, items, seed)

    original = pictures.run_items
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "run_items", broken)
        with pytest.raises(KeyboardInterrupt):
            table.measure(subject(), methods, SETTINGS, tmp_path)
    calls = counted(monkeypatch)
    results = table.measure(subject(), methods, SETTINGS, tmp_path)
    assert calls[:2] == ["fora interval=3"] * 2
    assert "fora interval=2" not in calls[:3]
    assert len(results.methods) == 2


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 3}, {"prompts": 4}])
def test_other_settings_are_measured_anew(measured, monkeypatch, change):
    output, _ = measured
    calls = counted(monkeypatch)
    table.measure(subject(), parse_variant("fora:interval=2"), replace(SETTINGS, **change), output)
    assert {"full", "3 steps", "fora interval=2"} <= set(calls)


def test_nothing_is_timed_before_all_pictures_are_made(monkeypatch, tmp_path):
    order: list[str] = []
    for module, name in ((pictures, "pictures"), (speed, "times")):

        def run(original, name, *arguments):
            order.append(name)
            return original(*arguments)

        monkeypatch.setattr(module, "run_items", partial(run, module.run_items, name))
    table.measure(subject(), parse_variant("fora"), SETTINGS, tmp_path)
    assert order == sorted(order)
    assert set(order) == {"pictures", "times"}


def test_a_full_run_that_fails_stops_everything(tmp_path):
    broken = replace(subject(), config=replace(subject().config, height=13))
    with pytest.raises(ValueError, match="multiple"):
        table.measure(broken, lineup(), SETTINGS, tmp_path)


def test_the_command_line_writes_a_table(tmp_path, capsys):
    folder = save_tiny("pixart", tmp_path / "model")
    (folder / "prompts.json").write_text(json.dumps(["a red owl", "a blue cat"]))
    table.main(
        [str(folder)], variant=["fora"], speedups="2", output=tmp_path / "out", prompts=1, batch_size=1, repeats=1,
        warmups=1, steps=3, guidance_scale=1.0, device="cpu",
    )  # fmt: skip
    saved = [line.removeprefix("Saved ") for line in capsys.readouterr().out.splitlines()]
    assert [path.rsplit(".", 1)[1] for path in saved] == ["md", "json", "png"]
    assert "| fora |" in open(saved[0], encoding="utf-8").read()


def test_a_mistake_ends_in_one_sentence(capsys):
    with pytest.raises(SystemExit):
        table.main(["emoji"], variant=["forra"])
    error = capsys.readouterr().err
    assert "Unknown method 'forra'" in error
    assert "Traceback" not in error


def test_the_embedded_pipelines_are_found():
    assert "emoji" in embedded_models()
    assert "flux-dev" not in embedded_models()
