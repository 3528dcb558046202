"""Plans of tiny models, for the tests of plans and of their files."""

from __future__ import annotations

from typing import Any

import pytest

import toca
from toca.plan import Plan

from .helpers import TINY

STEPS = 8
PRESETS = {"dit": "toca/dit-ddim50", "pixart": "toca/pixart", "flux": "toca/flux", "latte": "toca/opensora"}
METHODS: dict[str, Any] = {
    "toca": toca.ToCa(interval=3, fresh_ratio=0.4, shared_cfg=True),
    "fora": toca.FORA(interval=3),
    "random": toca.RandomTokens(interval=3, seed=5),
    "none": toca.NoCache(),
}
every_family = pytest.mark.parametrize("family", TINY)
every_suffix = pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])


def plan_of(family: str, name: str = "preset", steps: int = STEPS) -> Plan:
    method = toca.preset(PRESETS[family]) if name == "preset" else METHODS[name]
    return method.plan(TINY[family](), steps)
