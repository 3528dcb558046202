from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

import toca
from tests.helpers import TINY
from toca.pipelines import registry
from toca.pipelines.method_options import find_method
from toca.pipelines.registry import DEFAULT_MODEL, find_model, models
from toca.pipelines.request import choice_for


def test_the_default_model_has_a_name():
    assert DEFAULT_MODEL in models()


@pytest.mark.parametrize("name", models())
def test_every_model_names_a_preset_and_sane_settings(name):
    entry = models()[name]
    assert entry.method in toca.presets()
    assert entry.steps > 0
    assert find_model(name) is find_model(entry.source) is entry


def test_an_embedded_model_is_known_by_any_path_to_its_folder(monkeypatch):
    folder = Path(registry.__file__).parent
    monkeypatch.chdir(folder.parent)
    for path in (f"{folder.name}/emoji", f"./{folder.name}/emoji/", str(folder / "commands" / ".." / "emoji")):
        assert find_model(path) is models()["emoji"]
    assert find_model(f"{folder.name}/commands") is None


def test_an_embedded_model_is_offered_where_it_is_installed(tmp_path, monkeypatch):
    entry = replace(find_model("emoji-video"), source=str(tmp_path / "emoji-video"))
    monkeypatch.setattr(registry, "_ENTRIES", [entry, find_model("flux-dev")])
    assert list(models()) == ["flux-dev"]
    assert find_model("emoji-video") is entry
    (tmp_path / "emoji-video").mkdir()
    (tmp_path / "emoji-video" / "model_index.json").touch()
    assert list(models()) == ["emoji-video", "flux-dev"]


@pytest.mark.parametrize("family", TINY)
def test_every_family_has_a_method_that_makes_a_plan_for_it(family):
    transformer = TINY[family]()
    choice = choice_for("./somewhere", transformer)
    assert choice.name in toca.presets() and find_method(choice.name) == choice.method
    assert choice.method.plan(transformer, 10).steps.startswith("F")


def test_a_named_model_has_its_own():
    assert choice_for("emoji-video", None).name == "toca/opensora"
    with pytest.raises(ValueError, match="Linear is of no family"):
        choice_for("./somewhere", nn.Linear(1, 1))
