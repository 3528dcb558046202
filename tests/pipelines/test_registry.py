from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import toca
from tests.helpers import TINY
from toca.pipelines import registry
from toca.pipelines.method_options import find_method
from toca.pipelines.registry import DEFAULT_MODEL, default_method, find_model, models


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
    name = default_method(transformer)
    assert name in toca.presets()
    assert find_method(name).plan(transformer, 10).steps.startswith("F")


def test_an_unknown_transformer_gets_the_plain_method():
    assert default_method(object()) in toca.methods()
