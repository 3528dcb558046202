"""The parts of methods that decide while the model runs; the decisions themselves are in conformance/test_gates.py."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toca
from toca.axes.actions import COMPUTE
from toca.axes.gates import Observation, reaches, relative_l1
from toca.engine.summary import StepTrace, Summary
from toca.memory.algebra import join, take
from toca.memory.part import Part
from toca.memory.terms import Terms
from toca.methods.adacache import AdaCache
from toca.methods.dicache import DiCache
from toca.methods.easycache import EasyCache
from toca.methods.fbcache import DBCache, FBCache
from toca.methods.rfc import RFC
from toca.methods.seacache import SeaCache
from toca.methods.speca import SpeCa
from toca.methods.teacache import TeaCache
from toca.models import CallKey, CallShape

from .conformance.common import assert_equal, cached_run
from .conformance.test_cost import counted_flops
from .helpers import FAMILIES, TINY, inputs_for, run_steps
from .zoo import ZOO
from .zoo.tiny import exists

METHODS = (
    *(FBCache(), DBCache(max_cached_steps=2), TeaCache(), EasyCache(), DiCache(), SpeCa()),
    *(SeaCache(), SeaCache(indicator="latents", max_cached_steps=2), AdaCache(), AdaCache(motion=False), RFC(order=2)),
)
GATES = [method.gate() for method in METHODS]
every_gate = pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)


def run(method: Any, steps: int = 16, **options: Any) -> tuple[list[torch.Tensor], Summary]:
    transformer, inputs = TINY["dit"](), inputs_for("dit", steps, batch_size=2)
    with toca.cached(transformer, method, num_inference_steps=steps, **options):
        return run_steps(transformer, inputs), toca.summary(transformer)


def test_relative_l1_is_of_each_image() -> None:
    now, before = torch.tensor([[[1.0, 5.0]], [[3.0, 3.0]]]), torch.tensor([[[2.0, -4.0]], [[3.0, -1.0]]])
    assert relative_l1(now, before).tolist() == pytest.approx([10 / 6, 4 / 4])


def test_what_cannot_be_judged_is_computed() -> None:
    values = torch.tensor([0.1, 0.2, 0.3, math.nan, math.inf])
    assert reaches(values, 0.2).tolist() == [False, True, True, True, True]
    standstill = relative_l1(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3))
    assert reaches(standstill, 1e9).all()


# --- DiCache -------------------------------------------------------------------------------------------------------

numbers = st.floats(-4, 4, width=32)
rows = st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=4)


@given(images=rows)
def test_gamma_is_where_the_probe_stands_on_its_way(images: list[tuple[float, ...]]) -> None:
    entering, probe, last, before = (torch.tensor(column)[:, None, None] for column in zip(*images, strict=True))
    seen = Observation(5, 10, {"added": last, "added_before": before}, entering=entering, probe=probe)
    newest, weights = DiCache().gate().weights_of(seen)
    assert newest == 1
    for got, h, p, one, two in zip(weights.tolist(), entering, probe, last, before, strict=True):
        way = (one - two).abs().item()
        gone = (p - h - two).abs().item()
        wanted = min(max(gone / way, 1.0), 1.5) if way else (1.5 if gone else 1.0)
        assert got == pytest.approx(wanted - 1, abs=1e-6)


def test_first_cached_step_reuses_the_only_residual() -> None:
    """There is nothing to go on from yet, so DiCache fills as TeaCache does."""
    transformer, inputs = TINY["dit"](), inputs_for("dit", 8)
    with toca.cached(transformer, DiCache(threshold=1e9), num_inference_steps=8):
        outputs = run_steps(transformer, inputs)
        assert toca.summary(transformer).steps == "FyyyyyyF"
    with toca.cached(transformer, TeaCache(threshold=1e9), num_inference_steps=8):
        assert all(torch.equal(a, b) for a, b in zip(outputs, run_steps(transformer, inputs), strict=True))


# --- SpeCa ---------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(least=st.integers(0, 4), most=st.integers(0, 6), warmup=st.integers(1, 3))
def test_drafts_in_a_row(least: int, most: int, warmup: int) -> None:
    """Where every draft passes the most, where none does the least and the one that is verified."""
    for threshold, drafts in ((1e9, most), (0.0, min(most, least + 1))):
        method = SpeCa(threshold, 1.0, 0.0, least, most, order=1, warmup_steps=warmup)
        _, summary = run(method)
        assert summary.steps == ("F" * warmup + ("y" * drafts + "F") * 16)[:16]


def test_without_verification_it_is_taylorseer() -> None:
    drafts, summary = run(SpeCa(min_drafts=3, max_drafts=3, order=2, warmup_steps=2))
    forecast, plain = run(toca.TaylorSeer(interval=4, order=2, warmup_steps=2))
    assert (summary.steps, summary.flops) == (plain.steps, plain.flops)
    assert all(torch.equal(a, b) for a, b in zip(drafts, forecast, strict=True))


def test_verifying_costs_a_block_and_changes_nothing() -> None:
    quiet = SpeCa(threshold=1e9, min_drafts=5, max_drafts=5)
    verified, twice = run(dataclasses.replace(quiet, min_drafts=2))
    drafts, once = run(quiet)
    assert all(torch.equal(a, b) for a, b in zip(verified, drafts, strict=True))
    # FFF yyyyy F yyyyy F y: the third and the fourth draft of five are verified; after the fifth all is settled.
    transformer = TINY["dit"]()
    plan = quiet.plan(transformer, 16)
    shape = dataclasses.replace(plan.layout.default_shape, batch=2)
    last = [site for site in plan.layout.sites if site.layer == 2]
    block = sum(site.flops(shape, shape.tokens) for site in last)
    assert twice.steps == once.steps == "FFFyyyyyFyyyyyFy"
    modulation = plan.layout.overhead_flops(shape) - plan.layout.overhead_flops(shape, left_out=[2])
    assert twice.flops - once.flops == 4 * (block + modulation)


def test_only_those_that_are_due_are_verified() -> None:
    """Whose last block is run for the sake of a batch-mate decides as if it had not been."""
    gate, features = SpeCa(min_drafts=1, max_drafts=4).gate(), torch.ones(4, 1, 5)
    for step, wanted in ((5, [0.0, 0.5, 0.5, 0.0]), (9, [0.0] * 4)):
        memory = {"drafts": torch.tensor([0.0, 1.0, 2.0, 3.0]), "error": torch.zeros(4)}
        seen = Observation(step, 10, memory, input=features)
        if gate.verifies(seen):
            seen.before_last, seen.draft, seen.verified = features, features, 2 * features
        gate.observe(seen, computed=False)
        assert memory["error"].tolist() == wanted and memory["drafts"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert not gate.verifies(Observation(5, 10, {"drafts": torch.tensor([0.0, 3.0])}))


def test_threshold_falls_over_the_steps() -> None:
    memory = {"drafts": torch.ones(3), "error": torch.tensor([0.011, 0.03, 0.09])}
    opens = [SpeCa(0.1, 0.01, 0.02).gate().opens(Observation(step, 10, memory)).tolist() for step in (0, 3, 5, 9)]
    assert opens == [[False] * 3, [False, True, True], [False, True, True], [False, True, True]]
    assert SpeCa(0.1, 0.01, 0.0).gate().opens(Observation(5, 10, memory)).tolist() == [True, True, True]


# --- AdaCache ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["opensora", "opensora-slow", "opensora-100"])
def test_published_codebooks(name: str) -> None:
    """Below a distance, and so not at it, its rate; above all of them the last one's."""
    gate = toca.preset(f"adacache/{name}").gate()
    rates = {
        "opensora": {0.0: 6, 0.0799: 6, 0.08: 5, 0.2: 4, 0.3: 3, 0.399: 2, 0.4: 1, 9.0: 1, math.nan: 1},
        "opensora-slow": {0.0: 3, 0.08: 2, 0.1599: 2, 0.16: 1, 0.5: 1},
        "opensora-100": {0.029: 12, 0.04: 10, 0.06: 8, 0.08: 6, 0.1: 4, 0.11: 3, 0.9: 3, 2.0: 3},
    }[name]
    got = gate._rate(torch.tensor(list(rates), dtype=torch.float64)).tolist()
    assert got == list(rates.values())


def test_motion_that_is_usual_changes_nothing_and_stillness_lets_all_pass() -> None:
    gate = AdaCache().gate()
    ones = torch.ones(2)
    # A frame, and one that differs by twice the usual share of both together; another video stands still.
    share = 0.385
    frames = torch.stack([torch.tensor([1.0 - share, 1.0 + share]), torch.tensor([1.0, 1.0])])[:, None, :, None]
    now = Observation(5, 10, {"motion": ones}, added=frames, grid=(2, 1, 1))
    assert gate._motion_now(now).tolist() == pytest.approx([1.0, 0.0])
    assert gate._motion(now, 2 * ones).tolist() == pytest.approx([1.0, 0.0 + 10 * 1.0 / 2])
    for still in (dataclasses.replace(now, step=9), dataclasses.replace(now, grid=(1, 2, 1))):
        assert gate._motion_now(still).tolist() == [1.0, 1.0]


# --- RFC -----------------------------------------------------------------------------------------------------------


def test_length_is_how_far_the_input_has_gone() -> None:
    """In steps of its last course: 3 where it has gone on as it went, whatever its direction; 0 where it stood."""
    gate, memory = RFC(order=2).gate(), {}
    start, course = torch.ones(3, 1, 4, 2), torch.randn(3, 1, 4, 2, generator=torch.Generator().manual_seed(0))
    course[2] = 0
    for step in (0, 2):
        gate.observe(Observation(step, 10, memory, probe=start + step * course), computed=True)
    turned = start + 2 * course + 3 * course.flip(2) * torch.tensor([1.0, 0.5, 1.0]).view(-1, 1, 1, 1)
    newest, first, second, length = gate.weights_of(Observation(5, 10, memory, probe=turned))
    assert newest == 1 and first.tolist() == [3.0] * 3 and second.tolist() == [4.5] * 3
    assert length.tolist() == pytest.approx([3.0, 1.5, 0.0])


@pytest.mark.parametrize("order", [1, 2])
def test_a_length_that_is_the_steps_leaves_the_series_its_length(order: int) -> None:
    """Of order 1 it is the series; where nothing tells a length, of any order."""
    generator = torch.Generator().manual_seed(0)
    value, *higher = (torch.randn(4, 3, 2, generator=generator) for _ in range(order + 1))
    fill, weights = RFC(order=order).filling(), [1.0, 2.0, 2.0][: order + 1]
    series = fill.combine(value, higher, weights)
    told = fill.combine(value, higher, [*weights, torch.tensor([2.0, 0.5])]) - value
    assert torch.allclose(series, value + sum(w * term for w, term in zip(weights[1:], higher, strict=True)))
    for sample, length in ((slice(0, 2), 2.0), (slice(2, 4), 0.5)):
        wanted = length * higher[0][sample].norm()
        assert told[sample].norm() == pytest.approx(float(wanted), rel=1e-5)
        course = (series - value)[sample]
        assert torch.allclose(told[sample] / wanted, course / course.norm(), atol=1e-5)


# --- EasyCache -----------------------------------------------------------------------------------------------------


def test_rate_is_unknown_after_one_step() -> None:
    """A branch that starts late has computed one step, and must compute the next for want of a rate."""
    gate, memory = EasyCache(threshold=1e9).gate(), {}
    gate.observe(Observation(5, 10, memory, input=torch.ones(2, 1, 3), output=torch.ones(2, 1, 3)), computed=True)
    assert gate.opens(Observation(6, 10, memory, input=torch.zeros(2, 1, 3))).tolist() == [True, True]


# --- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (DiCache, "threshold", -0.1),
        (DiCache, "probe_blocks", 0),
        (DiCache, "warmup_steps", 0),
        (SpeCa, "threshold", -1),
        (SpeCa, "decay", 0),
        (SpeCa, "decay", 1.5),
        (SpeCa, "floor", -0.01),
        (SpeCa, "min_drafts", -1),
        (SpeCa, "max_drafts", -1),
        (SpeCa, "order", -1),
        (SpeCa, "compared", "text"),
        (SpeCa, "error", "l2"),
        (SpeCa, "warmup_steps", 0),
        (EasyCache, "warmup_steps", 1),
        (AdaCache, "codebook", ()),
        (AdaCache, "codebook", ((0.2, 3), (0.1, 2))),
        (AdaCache, "depth", 1.5),
        (RFC, "order", 4),
        (RFC, "scope", "block"),
        (SeaCache, "threshold", -0.1),
        (SeaCache, "power", 0),
        (SeaCache, "residual_order", 2),
        (SeaCache, "max_cached_steps", -1),
        (FBCache, "threshold", -1),
        (DBCache, "first_blocks", 0),
    ],
)
def test_settings_are_checked(cls: type, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must .*{re.escape(str(value))}"):
        cls(**{name: value})


def test_a_probe_leaves_blocks_to_skip() -> None:
    transformer = TINY["dit"]()
    with pytest.raises(ValueError, match=r"`probe_blocks` must leave .* 3 blocks .* got 3"):
        DiCache(probe_blocks=3).plan(transformer, 8)
    with pytest.raises(ValueError, match=r"3 blocks between them, got 2 \+ 1"):
        DBCache(first_blocks=2, last_blocks=1).plan(transformer, 8)


# --- memory --------------------------------------------------------------------------------------------------------


@every_gate
def test_numbers_in_memory_depend_on_no_feature_before_the_second_step(gate: Any) -> None:
    """So that two images that began as a pair of guidance branches can be told apart in the second step."""

    def memory(seed: int) -> dict[str, torch.Tensor]:
        def features() -> torch.Tensor:
            return torch.randn(2, 2, 5, 3, generator=generator)

        generator = torch.Generator().manual_seed(seed)
        seen = Observation(0, 10, {}, features(), features(), features(), features(), added=features())
        gate.observe(seen, computed=True)
        return seen.memory

    one, other = memory(0), memory(1)
    assert one and one.keys() == other.keys()
    for name, value in one.items():
        assert value.ndim == 1 or value.shape[:2] == (2, 2)
        assert value.ndim > 1 or torch.equal(value, other[name])


@settings(max_examples=40, deadline=None)
@given(
    images=st.integers(2, 5),
    paired=st.booleans(),
    repeats=st.sampled_from([1, 3]),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_parts_come_together_as_they_were(images: int, paired: bool, repeats: int, seed: int, data: Any) -> None:
    plan = DiCache(probe_blocks=1).plan(TINY["dit"](), 8)
    generator = torch.Generator().manual_seed(seed)
    rows = images * (2 if paired else 1)
    key = CallKey(CallShape(rows, 4), torch.float32, torch.device("cpu"))
    whole = Part.start(plan, key, paired)
    (span,) = whole.spans
    whole.spans[span] = Terms()
    for _ in range(2):
        whole.spans[span].renew((torch.randn(rows * repeats, 4, 2, generator=generator),), [1.0])
    whole.gate = {"a": torch.randn(images, rows // images, 3, generator=generator), "b": torch.rand(images)}
    labels = data.draw(st.lists(st.integers(0, 2), min_size=images, max_size=images).filter(lambda x: len(set(x)) > 1))
    parts = []
    for label in set(labels):
        chosen = [i for i, mine in enumerate(labels) if mine == label]
        part = take(plan, whole, torch.tensor(chosen), images)
        part.numbers = tuple(chosen)
        parts.append(part)
    assert sorted(torch.cat([part.rows for part in parts]).tolist()) == list(range(rows))
    one = join(plan, parts[::-1], key)
    assert one.rows is None and one.numbers is None and one.paired == paired and one.key == key
    assert_same(one, whole)
    some = join(plan, parts[:2], key)
    if len(parts) > 2:
        assert_same(some, take(plan, whole, torch.tensor(some.numbers), images))
        assert some.rows.tolist() == take(plan, whole, torch.tensor(some.numbers), images).rows.tolist()


def assert_same(one: Part, other: Part) -> None:
    assert one.gate.keys() == other.gate.keys()
    pairs = [(one.gate[name], other.gate[name]) for name in one.gate]
    pairs += zip(one.tensors(), other.tensors(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# --- summary -------------------------------------------------------------------------------------------------------


def summary_of(*calls: tuple[int, str, str, tuple[int, ...] | None]) -> Summary:
    trace = tuple(StepTrace(step, branch, letter, (), images) for step, branch, letter, images in calls)
    steps = "?" * len({step for step, *_ in calls})
    return Summary("test", steps, 0, 1.0, 1, 1, 0, trace)


def test_steps_of_an_image() -> None:
    summary = summary_of(
        (0, "c", "F", None), (1, "c", "F", (1,)), (1, "c", "a", (0, 2)), (2, "c", "a", (0, 1, 2)), (3, "c", "F", None)
    )
    assert [summary.steps_of(image) for image in range(3)] == ["FaaF", "FFaF", "FaaF"]
    for image in (3, -1):
        with pytest.raises(ValueError, match=rf"`image` must be .*, got {image}"):
            summary.steps_of(image)


def test_steps_of_an_image_whose_branches_differ() -> None:
    summary = summary_of(
        (0, "c", "F", None), (0, "u", "F", None), (1, "c", "F", (0,)), (1, "c", "a", (1,)), (1, "u", "a", None)
    )
    assert [summary.steps_of(image) for image in range(2)] == ["Fm", "Fa"]


def test_steps_of_any_image_where_no_gate_decides() -> None:
    _, summary = run(toca.FORA(3))
    assert summary.steps_of(1) == summary.steps


# --- what looking and verifying leave as it is ----------------------------------------------------------------------

TOKENS = toca.ToCa(interval=3, fresh_ratio=0.4, score="self_attention")


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_probe_makes_no_token_older(blocks: int) -> None:
    """Beside a gate tokens are chosen as a plan would that computes the probed blocks."""
    transformer, inputs = TINY["pixart"](), inputs_for("pixart", 8)
    gate = DiCache(threshold=1e9, probe_blocks=blocks)
    plan = toca.CacheMethod(when=gate, which=TOKENS).plan(transformer, 8)
    probed = [site.layer < plan.gate.probe for site in plan.layout.sites]
    table = [[COMPUTE if first else action for first, action in zip(probed, row, strict=True)] for row in plan.table]
    planned = dataclasses.replace(plan, gate=None, table=tuple(map(tuple, table)))
    assert planned.steps == "FttttttF"
    assert_equal(cached_run(transformer, plan, inputs), cached_run(transformer, planned, inputs))


def test_verifying_makes_no_token_older() -> None:
    quiet = SpeCa(threshold=1e9, min_drafts=5, max_drafts=5)
    transformer, inputs = TINY["pixart"](), inputs_for("pixart", 16)
    often, seldom = (
        cached_run(transformer, toca.CacheMethod(when=when, which=TOKENS), inputs)
        for when in (quiet, dataclasses.replace(quiet, min_drafts=1))
    )
    assert_equal(often, seldom)


@pytest.mark.parametrize("name", [method.name for method in dict.fromkeys(map(type, METHODS))])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gate_that_lets_nothing_pass_costs_nothing(name: str, family: str) -> None:
    """What stands outside of the blocks runs once, and so do the probed blocks."""
    transformer, inputs = TINY[family](), inputs_for(family, 4, batch_size=2)
    nothing = {"max_drafts": 0} if name == "speca" else {"threshold": 0.0}
    blocks = {"first_blocks": 2} if name == "dbcache" else {"probe_blocks": 2} if name == "dicache" else {}
    method = toca.methods()[name](**nothing, **blocks)
    full = counted_flops(transformer, inputs)
    with toca.cached(transformer, method, num_inference_steps=4):
        counted, summary = counted_flops(transformer, inputs), toca.summary(transformer)
    assert summary.steps == "FFFF" and summary.flops == counted
    # These look at block 0 before it runs, whose modulation may be a linear layer.
    assert counted == full or (name in ("teacache", "seacache", "rfc") and counted < 1.005 * full)


@pytest.mark.skipif(not exists("LuminaNextDiT2DModel"), reason="this diffusers has no Lumina-Next")
@pytest.mark.parametrize("threshold", [0.0, 1e9])
def test_a_block_is_looked_at_whose_attention_hands_on_its_heads(threshold: float) -> None:
    """Before it runs block 0 is run without its modules, whose outputs others in it work on."""
    entry = ZOO["LuminaNextDiT2DModel"]
    transformer, inputs = entry.make(), entry.generation()
    stock = run_steps(transformer, inputs)
    with toca.cached(transformer, TeaCache(threshold=threshold), num_inference_steps=len(inputs)):
        counted, summary = counted_flops(transformer, inputs), toca.summary(transformer)
        assert counted == summary.flops
        got = run_steps(transformer, inputs)
    assert set(summary.steps) == ({"F"} if threshold == 0 else {"F", "a"})
    assert threshold or all(torch.equal(a, b) for a, b in zip(got, stock, strict=True))
