from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

import pytest

import toca
from tests.helpers import tiny_pixart
from toca.pipelines.method_options import find_method, from_record, method_name, override, recorded
from toca.pipelines.running.methods import _plain_fields
from toca.registry import convert

EVERY_METHOD = {**toca.presets(), **{name: cls() for name, cls in toca.methods().items()}}


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_a_method_survives_json(name):
    method = EVERY_METHOD[name]
    assert from_record(json.loads(json.dumps(recorded(method)))) == method


def test_a_plan_survives_json():
    plan = toca.preset("toca/pixart").plan(tiny_pixart(), 8)
    again = from_record(json.loads(json.dumps(recorded(plan))))
    assert again.steps == plan.steps
    assert again == plan


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_a_method_is_found_by_its_name_and_named_by_it(name):
    assert find_method(name) == EVERY_METHOD[name]
    assert EVERY_METHOD[method_name(EVERY_METHOD[name])] == EVERY_METHOD[name]


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_method_may_be_a_plan_file(tmp_path, suffix):
    plan = toca.FORA().plan(tiny_pixart(), 8)
    plan.save(tmp_path / f"plan{suffix}")
    assert find_method(str(tmp_path / f"plan{suffix}")).steps == plan.steps
    assert method_name(plan) == "plan"


def test_settings_are_read_by_the_type_of_the_field():
    settings = ["interval=5", "fresh_ratio=0", "shared_cfg=true", "interval_window=[0.2, 0.4, 2]",
                "module_factor={ff: 2, cross_attn: 0.5}", "layer_scale=null"]  # fmt: skip
    method = override(toca.ToCa(), settings)
    assert (method.interval, method.fresh_ratio, method.shared_cfg) == (5, 0.0, True)
    assert isinstance(method.fresh_ratio, float)
    assert method.interval_window == (0.2, 0.4, 2)
    assert method.module_factor == {"ff": 2.0, "cross_attn": 0.5}
    assert method.layer_scale is None


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_what_help_shows_of_a_field_can_be_pasted_back(name):
    method = EVERY_METHOD[name]
    for field in _plain_fields(method):
        assert override(method, [field["set"]]) == method, field


def test_values_as_python_writes_them_are_read_too():
    settings = ["interval_window=(0.2, 0.4, 2)", "module_factor={'ff': 2.5}", "layer_scale=None", "shared_cfg=True"]
    method = override(toca.ToCa(layer_scale=3), settings)
    assert (method.interval_window, method.module_factor) == ((0.2, 0.4, 2), {"ff": 2.5})
    assert method.layer_scale is None and method.shared_cfg is True


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("intervall=3", ["'intervall'", "did you mean interval", "`toca methods toca` lists its fields"]),
        ("interval", ["key=value", "'interval'"]),
        ("interval=often", ["'often'", "ToCa.interval", "int"]),
        ("interval=true", ["'true'", "ToCa.interval"]),
        ("interval=2.5", ["'2.5'", "ToCa.interval"]),
        ("shared_cfg=1", ["'1'", "ToCa.shared_cfg", "bool"]),
        ("step_factor=[1]", ["'[1]'", "ToCa.step_factor"]),
        ("module_factor=[", ["'['", "ToCa.module_factor"]),
        ("interval=0", ["interval", "0", "at least 1"]),
    ],
)
def test_a_bad_setting_is_named(setting, words):
    with pytest.raises(ValueError) as error:
        override(toca.ToCa(), [setting])
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_plan_has_no_settings():
    plan = toca.FORA().plan(tiny_pixart(), 8)
    assert override(plan, []) is plan
    with pytest.raises(ValueError, match="A plan is fixed"):
        override(plan, ["interval=2"])


@pytest.mark.parametrize(
    ("typo", "meant"), [("tocca", "toca"), ("forra", "fora"), ("teacache/emojy", "teacache/emoji")]
)
def test_a_typo_suggests_the_few_names_that_come_near(typo, meant):
    with pytest.raises(ValueError, match=f"{typo}': did you mean {meant}") as error:
        find_method(typo)
    assert str(error.value).split("?")[0].count(" or ") <= 2 and "`toca methods` lists all" in str(error.value)


def test_a_missing_plan_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"no plan file nowhere\.yaml"):
        find_method("nowhere.yaml")


@pytest.mark.parametrize("text", ["", "steps: [", "{}", "just text", "- 1"])
def test_a_corrupt_plan_is_a_value_error_that_names_the_file(tmp_path, text):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"plan\.yaml"):
        find_method(str(path))


@pytest.mark.parametrize(
    "data", [{"method": "gone", "fields": {}}, {"method": "fora", "fields": {"gone": 1}}, {"method": "fora"}]
)
def test_recorded_methods_of_another_version_are_refused(data):
    with pytest.raises(ValueError, match="version of toca"):
        from_record(data)


@pytest.mark.parametrize(
    ("value", "hint", "result"),
    [
        (3, float, 3.0),
        (None, int | None, None),
        (3, int | None, 3),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, 2], tuple[float, int], (1.0, 2)),
        ("a", Literal["a", "b"], "a"),
        ({"ff": 1}, Mapping[str, float], {"ff": 1.0}),
    ],
)
def test_plain_data_becomes_what_a_field_asks_for(value, hint, result):
    converted = convert(value, hint)
    assert converted == result
    assert type(converted) is type(result)


@pytest.mark.parametrize(
    ("value", "hint"), [("c", Literal["a", "b"]), ([1, 2, 3], tuple[int, int]), ("x", int | None), (1, str)]
)
def test_other_data_is_a_type_error(value, hint):
    with pytest.raises(TypeError):
        convert(value, hint)
