"""Plans as files: saved, edited by hand, loaded and run; every fault is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import toca
from toca.axes.actions import COMPUTE, REUSE, partial
from toca.plan import Plan

from .helpers import TINY, inputs_for, run_steps
from .plans import METHODS, PRESETS, STEPS, every_family, every_suffix, plan_of


@every_family
@every_suffix
@pytest.mark.parametrize("name", ["preset", *METHODS])
def test_round_trip(tmp_path: Path, family: str, suffix: str, name: str) -> None:
    plan, path = plan_of(family, name), tmp_path / f"plan{suffix}"
    plan.save(path)
    loaded = Plan.load(str(path))
    assert loaded == plan and loaded.cost() == plan.cost() and str(loaded) == str(plan)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@every_family
@pytest.mark.parametrize("name", ["preset", *METHODS])
def test_running_a_loaded_plan_is_running_the_method(tmp_path: Path, family: str, name: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, cfg=True)
    method = toca.preset(PRESETS[family]) if name == "preset" else METHODS[name]
    path = tmp_path / "plan.yaml"
    method.plan(transformer, STEPS).save(path)
    outputs, summaries = [], []
    for choice in (method, Plan.load(path)):
        options: dict[str, Any] = {} if isinstance(choice, Plan) else {"num_inference_steps": STEPS}
        with toca.cached(transformer, choice, batched_cfg=True, **options):
            outputs.append(run_steps(transformer, inputs))
            summaries.append(toca.summary(transformer))
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    assert summaries[0] == summaries[1]


@every_family
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_edited_by_hand(tmp_path: Path, family: str, suffix: str) -> None:
    """One word for all layers, a list over them, a number for a share."""
    path, transformer = tmp_path / f"plan{suffix}", TINY[family]()
    plan_of(family, "fora").save(path)
    data = yaml.safe_load(path.read_text())
    count = sum(site.module == "ff" for site in plan_of(family).layout.sites)
    data["steps"][2]["ff"] = ["compute"] + ["reuse"] * (count - 1)
    data["steps"][3]["self_attn"] = "reuse"
    data["steps"][3]["ff"] = 0.25
    data["selection"] = {"score": "self_attention", "interval": 3, "staleness_weight": 0.25}
    path.write_text(json.dumps(data) if suffix == ".json" else yaml.safe_dump(data))
    plan = Plan.load(path)
    layers = [site.layer for site in plan.layout.sites if site.module == "ff"]
    assert [plan[2, layer, "ff"] for layer in layers] == [COMPUTE] + [REUSE] * (count - 1)
    assert {plan[3, layer, "ff"] for layer in layers} == {partial(0.25)}
    assert plan.steps[2] == "m" and plan.steps[3] == "t"
    inputs = inputs_for(family, STEPS)
    with toca.cached(transformer, plan):
        run_steps(transformer, inputs)
        summary = toca.summary(transformer)
    assert summary.steps == plan.steps
    first = {site.layer: site for site in summary.trace[3].sites if site.module == "ff"}[layers[0]]
    assert first.tokens_recomputed == int(0.25 * first.tokens)


def broken(tmp_path: Path, change: Any, suffix: str = ".yaml") -> Path:
    path = tmp_path / f"broken{suffix}"
    plan_of("pixart", "toca").save(path)
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(json.dumps(data) if suffix == ".json" else yaml.safe_dump(data))
    return path


def _put(*keys: Any, value: Any) -> Any:
    def change(data: dict) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


def _drop(*keys: Any) -> Any:
    def change(data: dict) -> None:
        for key in keys[:-1]:
            data = data[key]
        del data[keys[-1]]

    return change


FAULTS: dict[str, tuple[Any, str]] = {
    "format": (_put("format", value="recipe"), "toca-plan"),
    "no-format": (_drop("format"), "toca-plan"),
    "version": (_put("version", value=99), "version 99.*versions"),
    "no-version": (_drop("version"), "version"),
    "no-method": (_drop("method"), "method"),
    "no-steps": (_drop("steps"), "steps"),
    "no-model": (_drop("model"), "model"),
    "no-selection-key": (_drop("selection"), "selection"),
    "no-sites": (_drop("model", "sites"), "sites"),
    "site-without-module": (_drop("model", "sites", 0, "module"), "module"),
    "steps-not-a-list": (_put("steps", value=7), "."),
    "step-not-a-table": (_put("steps", 1, value="reuse"), "."),
    "too-few-steps": (_drop("steps", 3), "7 steps, expected 8"),
    "count-not-a-number": (_put("num_inference_steps", value="many"), "."),
    "no-step-at-all": (lambda data: data.update(steps=[], num_inference_steps=0), "at least 1"),
    "word": (_put("steps", 2, "ff", value="sometimes"), "step 2, ff.*sometimes"),
    "share-above-one": (_put("steps", 2, "ff", value=1.5), "step 2, ff.*1.5"),
    "share-below-zero": (_put("steps", 2, "ff", value=-0.1), "step 2, ff.*-0.1"),
    "share-not-a-number": (_put("steps", 2, "ff", value=float("nan")), r"steps\[2\]\.ff: nan"),
    "truth": (_put("steps", 2, "ff", value=True), "step 2, ff.*True"),
    "nothing": (_put("steps", 2, "ff", value=None), "step 2, ff.*None"),
    "too-few-layers": (_put("steps", 2, "ff", value=["reuse"]), "step 2: ff has 1 values.* 3"),
    "unknown-module": (_put("steps", 2, "nose", value="reuse"), "step 2: nose"),
    "missing-module": (_drop("steps", 2, "ff"), "step 2.*ff"),
    "first-step": (_put("steps", 0, "ff", value="reuse"), "step 0, layer 0, ff.*reuse"),
    "first-step-partial": (_put("steps", 0, "ff", value=0.5), "step 0, layer 0, ff.*partial"),
    "partial-self-attention": (_put("steps", 2, "self_attn", value=0.5), "step 2, layer 0, self_attn.*0.5"),
    "partial-without-selection": (_put("selection", value=None), "partial.*selection"),
    "selection-field": (_put("selection", "fields", "colour", value=3), "colour"),
    "selection-score": (_put("selection", "fields", "rated_by", value="beauty"), "rated_by.*beauty"),
    "selection-interval": (_put("selection", "fields", "interval", value=0), "interval.*0"),
    "selection-type": (_put("selection", "fields", "interval", value="three"), "."),
    "selection-name": (_put("selection", "selection", value="beauty"), "no selection.*beauty"),
    "selection-older": (_put("selection", value={"score": "beauty"}), "score.*beauty"),
    "selection-older-field": (_put("selection", value={"score": "random", "colour": 3}), "colour"),
    "selection-list": (_put("selection", value=["random"]), "."),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_faults_are_named(tmp_path: Path, fault: str, suffix: str) -> None:
    change, reason = FAULTS[fault]
    path = broken(tmp_path, change, suffix)
    with pytest.raises(ValueError, match=f"(?s){path.name} is not a valid plan: .*{reason}"):
        Plan.load(path)


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".yaml", "steps: [compute, :\n  - {"),
        (".json", '{"format": "toca-plan", '),
        (".yaml", ""),
        (".json", ""),
        (".yaml", "just words"),
        (".yaml", "- a\n- list"),
        (".json", "[1, 2]"),
        (".yaml", "\x00\x01\x02"),
    ],
)
def test_files_that_are_no_plans(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path.name} is not a valid plan"):
        Plan.load(path)


def test_binary_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "picture.yaml"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="picture.yaml is not a valid plan"):
        Plan.load(path)
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        Plan.load(tmp_path / "none.yaml")


def test_unsafe_yaml_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text(f"!!python/object/apply:pathlib.Path.touch [{tmp_path / 'pwned'}]")
    with pytest.raises(ValueError, match="evil.yaml is not a valid plan"):
        Plan.load(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["plan.txt", "plan", "plan.png"])
def test_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        plan_of("dit").save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    plan_of("dit").save(path)
    before = path.read_text()
    bad = dataclasses.replace(plan_of("dit"))
    # Past the checks: something that no file can hold.
    object.__setattr__(bad, "method", object())
    with pytest.raises(Exception, match="."):
        bad.save(path)
    assert path.read_text() == before and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OSError, match="plan.yaml"):
        plan_of("dit").save(path / "plan.yaml")
