"""Coast: which tokens go through the blocks, what becomes of the others, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import toca
from toca.axes.actions import COMPUTE, SKIP, partial
from toca.axes.fills.chebyshev import Chebyshev
from toca.axes.fills.expansions import Taylor
from toca.axes.fills.polynomial import Polynomial
from toca.axes.selections.drifting import ByDrift
from toca.axes.spans import Span
from toca.engine.install import engine_of
from toca.methods.coast import Coast
from toca.methods.presets import foreign_to
from toca.models.streams import IMAGE
from toca.plan import Plan

from .conformance.common import assert_close, assert_equal, cached_run
from .conformance.test_cost import counted_flops, held_bytes, options_for
from .helpers import TINY, Inputs, inputs_for, run_steps, still
from .reference.coast import run_coast

STEPS = 9
METHOD = Coast(interval=3, fresh_ratio=0.4, warmup_steps=2)
FULL = [step in (0, 1, 4, 7) for step in range(STEPS)]
FAMILIES = ("dit", "pixart", "flux")
every_family = pytest.mark.parametrize("family", FAMILIES)


def run_and_spy(transformer: nn.Module, method: Any, inputs: Inputs, **options: Any) -> tuple[list[Tensor], dict]:
    """The outputs, and for each step that drops tokens those of each row that went through the blocks."""
    chosen: dict[int, list[list[int]]] = {}
    outputs: list[Tensor] = []
    with toca.cached(transformer, method, num_inference_steps=len(inputs), **options):
        engine = engine_of(transformer)

        def spy(*_: Any) -> None:
            index = engine.call.jobs[0].active
            if index is not None:
                tokens = engine.branches[None].key.shape.tokens
                chosen[len(outputs)] = [sorted(row) for row in (index % tokens).tolist()]

        hook = transformer.transformer_blocks[0].register_forward_hook(spy)
        for call in inputs:
            outputs.extend(run_steps(transformer, [call]))
        hook.remove()
    return outputs, chosen


@every_family
@pytest.mark.parametrize("paired", [False, True], ids=["each", "paired"])
@pytest.mark.parametrize("size", [(16, 16), (8, 20)], ids=str)
def test_step_by_step_as_written_out(family: str, paired: bool, size: tuple[int, int]) -> None:
    transformer = TINY[family]()
    size = (12, 12) if family == "dit" and size != (16, 16) else size
    inputs = inputs_for(family, STEPS, batch_size=2, seed=3, height=size[0], width=size[1], cfg=paired)
    trace: list[Any] = []
    wanted = run_coast(family, transformer, inputs, full=FULL, ratio=0.4, paired=paired, trace=trace)
    assert min(margin for *_, margin in trace) > 1e-5, "a choice that rounding could turn over: take another seed"
    got, chosen = run_and_spy(transformer, replace(METHOD, shared_cfg=paired), inputs, batched_cfg=paired)
    assert_close(got, wanted)
    for step, image, tokens, _ in trace:
        assert chosen[step][image] == tokens
        if paired:
            assert chosen[step][image + 2] == tokens


@every_family
def test_all_of_it_matters(family: str) -> None:
    """The comparison above has something to find."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    changes: tuple[dict[str, Any], ...] = (
        {}, {"score": "chance"}, {"score": "staleness"}, {"fresh_ratio": 0.7}, {"fresh_ratio": 0.0}, {"order": 2},
        {"interval": 4}, {"warmup_steps": 3},
    )  # fmt: skip
    runs = [torch.stack(cached_run(transformer, replace(METHOD, **change), inputs)) for change in changes]
    assert all((one - two).abs().max() > 1e-3 for i, one in enumerate(runs) for two in runs[:i])


@every_family
def test_equal_inputs_give_equal_outputs(family: str) -> None:
    """When nothing changes, keys, values and forecasts are right, whichever tokens are chosen."""
    transformer, inputs = TINY[family](), still(inputs_for(family, STEPS, batch_size=2)[0], STEPS)
    assert_close(cached_run(transformer, METHOD, inputs), run_steps(transformer, inputs))


@every_family
def test_a_share_of_all_is_the_model_and_of_none_a_forecast_of_the_stack(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    assert_equal(cached_run(transformer, Coast(fresh_ratio=1.0), inputs), run_steps(transformer, inputs))
    plan = replace(METHOD, fresh_ratio=0.0).plan(transformer, STEPS)
    assert plan.steps == "FFyyFyyFy" and plan.selection is None


def test_tokens_take_turns_when_none_drifts_more_than_another() -> None:
    selection = ByDrift()
    change = torch.ones(1, 4, 3)
    stale = torch.tensor([[0.0, 2.0, 1.0, 3.0]])
    assert selection.rate(change, stale, 0).argsort(dim=1, descending=True).tolist() == [[3, 1, 2, 0]]
    change[0, 0] = 10
    assert selection.rate(change, stale, 0).argmax() == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fill", [Taylor(order=1), Taylor(order=2), Polynomial(order=1)], ids=str)
def test_cost_is_exact_beside_steps_that_compute_no_token(family: str, fill: Any) -> None:
    """Full steps, steps with tokens and steps without in one plan: the tuner's labels. One residual serves both."""
    transformer = TINY[family]()
    layout = METHOD.plan(transformer, STEPS).layout
    full = (COMPUTE,) * len(layout.sites)
    tokens = tuple(partial(0.3, True) if IMAGE in site.parts else COMPUTE for site in layout.sites)
    none = (SKIP,) * len(layout.sites)
    span = Span(0, layout.layers, forecasts=True)
    table = (full, full, tokens, none, full, none, tokens, tokens, full)
    spans = tuple((span,) if row == none else () for row in table)
    plan = Plan("labels", STEPS, layout, table, selection=ByDrift(), spans=spans, fill=fill)
    assert plan.steps == "FFtyFyttF" and list(plan.kept_spans) == [span.stored]
    inputs = inputs_for(family, STEPS, batch_size=2)
    with toca.cached(transformer, plan):
        counted = counted_flops(transformer, inputs[:-1])
        held = held_bytes(transformer)
        counted += counted_flops(transformer, inputs[-1:])
    cost = plan.cost(**options_for(family, 2, (16, 16)))
    assert (counted, held) == (cost.flops, cost.cache_bytes)


def test_only_fills_that_tell_how_far_tokens_moved() -> None:
    transformer = TINY["pixart"]()
    plan = METHOD.plan(transformer, STEPS)
    with pytest.raises(ValueError, match="keeps the last values or their differences.*there is none"):
        toca.CacheMethod(when=METHOD, which=METHOD).plan(transformer, STEPS)
    with pytest.raises(ValueError, match="keeps the last values or their differences.*chebyshev does not"):
        replace(plan, fill=Chebyshev())


def test_blocks_that_attend_within_frames_are_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="coast asks for a model of which tokens can be dropped.*within frames"):
        METHOD.plan(TINY["latte"](), STEPS)


def test_a_plan_is_read_as_it_was_written(tmp_path: Any) -> None:
    plan = METHOD.plan(TINY["flux"](), STEPS)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


@pytest.mark.parametrize("name", ["coast/emoji", "coast/emoji-flux", "coast/fashion"])
def test_presets_are_for_the_families_of_the_embedded_models(name: str) -> None:
    family = {"coast/emoji": "pixart", "coast/emoji-flux": "flux", "coast/fashion": "dit"}[name]
    assert toca.preset(name).plan(TINY[family](), 20).steps == "FFFFttFttFttFttFttFt"
    assert foreign_to(name, family) is None and foreign_to(name, "latte") is not None
