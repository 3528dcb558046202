"""Self-attention of the chosen tokens: what it computes, what it costs, and where it is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import toca
from toca.hooks.watch import Watch
from toca.models import FAMILIES

from .conformance.common import assert_close, assert_equal, cached_run
from .conformance.test_cost import counted_flops, held_bytes, options_for
from .helpers import TINY, inputs_for, run_steps, still
from .reference.partial_attention import run_chosen_pixart
from .test_capabilities import Lacking, lacking, registries  # noqa: F401 (a fixture)

STEPS = 6
METHODS: dict[str, toca.Method] = {
    "chance": toca.RandomTokens(interval=3, fresh_ratio=0.4, self_attention="chosen"),
    "attention received": toca.ToCa(
        interval=3,
        fresh_ratio=0.4,
        score="self_attention",
        self_attention="chosen",
        module_factor={"self_attn": 1.0, "cross_attn": 1.0, "ff": 1.0, "block": 0.8},
    ),
    "others forecast": toca.CacheMethod(
        when=toca.FORA(interval=3),
        which=toca.RandomTokens(fresh_ratio=0.4, self_attention="chosen"),
        fill=toca.TaylorSeer(order=1),
    ),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
every_family = pytest.mark.parametrize("family", ["dit", "pixart", "flux", "latte"])


@every_family
@every_method
def test_cost_is_exact_and_equal_inputs_give_equal_outputs(family: str, method: toca.Method) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2, cfg=True)
    rows = inputs[0]["hidden_states"].shape[0]
    cost = method.plan(transformer, STEPS).cost(**options_for(family, rows, (16, 16)), batched_cfg=True)
    with toca.cached(transformer, method, num_inference_steps=STEPS, batched_cfg=True):
        counted = counted_flops(transformer, inputs[:-1])
        held = held_bytes(transformer)
        counted += counted_flops(transformer, inputs[-1:])
    assert (counted, held) == (cost.flops, cost.cache_bytes)
    assert_equal(run_steps(transformer, inputs[:1]), cached_run(transformer, method, inputs)[:1])
    same = still(inputs[0], STEPS)
    assert_close(cached_run(transformer, method, same, batched_cfg=True), run_steps(transformer, same))


@pytest.mark.parametrize("name", ["chance", "others forecast"])
def test_step_by_step_as_written_out(name: str) -> None:
    transformer, method = TINY["pixart"](), METHODS[name]
    inputs = inputs_for("pixart", STEPS, batch_size=2, seed=3)
    plan = method.plan(transformer, STEPS)
    chosen: list[dict[tuple[int, str], list[list[int]]]] = []
    got: list[Tensor] = []

    def tell(i: int, index: Tensor | None) -> None:
        if index is not None:
            tokens = (index % 64).view(2, -1).tolist()
            chosen[-1][plan.layout.sites[i].key] = tokens

    with toca.cached(transformer, method, num_inference_steps=STEPS), Watch(transformer, tell):
        for call in inputs:
            chosen.append({})
            got += run_steps(transformer, [call])
    partial = [step for step in range(STEPS) if chosen[step]]
    assert partial and all(len(rows[0]) == 25 for step in partial for rows in chosen[step].values())
    assert all((0, "self_attn") in chosen[step] for step in partial)
    assert_close(got, run_chosen_pixart(transformer, inputs, chosen, forecasts=name == "others forecast"))


def test_whole_self_attention_is_the_default_and_refuses_a_share(  # noqa: D103
) -> None:
    plan = METHODS["chance"].plan(TINY["pixart"](), STEPS)
    with pytest.raises(ValueError, match="Self-attention is computed or reused whole"):
        toca.Plan("a", STEPS, plan.layout, plan.table, selection=toca.RandomTokens().selection())
    assert cost_of("chosen") > cost_of("whole")


def cost_of(self_attention: Any) -> int:
    method = toca.RandomTokens(interval=3, fresh_ratio=0.4, self_attention=self_attention)
    return method.plan(TINY["pixart"](), STEPS).cost().flops


def test_attention_that_cannot_be_cut_is_refused_by_name() -> None:
    lacking("dit", attention=Lacking(FAMILIES["dit"].attention))
    transformer: nn.Module = TINY["dit"]()
    with pytest.raises(ValueError, match="random asks for a model of which self-attention can be run for some of the"):
        METHODS["chance"].plan(transformer, STEPS)
    assert toca.RandomTokens().plan(transformer, STEPS).steps.count("t")


@pytest.mark.parametrize("family", ["flux", "latte"])
def test_samples_are_apart(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    shared = ("img_ids", "txt_ids")
    alone = [
        {k: v[:1] if isinstance(v, torch.Tensor) and k not in shared else v for k, v in call.items()}
        for call in inputs
    ]
    both = cached_run(transformer, METHODS["chance"], inputs)
    assert_close([each[:1] for each in both], cached_run(transformer, METHODS["chance"], alone))
