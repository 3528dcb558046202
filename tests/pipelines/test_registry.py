from __future__ import annotations

import pytest

import toca
from tests.helpers import TINY
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


@pytest.mark.parametrize("family", TINY)
def test_every_family_has_a_method_that_makes_a_plan_for_it(family):
    transformer = TINY[family]()
    name = default_method(transformer)
    assert name in toca.presets()
    assert find_method(name).plan(transformer, 10).steps.startswith("F")


def test_an_unknown_transformer_gets_the_plain_method():
    assert default_method(object()) in toca.methods()
