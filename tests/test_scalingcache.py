"""ScalingCache: what is measured of a model, and what the schedule and the fill make of it, against naive restatements
on stock modules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import toca
from toca.calibration.file import Calibration
from toca.engine.calibration_run import Recorder
from toca.methods.scalingcache import ScalingCache
from toca.models import describe, family_of
from toca.models.fingerprint import fingerprint

from .conformance.common import assert_close, cached_run, differ
from .helpers import FAMILIES, TINY, inputs_for, run_steps, tiny_dit
from .reference.patching import samples, visited

STEPS, LAG = 9, 2
LAYOUT = describe(tiny_dit(), family_of(tiny_dit()))
MODULES = {"spatial": "self_attn", "temporal": "self_attn", "cross": "cross_attn", "fused": "block"}


def method_of(folder: Path, errors: list[float], alpha: float = 0.5, **fields: Any) -> ScalingCache:
    """With these errors, and one alpha for every site, step and lag."""
    rows = {f"{site.layer}.{site.module}": [[alpha] * 3] * len(errors) for site in LAYOUT.sites}
    path = folder / "scalingcache.json"
    Calibration("scalingcache", fingerprint(LAYOUT), len(errors), {"error": errors, **rows}).save(path)
    return ScalingCache(str(path), **fields)


def naive(errors: list[float], first: int, factor: float) -> str:
    """Full where what has added up since the last full step is above the mean of what had in the first steps."""
    sums = [sum(errors[1 : i + 1]) for i in range(1, min(first, len(errors)))]
    delta = factor * sum(sums) / len(sums) if sums else 0.0
    letters, last = "", 0
    for s in range(len(errors)):
        full = s < first or sum(errors[last + 1 : s + 1]) > delta + 1e-12
        letters += "F" if full else "y"
        last = s if full else last
    return letters


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=30), st.integers(1, 14), st.sampled_from([0.5, 1.0, 2.0]))
def test_schedule_by_its_rule(tmp_path_factory: Any, eighths: list[int], first: int, factor: float) -> None:
    errors = [number / 8 for number in eighths]
    method = method_of(tmp_path_factory.mktemp("calibration"), errors, warmup_steps=first, threshold=factor)
    assert method.plan(tiny_dit(), len(errors)).steps == naive(errors, first, factor)


def test_alpha_between_reuse_and_the_line(tmp_path: Path) -> None:
    """With alpha 0 and 1 it is plain reuse and TaylorSeer of order 1, on the same steps."""
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    errors = [0.0, 0.5, 0.5, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]
    for alpha, other in ((0.0, None), (1.0, toca.TaylorSeer(order=1))):
        method = method_of(tmp_path, errors, alpha, warmup_steps=3)
        assert method.plan(transformer, STEPS).steps == "FFFyyyFyy"
        got = cached_run(transformer, method, inputs)
        composed = toca.CacheMethod(when=method, fill=other) if other else toca.CacheMethod(when=method)
        assert_close(got, cached_run(transformer, composed, inputs))


# --- on every family, against the stock modules' outputs -------------------------------------------------------------


def seen(transformer: Any, inputs: list[dict]) -> list[dict[str, tuple[Tensor, ...]]]:
    """What each site returns in each step of an uncached run."""
    steps: list[dict[str, tuple[Tensor, ...]]] = []

    def visit(layer: int, kind: str, compute: Callable) -> Any:
        output = compute()
        steps[-1][f"{layer}.{MODULES.get(kind, kind)}"] = output if isinstance(output, tuple) else (output,)
        return output

    with visited(transformer, visit):
        samples(transformer, inputs, lambda step: steps.append({}))
    return steps


def flat(parts: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([part.flatten() for part in parts]).double()


@pytest.mark.parametrize("family", FAMILIES)
def test_measured_and_filled_as_stated(family: str, tmp_path: Path) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, seed=2)
    with Recorder(transformer, ScalingCache(max_lag=LAG), STEPS) as recorder:
        run_steps(transformer, inputs)
    recorder.calibration().save(tmp_path / "c.json")
    method = ScalingCache(str(tmp_path / "c.json"), warmup_steps=2, max_lag=LAG)
    y = seen(transformer, inputs)
    changes = [
        [float((flat(y[s][name]) - flat(y[s - 1][name])).abs().sum() / flat(y[s][name]).abs().sum()) for name in y[0]]
        for s in range(1, STEPS)
    ]
    errors = [0.0, *(sum(change) / len(change) for change in changes)]
    assert method.measured.numbers("error") == pytest.approx(errors, rel=1e-4)

    def alpha(name: str, s: int, k: int) -> float:
        k = min(k, LAG)
        s = max(s, 2 * k + 1)
        now, last, older = (flat(y[step][name]) for step in (s, s - k, s - 2 * k - 1))
        line = k * (last - older) / (k + 1)
        return float((now - last) @ line / (line @ line))

    for name in y[0]:
        rows = method.measured.rows(name)
        assert rows[6][0] == pytest.approx(alpha(name, 6, 1), rel=1e-3, abs=1e-4)
        assert rows[7][1] == pytest.approx(alpha(name, 7, 2), rel=1e-3, abs=1e-4)
    letters = naive(errors, 2, 1.0)
    assert method.plan(transformer, STEPS).steps == letters and "y" in letters
    wanted = filled(transformer, inputs, letters, alpha)
    got = cached_run(transformer, method, inputs)
    assert differ(got, run_steps(transformer, inputs))
    assert_close(got, wanted, 1e-4)


def filled(transformer: Any, inputs: list[dict], letters: str, alpha: Callable[..., float]) -> list[Tensor]:
    """A run in which between full steps each module goes on along the line through its last two outputs."""
    known: dict[str, list[tuple[int, tuple[Tensor, ...]]]] = {}
    now = {"step": 0}

    def visit(layer: int, kind: str, compute: Callable) -> Any:
        name, s = f"{layer}.{MODULES.get(kind, kind)}", now["step"]
        if letters[s] == "F":
            output = compute()
            known.setdefault(name, []).append((s, output if isinstance(output, tuple) else (output,)))
            return output
        (before, older), (last, newer) = known[name][-2:]
        way = alpha(name, s, s - last) * (s - last) / (last - before)
        made = tuple(b + way * (b - a) for a, b in zip(older, newer, strict=True))
        return made if len(made) > 1 else made[0]

    with visited(transformer, visit):
        return samples(transformer, inputs, lambda step: now.update(step=step))


# --- settings --------------------------------------------------------------------------------------------------------


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a calibration of the model"):
        ScalingCache().plan(tiny_dit(), STEPS)
    with pytest.raises(ValueError, match="`max_lag` must be at most the 3 that were calibrated, got 4"):
        method_of(tmp_path, [0.0] * STEPS, max_lag=4)
    with pytest.raises(ValueError, match="`warmup_steps`.*0"):
        ScalingCache(warmup_steps=0)
    plan = method_of(tmp_path, [0.0] * STEPS).plan(tiny_dit(), STEPS)
    with pytest.raises(ValueError, match=r"`slopes` must be one for each of the 8 steps, got 9"):
        plan.fill.check_steps(8)


def test_a_plan_of_it_is_whole_by_itself(tmp_path: Path) -> None:
    plan = method_of(tmp_path, [0.0, 0.5, 0.5, *[0.1] * 6]).plan(tiny_dit(), STEPS)
    plan.save(tmp_path / "plan.yaml")
    assert toca.Plan.load(tmp_path / "plan.yaml") == plan
