"""What is in a model."""

from __future__ import annotations

import pytest
from torch import nn

from toca.models import every_module

from .helpers import TINY


@pytest.mark.parametrize("family", TINY)
def test_every_module_is_found_once(family: str) -> None:
    model = TINY[family](0)
    found = every_module(model)
    assert len(found) == len(set(found)) and set(found) == set(model.modules())


def test_a_module_in_two_places_and_one_that_holds_what_holds_it() -> None:
    shared = nn.Linear(1, 1)
    model = nn.ModuleDict({"first": nn.Sequential(shared), "second": nn.Sequential(shared)})
    model.register_module("nothing", None)
    model["first"].add_module("up", model)
    assert sorted(map(id, every_module(model))) == sorted(map(id, model.modules()))
