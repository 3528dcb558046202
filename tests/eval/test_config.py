"""A run's settings: read strictly, and wrong in one sentence."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import toca
from toca.eval.command import PRESETS as told
from toca.eval.config.settings import PRESETS, Settings, find_config, presets, read_run


def written(folder, **data):
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def names(settings: Settings) -> list[str]:
    return [variant.name for variant in settings.lineup().variants]


def test_what_stands_beside_a_pipeline_holds_for_it_alone(tmp_path):
    path = written(
        tmp_path,
        models=["fashion", {"model": "emoji", "prompts": 3, "scores": {"image_reward": True}}],
        prompts=5,
        scores={"clip": ["emoji-clip"]},
        methods=["fora:interval=2,3", {"method": "teacache", "set": {"threshold": 0.1}}],
    )
    run = read_run(path, [], {})
    assert list(run) == ["fashion", "emoji"]
    assert [each.prompts for each in run.values()] == [5, 3]
    assert not run["fashion"].scores.image_reward
    assert run["emoji"].scores.image_reward and list(run["emoji"].scores.clip) == ["emoji-clip"]
    assert names(run["emoji"])[:3] == ["fora interval=2", "fora interval=3", "teacache threshold=0.1"]


def test_flags_win_over_the_file(tmp_path):
    path = written(tmp_path, models=[{"model": "emoji", "prompts": 3, "seed": 1}, "fashion"])
    run = read_run(path, ["emoji", "a/folder"], {"prompts": 7, "scores.clip": ["emoji-clip"], "methods": ["fora"]})
    assert list(run) == ["emoji", "a/folder"]
    assert [each.prompts for each in run.values()] == [7, 7]
    assert [each.seed for each in run.values()] == [1, 0]
    assert list(run["a/folder"].scores.clip) == ["emoji-clip"]
    assert names(run["emoji"])[0] == "fora"


def test_files_are_named_relative_to_the_configuration(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "prompts.txt").write_text("a red owl\n")
    path = written(tmp_path / "mine", models=["emoji"], prompts_file="prompts.txt")
    monkeypatch.chdir(tmp_path)
    assert read_run(path, [], {})["emoji"].prompts_file == str(tmp_path / "mine" / "prompts.txt")


def test_a_file_beside_the_configuration_that_is_called_as_a_method_is_not_meant(tmp_path):
    (tmp_path / "fora").write_text("no plan")
    (tmp_path / "plan").write_text("no plan either")
    path = written(tmp_path, models=["emoji"], methods=["fora", {"method": "plan"}])
    named, other = read_run(path, [], {})["emoji"].methods
    assert (named, other.method) == ("fora", str(tmp_path / "plan"))


def test_methods_have_grids_fixed_fields_and_labels(tmp_path):
    methods = [
        {"method": "fora", "label": "FORA up", "set": {"counts_down": False}, "grid": {"interval": [2, 3]}},
        {"method": "toca/pixart"},
        {"method": "toca/pixart"},
    ]
    lineup = read_run(written(tmp_path, models=["emoji"], methods=methods, peers=False), [], {})["emoji"].lineup()
    up = [f"FORA up: fora interval={interval} counts_down=false" for interval in (2, 3)]
    assert [variant.name for variant in lineup.variants] == [*up, "toca/pixart"]
    assert lineup.variants[1].method == toca.FORA(3, counts_down=False)
    assert lineup.variants[1].group == "FORA up"


def test_a_calibration_is_named_relative_to_the_configuration(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "calibration.json").write_text("{}")
    methods = [{"method": "teacache", "set": {"calibration": "../calibration.json"}}]
    path = written(tmp_path / "configs", models=["emoji"], methods=methods)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "calibration.json"))):
        read_run(path, [], {})["emoji"].lineup()


def test_two_that_differ_have_names_that_differ(tmp_path):
    path = written(tmp_path, models=["emoji"], methods=["fora", {"method": "fora", "set": {"interval": 2}}])
    assert names(read_run(path, [], {})["emoji"])[:2] == ["fora", "fora interval=2"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"promts": 3}, "there is no `promts`; did you mean `prompts`"),
        ({"prompts": 0}, "`prompts`: Input should be greater than or equal to 1, got 0"),
        ({"steps": True}, "`steps`: Input should be a valid integer, got True"),
        ({"steps": 1}, "`steps`: Input should be greater than or equal to 2, got 1"),
        ({"steps": "3"}, "`steps`: Input should be a valid integer, got '3'"),
        ({"seed": False}, "`seed`: Input should be a valid integer, got False"),
        ({"prompts": 3.0}, "`prompts`: Input should be a valid integer, got 3.0"),
        ({"guidance_scale": True}, "`guidance_scale`: Input should be a valid number, got True"),
        ({"fewer_steps": [True]}, r"`fewer_steps.0`: Input should be a valid integer, got True"),
        ({"batch_size": "many"}, "`batch_size`: .* got 'many'"),
        ({"scores": {"clips": []}}, "there is no `scores.clips`; did you mean `clip`"),
        ({"methods": [{"method": "fora", "grids": {}}]}, "there is no `methods.0.grids`; did you mean `grid`"),
        ({"speedups": [0.5]}, r"`speedups.0`: Input should be greater than 1, got 0.5"),
        ({"prompts_expected": 200}, "a published list of 200 prompts: name its file with --prompts-file"),
        ({"models": ["emoji", {"model": "emoji", "seed": 1}]}, "'emoji' stands twice"),
        ({"models": [{"seed": 1}]}, "an entry of `models` is a name, or has a `model`, got {'seed': 1}"),
        ({"models": "emoji"}, "`models` is a list of names, got 'emoji'"),
        ({"models": []}, "name no pipeline: add --model"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, data, said):
    with pytest.raises(ValueError, match=said) as raised:
        read_run(written(tmp_path, **{"models": ["emoji"], **data}), [], {})
    assert str(tmp_path / "run.yaml") in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["- a list", "text", "a: [", "\x00"])
def test_what_is_no_configuration_is_said(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="run.yaml (is no YAML|holds no settings)"):
        read_run(path, [], {})


def test_an_unknown_name_lists_the_presets():
    with pytest.raises(ValueError, match="'drawbensh' is neither a file nor a preset: .*drawbench"):
        find_config("drawbensh")


def test_an_unknown_method_is_named(tmp_path):
    with pytest.raises(ValueError, match="Unknown method 'forra'"):
        read_run(written(tmp_path, models=["emoji"], methods=["forra"]), [], {})["emoji"].lineup()


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_whole(name, tmp_path):
    lists = {"prompts_file": "toca-200"} if "prompts_expected" in (PRESETS / f"{name}.yaml").read_text() else {}
    own = yaml.safe_load((PRESETS / f"{name}.yaml").read_text()).get("models")
    for settings in read_run(name, [] if own else ["emoji"], lists).values():
        assert settings.lineup().variants


def test_a_peer_that_is_named_does_not_run_twice():
    settings = Settings(methods=("peer:diffusers-fbcache:threshold=0.2",))
    assert [name for name in names(settings) if "fbcache" in name] == ["peer:diffusers-fbcache threshold=0.2"]
    assert any("taylorseer" in name for name in names(settings))
    assert names(settings.model_copy(update={"peers": False})) == ["peer:diffusers-fbcache threshold=0.2"]


@given(st.dictionaries(st.sampled_from(["samples", "batch_size", "repeats", "warmups"]), st.integers(1, 10**6)))
def test_whatever_is_set_is_read_back(values):
    read = read_run(None, ["emoji"], values)["emoji"]
    assert {key: getattr(read, key) for key in values} == values


def test_the_help_names_every_preset():
    assert sorted(told.split(", ")) == presets()
