"""AsyncDiff: in one process against the rule of its paper; and equal to that over three processes on a CPU, which tell
each other what their blocks have made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import toca
from toca.axes.actions import COMPUTE, LATE, REUSE, SKIP
from toca.axes.spans import Span
from toca.engine.install import engine_of
from toca.hooks.watch import Watch
from toca.methods.asyncdiff import AsyncDiff

from .conformance.common import assert_close, cached_run, differ
from .helpers import FAMILIES, TINY, Inputs, inputs_for, run_steps
from .left_behind import left_behind
from .processes import forked, in_processes
from .reference.asyncdiff import run_asyncdiff
from .zoo import EVERY

STEPS = 8
RANKS = 3
CUTS = {"dit": (1, 2), "pixart": (1, 2), "flux": (1, 3), "latte": (1, 2)}
"""Layers with which the second and third of three components begin; the second of FLUX has blocks of both kinds."""
every_family = pytest.mark.parametrize("family", FAMILIES)
simulated = functools.partial(AsyncDiff, simulate=True)


def forecast(method: AsyncDiff) -> toca.Method:
    """The same with a line through the last two outputs of a component, in the place of the last."""
    return toca.CacheMethod(when=method, which=method, fill=toca.TaylorSeer(order=1))


# --- in one process ------------------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("w", [1, 3])
def test_as_the_paper_states_it(family: str, w: int) -> None:
    transformer, inputs = TINY[family](1), inputs_for(family, STEPS, 2, seed=1)
    wanted = run_asyncdiff(transformer, inputs, cuts=CUTS[family], w=w)
    assert differ(wanted, run_steps(transformer, inputs))
    assert_close(cached_run(transformer, simulated(3, w), inputs), wanted)


@pytest.mark.parametrize("family", ["dit", "flux"])
def test_with_what_a_component_adds(family: str) -> None:
    transformer, inputs = TINY[family](1), inputs_for(family, STEPS, 2, seed=1)
    wanted = run_asyncdiff(transformer, inputs, cuts=CUTS[family], w=1, adds=True)
    assert differ(wanted, run_asyncdiff(transformer, inputs, cuts=CUTS[family], w=1))
    assert_close(cached_run(transformer, simulated(3, keeps="residual"), inputs), wanted)


def test_with_a_forecast() -> None:
    """A late span is filled by any fill: what is kept of this step is not yet part of its forecast."""
    transformer, inputs = TINY["flux"](1), inputs_for("flux", STEPS, 2, seed=1)
    wanted = run_asyncdiff(transformer, inputs, cuts=CUTS["flux"], w=3, line=True)
    assert differ(wanted, run_asyncdiff(transformer, inputs, cuts=CUTS["flux"], w=3))
    assert_close(cached_run(transformer, forecast(simulated(3, 3)), inputs), wanted)


def test_with_a_gate_that_decides_between_two_components() -> None:
    """FBCache asks behind the first block, which is the first component; each image of the batch goes its own way."""
    transformer, inputs = TINY["dit"](1), inputs_for("dit", STEPS, 2, seed=1)
    method = toca.CacheMethod(when=toca.FBCache(threshold=1e9), which=simulated(3))
    assert_close(cached_run(transformer, method, inputs), cached_run(transformer, simulated(3), inputs))
    apart = replace(method, when=toca.FBCache(threshold=1.0))
    with toca.cached(transformer, apart, num_inference_steps=STEPS):
        both = run_steps(transformer, inputs)
        steps = [toca.summary(transformer).steps_of(image) for image in (0, 1)]
    assert steps[0] != steps[1] and "l" in steps[0] and "F" in steps[0][1:]
    for image in (0, 1):
        alone = [{name: _of_image(value, image) for name, value in call.items()} for call in inputs]
        assert_close([sample[image : image + 1] for sample in both], cached_run(transformer, apart, alone))


def _of_image(value: Any, image: int) -> Any:
    return value[image : image + 1] if isinstance(value, torch.Tensor) and value.ndim else value


@pytest.mark.parametrize(("n", "cuts"), [(2, [12]), (3, [8, 16]), (4, [6, 12, 18])])
def test_cuts_of_sd3_are_the_authors(n: int, cuts: list[int]) -> None:
    plan = AsyncDiff(n).plan(TINY["dit"](num_layers=24), 4)
    assert [span.stop for span in plan.spans[1]] == cuts and plan.devices == n


def test_a_plan_promises_no_operations(tmp_path: Path) -> None:
    """All of them are done, on one device or on several; and on each the outputs of all components but the last are
    kept."""
    transformer = TINY["dit"]()
    plan = AsyncDiff(3, warmup_steps=2).plan(transformer, 6)
    cost, hidden = plan.cost(), 64 * 32 * 4
    assert plan.steps == "FFllll" and cost.flops == cost.flops_full and cost.cache_bytes == 2 * hidden
    assert plan[1, 0, "ff"] == COMPUTE and plan[2, 0, "ff"] == LATE and plan[2, 2, "ff"] == COMPUTE
    assert plan.cost() == simulated(3, warmup_steps=2).plan(transformer, 6).cost()
    plan.save(tmp_path / "plan.yaml")
    assert toca.Plan.load(tmp_path / "plan.yaml") == plan and plan.devices == 3
    saved = (tmp_path / "plan.yaml").read_text()
    assert "late" in saved and "device: 1" in saved
    toca.DeltaDiT(blocks=1).plan(transformer, 6).save(tmp_path / "plan.yaml")
    saved = (tmp_path / "plan.yaml").read_text()
    assert "spans" in saved and "late" not in saved and "device" not in saved


# --- what is refused -----------------------------------------------------------------------------------------------


def test_without_the_processes() -> None:
    transformer = TINY["dit"]()
    says = r"asyncdiff shares the blocks out over 2 processes.*`torchrun --nproc-per-node=2 SCRIPT.py`.*simulate=True"
    for method in (AsyncDiff(), AsyncDiff().plan(transformer, STEPS)):
        with pytest.raises(ValueError, match=says):
            toca.enable_cache(transformer, method, num_inference_steps=STEPS)
        assert not left_behind(transformer)


def test_values_and_models_that_it_cannot_run_on() -> None:
    with pytest.raises(ValueError, match="`components` must be at least 2, got 1"):
        AsyncDiff(1)
    with pytest.raises(ValueError, match="`components` must be at most the model's 3 blocks, got 4"):
        AsyncDiff(4).plan(TINY["dit"](), STEPS)
    with pytest.raises(ValueError, match="runs late the layers 0 to 2, of which layer 0 gives layer 5"):
        AsyncDiff().plan(EVERY["HunyuanDiT2DModel"].make(), STEPS)


def test_spans_and_plans_that_make_no_sense() -> None:
    for values, says in (
        ({"around": "model"}, "`around` must be"),
        ({"late": 1}, "`late` must be True or False"),
        ({"late": False, "device": 0}, "`device` must be None"),
        ({"device": -1}, "`device` must be None"),
        ({"device": True}, "`device` must be None"),
    ):
        with pytest.raises(ValueError, match=says):
            Span(0, 3, **{"late": True, **values})
    plan = AsyncDiff(3).plan(TINY["dit"](), 4)
    row, spans = plan.table[1], plan.spans[1]
    reused = tuple(REUSE if action == COMPUTE else action for action in row)

    def first(**values: Any) -> dict[str, Any]:
        """The first span of one step changed."""
        return {"spans": ((), (replace(spans[0], **values), spans[1]), spans, spans)}

    for changes, says in (
        ({"table": (plan.table[0], plan.table[0], row, row)}, "layer 0, self_attn must be skip if .* got compute"),
        ({"table": (row, *plan.table[1:])}, "must be compute, got late"),
        ({"spans": ((), (), spans, spans)}, "late if one runs it late, and neither otherwise, got late"),
        (first(late=False, device=None), "got late"),
        (first(device=1), r"`device` must be \[0, 1\] .* got \[1, 1\]"),
        (first(device=None), r"`device` must be \[0, 1\] .* got \[None, 1\]"),
        ({"spans": ((), (spans[0],), spans, spans)}, "neither otherwise, got late"),
        ({"table": (plan.table[0], reused, row, row)}, r"`table`\[1\] must be all compute, or late"),
        ({"gate": toca.FBCache().gate()}, "together with no gate"),
        ({"selection": toca.ToCa().selection()}, "chooses tokens has no late spans"),
    ):
        with pytest.raises(ValueError, match=says):
            replace(plan, **changes)
    skipped = tuple(SKIP if action == LATE else action for action in row)
    left_out = tuple(replace(span, late=False, device=None) for span in spans)
    assert replace(plan, table=(plan.full_row, *[skipped] * 3), spans=((), *[left_out] * 3)).devices == 1


def test_models_with_other_predictions() -> None:
    """They would be handed back as one process has them that has not run the last blocks."""
    model = EVERY["LTX2VideoTransformer3DModel"].make()
    with pytest.raises(ValueError, match="one prediction"):
        AsyncDiff().plan(model, STEPS)
    assert simulated().plan(model, STEPS).devices == 1


# --- over processes ------------------------------------------------------------------------------------------------

PLACED: dict[str, Callable[..., toca.Method]] = {
    "dit": lambda **options: AsyncDiff(RANKS, **options),
    "flux": lambda **options: forecast(AsyncDiff(RANKS, warmup_steps=2, **options)),
    "latte": lambda **options: AsyncDiff(RANKS, warmup_steps=3, keeps="residual", **options),
}
"""Of each family another one: over three processes, or with `simulate` in one."""


def in_turns(transformer: nn.Module, inputs: Inputs) -> list[torch.Tensor]:
    """Two calls a step, one for each branch of guidance; in inference mode."""
    outputs = []
    with torch.inference_mode():
        for call, other in zip(inputs, inputs_for("flux", STEPS, seed=7), strict=True):
            for name, given in (("cond", call), ("uncond", {**other, "hidden_states": call["hidden_states"]})):
                with transformer.cache_context(name):
                    outputs.append(transformer(**given).sample)
    return outputs


def off_by(got: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    return max((g - w).abs().max().item() for g, w in zip(got, wanted, strict=True))


def check(rank: int, family: str, play: Callable[[nn.Module, Inputs], list[torch.Tensor]] = run_steps) -> None:
    """The outputs and books of one process; after the full steps each computes its own blocks, and no others."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    with toca.cached(transformer, PLACED[family](simulate=True), num_inference_steps=STEPS):
        wanted, alone = play(transformer, inputs), toca.summary(transformer)
    toca.enable_cache(transformer, PLACED[family](), num_inference_steps=STEPS)
    ran: list[int] = []
    sites = engine_of(transformer).layout.sites
    with Watch(transformer, lambda site, tokens: ran.append(sites[site].layer)):
        got, shared = play(transformer, inputs), toca.summary(transformer)
    assert off_by(got, wanted) < 1e-6
    assert (shared.steps, shared.flops, shared.cache_bytes) == (alone.steps, alone.flops, alone.cache_bytes)
    assert shared.flops == shared.flops_full and shared.bypassed == 0
    layers = engine_of(transformer).layout.layers
    first, stop = ((0, *CUTS[family], layers)[rank + each] for each in (0, 1))
    calls, full = len(got) // STEPS, shared.steps.count("F")
    for layer in range(layers):
        per_call = sum(site.layer == layer for site in sites)
        runs = STEPS if first <= layer < stop else full
        assert ran.count(layer) == calls * runs * per_call, (rank, layer)
    toca.disable_cache(transformer)
    assert not left_behind(transformer)


def check_kept_in_fewer_bytes() -> None:
    """Others keep what they are told as the one keeps it that has made it."""
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    outputs = [
        cached_run(transformer, AsyncDiff(RANKS, simulate=simulate), inputs, cache_dtype="bf16")
        for simulate in (True, False)
    ]
    assert off_by(*outputs) < 1e-6


def check_refused(rank: int) -> None:
    with pytest.raises(ValueError, match="over 2 processes.*torch.distributed has 3.*--nproc-per-node=2"):
        toca.enable_cache(TINY["dit"](), AsyncDiff(2), num_inference_steps=STEPS)


def one_process(rank: int) -> None:
    for family in PLACED:
        check(rank, family)
    check(rank, "flux", in_turns)
    check_kept_in_fewer_bytes()
    check_refused(rank)


@forked
@pytest.mark.filterwarnings("ignore")
def test_three_processes(tmp_path: Path) -> None:
    in_processes(RANKS, one_process, tmp_path)
