"""`--json`: pure JSON on stdout, with keys that stay; and lists of methods by what they work on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

import toca
from toca.pipelines.cli import app
from toca.pipelines.registry import models

pytestmark = pytest.mark.usefixtures("quiet_libraries")


def plain(*words: str) -> Any:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_plan():
    made = plain("plan", "--model", "emoji", "--method", "fora/dit", "--dtype", "float32")  # a note goes to stderr
    assert list(made) == [
        "model", "method", "dtype", "cache_dtype", "cache_device", "num_inference_steps", "steps", "flops",
        "full_flops", "flops_speedup", "speedup_is_a_bound", "tokens_recomputed", "cache_bytes", "ram_bytes",
        "device_bytes", "copied_bytes", "files",
    ]  # fmt: skip
    assert made["steps"].count("F") == 8 and len(made["steps"]) == made["num_inference_steps"] == 20
    assert made["flops_speedup"] == pytest.approx(made["full_flops"] / made["flops"])


def test_models_and_families():
    found = {model["name"]: model for model in plain("models")}
    assert list(found) == list(models())
    assert found["emoji"]["steps"] == 20 and found["emoji"]["tokens"] == 256 and found["flux-dev"]["megabytes"] is None
    families = {family["family"]: family for family in plain("models", "--families")}
    assert "ras" in families["latte"]["methods_that_do_not_run"]
    assert families["flux"]["transformer"] == "FluxTransformer2DModel"


def test_methods():
    listed = plain("methods")
    assert [method["name"] for method in listed["methods"]] == list(toca.methods()) and listed["family"] is None
    assert {preset["name"] for preset in listed["presets"]} == set(toca.presets())
    one = plain("methods", "toca/flux")
    assert one["method"] == "toca" and one["papers"] == ["2410.05317"] and "flux" in one["families"]
    [interval] = [field for field in one["fields"] if field["name"] == "interval"]
    assert interval["value"] == 4 and interval["set"] == "interval=4" and interval["type"] == "int"


def test_versions_and_devices():
    found = plain("env")
    assert list(found) == ["python", "platform", "packages", "devices", "untested"]
    assert found["packages"]["toca"] == toca.__version__ and "cpu" in found["devices"]


@pytest.mark.parametrize("words", [("--family", "latte"), ("--model", "emoji-video")])
def test_methods_of_a_family_with_the_reason_of_those_that_do_not_work(words):
    refused = {method["name"]: method["refused"] for method in plain("methods", *words)["methods"]}
    assert {name for name, reason in refused.items() if reason} == {"ras", "coast"}
    text = " ".join(CliRunner().invoke(app, ["methods", *words]).stdout.split())
    assert "ras does not work on latte: it asks for a model of which tokens can be dropped" in text
    assert "its blocks attend within frames" in text
    assert "pab/latte" in text and "toca/flux" not in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--family", "flx"), "did you mean flux"),
        (("tocca",), "did you mean toca"),
        (("fora", "--family", "flux"), "no two of them"),
    ],
)
def test_a_typo_is_answered_with_three_names_at_most(words, said):
    done = CliRunner().invoke(app, ["methods", *words])
    assert done.exit_code == 1 and said in done.stderr and done.stderr.count(" or ") <= 3
    assert len(done.stderr) < 200
