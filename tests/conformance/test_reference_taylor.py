"""TaylorSeer and DuCa against the slow references in tests/reference: same inputs, step by step, in float32.

For the tolerance, and for the margins of a selection, see test_reference.py. What is forecast amplifies rounding, at
order 4 and an interval of 4 by two digits, which still leaves two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import toca

from ..helpers import TINY, inputs_for, relative_error, run_steps
from ..reference import duca, schedules, taylor
from ..reference.common import Pick
from .test_reference import MARGIN, TOLERANCE, assert_same, run_engine

FIXED_POINTS = {
    "duca/dit": "FtatFFtatFtatFtatFtFatFatFatFatFtFtFtFtFtFtFtFtFtF",
    "taylorseer/dit": "FFyyyFyyyFyyyFyyyFyyyFyyyFyyyFyyyFyyyFyyyFyyyFyyyF",
}


def largest_error(got: list[Tensor], wanted: list[Tensor]) -> float:
    return max(relative_error(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize(("preset", "wanted"), FIXED_POINTS.items())
def test_fixed_points(preset: str, wanted: str) -> None:
    """By the reference, by the plan and by the engine."""
    if preset == "duca/dit":
        assert "".join(duca.kinds_dit(50, 3)) == wanted
    else:
        assert schedules.steps_string(taylor.full_steps(50, 4, 2), "y") == wanted
    transformer = TINY["dit"](num_layers=1)
    assert toca.preset(preset).plan(transformer, 50).steps == wanted
    assert run_engine(transformer, inputs_for("dit", 50), preset)[1] == wanted


@pytest.mark.parametrize("S", [1, 7, 20, 37, 50])
@pytest.mark.parametrize("N", [2, 3, 4, 5, 7])
def test_other_schedules(S: int, N: int) -> None:
    transformer = TINY["dit"](num_layers=1)
    steps = replace(toca.preset("duca/dit"), interval=N).plan(transformer, S).steps
    assert steps == "".join(duca.kinds_dit(S, N))
    for k in (1, 2, 3):
        steps = toca.TaylorSeer(interval=N, warmup_steps=k).plan(transformer, S).steps
        assert steps == schedules.steps_string(taylor.full_steps(S, N, k), "y")
    steps = replace(toca.preset("duca/pixart"), interval=N).plan(TINY["pixart"](num_layers=1), S).steps
    # Early on the share of a single layer reaches 1 in both modules: all of them computed, self-attention reused.
    assert steps.replace("m", "t") == "".join(duca.kinds_pixart(S, N))


# --- TaylorSeer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", ["official", "divided"])
@pytest.mark.parametrize("scope", ["module", "block", "lite"])
@pytest.mark.parametrize("O", range(5))
def test_taylorseer_matches_reference(O: int, scope: str, spacing: str) -> None:  # noqa: E741
    transformer, inputs = TINY["dit"](O), inputs_for("dit", 20, 2, seed=O)
    wanted = taylor.run_taylorseer_dit(transformer, inputs, N=3, O=O, k=3, scope=scope, spacing=spacing)
    method = toca.TaylorSeer(interval=3, order=O, warmup_steps=3, scope=scope, spacing=spacing)
    got, steps = run_engine(transformer, inputs, method)
    assert_same(got, wanted, steps)


def test_taylorseer_preset_matches_reference_on_28_layers() -> None:
    transformer, inputs = TINY["dit"](5, num_layers=28), inputs_for("dit", 50, 1, seed=5)
    wanted = taylor.run_taylorseer_dit(transformer, inputs, N=4, O=4, k=2)
    got, steps = run_engine(transformer, inputs, "taylorseer/dit")
    assert steps == FIXED_POINTS["taylorseer/dit"]
    assert_same(got, wanted, steps)


def test_second_generation_matches_reference() -> None:
    """After one that was broken off, and after a whole one: no difference is taken across generations."""
    transformer, inputs = TINY["dit"](1), inputs_for("dit", 14, 1, seed=1)
    wanted = taylor.run_taylorseer_dit(transformer, inputs, N=4, O=4, k=2)
    others = inputs_for("dit", 14, 1, seed=2)
    toca.enable_cache(transformer, "taylorseer/dit", num_inference_steps=14)
    run_steps(transformer, others[:6])
    toca.reset(transformer)
    run_steps(transformer, others)
    assert_same(run_steps(transformer, inputs), wanted, toca.summary(transformer).steps)


RIGHT = {"N": 4, "O": 3, "k": 2}


@pytest.mark.parametrize(
    "wrong",
    [
        {"N": 5},
        {"O": 2},
        {"O": 4},
        {"k": 1},
        {"k": 3},
        {"scope": "block"},
        {"scope": "lite"},
        {"spacing": "divided"},
        {"basis": taylor.hermite},
        {"basis": lambda i, x: x**i * math.factorial(i)},
        {"basis": lambda i, x: (x + 1) ** i},
        {"basis": lambda i, x: (-x) ** i},
    ],
    ids=[
        "interval", "order too low", "order too high", "warm-up too short", "warm-up too long", "blocks",
        "output alone", "true differences", "other basis", "no factorial", "x off by one", "x backwards",
    ],
)  # fmt: skip
def test_a_mistake_in_taylorseer_shows(wrong: dict[str, Any]) -> None:
    """A reference that is slightly another method is off by a hundred tolerances or more."""
    transformer, inputs = TINY["dit"](4), inputs_for("dit", 20, 1, seed=4)
    got, _ = run_engine(transformer, inputs, toca.TaylorSeer(interval=4, order=3, warmup_steps=2))
    assert largest_error(got, taylor.run_taylorseer_dit(transformer, inputs, **RIGHT)) < TOLERANCE
    mistaken = taylor.run_taylorseer_dit(transformer, inputs, **(RIGHT | wrong))
    assert largest_error(got, mistaken) > 100 * TOLERANCE


def test_a_wrong_gap_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derivatives a step and not an interval apart."""
    transformer, inputs = TINY["dit"](4), inputs_for("dit", 20, 1, seed=4)
    got, _ = run_engine(transformer, inputs, toca.TaylorSeer(interval=4, order=3, warmup_steps=2))
    right = taylor.derivative

    def without_gap(history: taylor.History, i: int) -> Tensor:
        return right([(step, value) for step, (_, value) in enumerate(history)], i)

    monkeypatch.setattr(taylor, "derivative", without_gap)
    assert largest_error(got, taylor.run_taylorseer_dit(transformer, inputs, **RIGHT)) > 100 * TOLERANCE


# --- DuCa ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One comparison of DuCa: a tiny model, and the inputs of one generation."""

    name: str
    steps: int
    seed: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    batched_cfg: bool | None = None

    @property
    def family(self) -> str:
        return self.name.split("-")[0]

    def run(self) -> tuple[list[Tensor], list[Tensor], str, list[Pick]]:
        """The engine's samples, the reference's, the engine's steps and the reference's picks."""
        transformer = TINY[self.family](self.seed, **self.model)
        inputs = inputs_for(self.family, self.steps, seed=self.seed, **self.inputs)
        method = replace(toca.preset(f"duca/{self.family}"), **self.changes)
        settings: dict[str, Any] = {"N": method.interval, "R0": method.fresh_ratio}
        if self.family == "pixart":
            settings["batched_cfg"] = bool(self.batched_cfg)
        else:
            settings["score"] = method.score
        trace: list[Pick] = []
        reference: Callable = duca.run_duca_dit if self.family == "dit" else duca.run_duca_pixart
        wanted = reference(transformer, inputs, trace=trace, **settings)
        got, steps = run_engine(transformer, inputs, method, self.batched_cfg)
        return got, wanted, steps, trace


TWO, CFG = {"batch_size": 2}, {"batch_size": 2, "cfg": True}
CASES = [
    Case("dit-28-layers", 50, 302, model={"num_layers": 28}),
    Case("dit-batched-cfg", 50, 2, inputs=CFG, batched_cfg=True),
    Case("dit-by-values", 50, 2, inputs=CFG, changes={"score": "value_norm"}, batched_cfg=True),
    Case("dit-often-fresh", 30, 4, inputs=TWO, changes={"interval": 6, "fresh_ratio": 0.2}),
    Case("dit-ragged-patches", 30, model={"sample_size": 14}, inputs={"height": 14, "width": 14}),
    Case("dit-one-layer", 20, model={"num_layers": 1}),
    Case("pixart-separate", 20, inputs=TWO, batched_cfg=False),
    Case("pixart-batched-cfg", 20, 4, inputs=CFG, batched_cfg=True),
    Case("pixart-no-mask", 20, 3, inputs=CFG | {"mask": False}, batched_cfg=True),
    Case("pixart-long-interval", 20, 9, inputs=CFG, changes={"interval": 7, "fresh_ratio": 0.2}, batched_cfg=True),
    Case("pixart-wide", 12, inputs={"height": 12, "width": 20}, batched_cfg=False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_duca_matches_reference(case: Case) -> None:
    got, wanted, steps, trace = case.run()
    tightest = min(trace, key=lambda pick: pick.margin)
    assert any(pick.tokens for pick in trace), "nothing was ever recomputed"
    assert tightest.margin > MARGIN, f"rounding could decide {tightest}: give this case another seed"
    assert {"F", "t", "a"} <= set(steps)
    assert_same(got, wanted, steps)


def no_norm(attn: Any, x: Tensor) -> Tensor:
    """Every token alike."""
    return torch.ones(x.shape[:2])


def large_values_first(attn: Any, x: Tensor) -> Tensor:
    return -scarcity(attn, x)


def norm_over_heads(attn: Any, x: Tensor) -> Tensor:
    return 1 - attn.to_v(x).norm(dim=-1)


scarcity = duca.scarcity


@pytest.mark.parametrize("mistake", [no_norm, large_values_first, norm_over_heads])
@pytest.mark.parametrize("case", [CASES[2], CASES[7]], ids=lambda case: case.family)
def test_another_score_than_ducas_shows(mistake: Callable, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duca, "scarcity", mistake)
    got, wanted, _, _ = case.run()
    assert largest_error(got, wanted) > 100 * TOLERANCE


@pytest.mark.parametrize(
    "wrong",
    [
        {"R0": 0.07},
        {"bonus": (2, 0.6)},
        {"bonus": (4, 0.8)},
        {"score": "value_norm"},
        # Aggressive and token-wise steps exchanged, and none that are aggressive.
        {"kinds": [{"t": "a", "a": "t", "F": "F"}[kind] for kind in duca.kinds_dit(50, 3)]},
        {"kinds": ["t" if kind == "a" else kind for kind in duca.kinds_dit(50, 3)]},
    ],
    ids=["share", "no such bonus", "larger patches", "values", "exchanged", "none aggressive"],
)
def test_a_mistake_in_duca_shows(wrong: dict[str, Any]) -> None:
    transformer, inputs = TINY["dit"](2), inputs_for("dit", 50, 1, seed=2)
    got, _ = run_engine(transformer, inputs, "duca/dit")
    right = {"N": 3, "R0": 0.05}
    assert largest_error(got, duca.run_duca_dit(transformer, inputs, **right)) < TOLERANCE
    assert largest_error(got, duca.run_duca_dit(transformer, inputs, **(right | wrong))) > 100 * TOLERANCE
