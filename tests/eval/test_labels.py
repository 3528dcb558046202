"""A row says all of its settings: from its name it can be made again, and it carries the command that does."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import toca
from tests.helpers import tiny_pixart
from toca.eval.config.settings import PRESETS, read_run
from toca.eval.labels import VariantRecipe, read_name
from toca.eval.report import read_report
from toca.eval.report.again import generation
from toca.eval.variants import every_method, expand, parse_variant
from toca.files.reading import parse_yaml
from toca.methods.presets import presets
from toca.pipelines.cli import app
from toca.pipelines.method_options import find_method, from_record, override
from toca.pipelines.setting_text import settings_of, value_text
from toca.registry import to_data

RESULTS = Path(__file__).parents[2] / "eval" / "results"
RECORDED = [
    (path.stem, row) for path in sorted(RESULTS.glob("*.json")) for row in read_report(path).results.methods
]  # fmt: skip
CONFIGS = sorted(path.stem for path in PRESETS.glob("*.yaml"))


@pytest.mark.parametrize("name", sorted({**toca.methods(), **presets()}))
def test_settings_make_any_method_of_its_class(name):
    method = find_method(name)
    told = settings_of(method, type(method)())
    assert override(type(method)(), told) == method
    assert not any(sign in setting for setting in told for sign in " ;")
    assert settings_of(method, method) == []


def test_settings_of_methods_within_methods():
    base = toca.CacheMethod()
    method = toca.CacheMethod(toca.FORA(interval=2), "toca/pixart", toca.TaylorSeer(order=1))
    told = settings_of(method, base)
    assert told[:2] == ["when.interval=2", "which=toca"] and "fill=taylorseer" in told and "fill.order=1" in told
    assert override(base, told) == method
    assert override(method, settings_of(base, method)) == base


@pytest.mark.parametrize(
    "value",
    [1e-05, -2.5e-07, 1e16, 0.1, 3, True, None, "a b; c", "", "1e5", "true", "path/of-a.json", "ü\u2028", [1.5, None],
     {"ff": 2.5, "a b": [1]}, "{x}", "'quoted'", 'a"b'],
)  # fmt: skip
def test_yaml_reads_every_value_back(value):
    text = value_text(value)
    assert parse_yaml(text) == value and parse_yaml(f"[{text}]") == [value]
    assert " " not in text and ";" not in text


def test_a_name_shows_every_field_that_is_not_the_default_those_of_the_grid_first():
    [variant] = expand("toca/pixart", {"interval": [3]}, {"fresh_ratio": 0.1, "bonus_patch": 4}).variants
    assert variant.name == "toca/pixart interval=3 fresh_ratio=0.1"  # the preset's own bonus_patch is 4
    assert variant.recipe == VariantRecipe("toca/pixart", ("interval=3", "fresh_ratio=0.1"))
    [variant] = expand("composed", {"when.interval": [2]}, {"which": "teacache", "when": "fora"}, "mine").variants
    assert variant.name == "mine: composed when.interval=2 which=teacache"


def assert_made_again(variant):
    recipe = read_name(variant.name, variant.group)
    assert recipe == variant.recipe
    [again] = parse_variant(recipe.argument).variants
    assert again.method == variant.method


@pytest.mark.parametrize("config", CONFIGS)
def test_every_row_of_every_configuration_can_be_made_from_its_name(config):
    text = (PRESETS / f"{config}.yaml").read_text()
    lists = {"prompts_file": "a list"} if "prompts_expected" in text else {}
    has_models = "models:" in text
    for settings in read_run(config, [] if has_models else ["emoji"], lists).values():
        for variant in settings.model_copy(update={"peers": False}).lineup().variants:
            assert_made_again(variant)


def test_so_can_every_method_as_it_is_and_a_plan_in_a_file(tmp_path):
    path = tmp_path / "my plan.yaml"
    toca.FORA(2).plan(tiny_pixart(), 4).save(path)
    plans = [*parse_variant(str(path)).variants, *expand(str(path), {}, None, "mine").variants]
    for variant in [*every_method().variants, *plans]:
        assert_made_again(variant)


def test_long_settings_have_a_name_that_no_file_needs_to_hold():
    method = toca.preset("toca/dit-ddim50")
    fixed = {name: value for name, value in to_data(method)["fields"].items() if name != "interval"}
    [variant] = expand("toca", {"interval": [2]}, fixed).variants
    assert len(variant.name) > 160
    assert_made_again(variant)


@pytest.mark.parametrize(("model", "row"), RECORDED, ids=lambda value: getattr(value, "name", value))
def test_recorded_rows_can_be_made_from_their_labels(model, row):
    recipe = read_name(row.name, row.group)
    assert recipe == row.recipe
    [variant] = parse_variant(recipe.argument).for_model(model).variants
    if row.group.startswith("peer:"):
        assert to_data(variant.method)["fields"] == row.method["fields"]
    else:
        assert variant.method == from_record(row.method)


def test_the_command_of_a_picture_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = read_report(RESULTS / "emoji-flux.json").results
    row = next(row for row in results.methods if row.group == "fora x stack")
    words = shlex.split(generation(row, results))
    assert words[:2] == ["toca", "generate"] and "--set" in words
    made = CliRunner().invoke(app, words[1:])
    assert made.exit_code == 0, made.output
    assert row.steps in made.stdout
    assert generation(next(row for row in results.methods if row.group.startswith("peer:")), results) is None
    assert generation(results.uncached[0], results).endswith("--method none")
