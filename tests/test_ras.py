"""RAS: which tokens are active, what the others keep, and the cost of it all."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import toca
from toca.axes.actions import COMPUTE, FORECAST, REUSE, partial
from toca.axes.selections.clustered import ByCluster
from toca.axes.selections.whole_stack import ByPrediction
from toca.engine.install import engine_of
from toca.eval.counting.flops import FlopMeter
from toca.methods.composed import CacheMethod
from toca.methods.ras import RAS
from toca.methods.taylorseer import TaylorSeer
from toca.models.prediction import LATENTS, PACKED
from toca.models.spec import CallShape
from toca.plan import Plan

from .conformance.common import assert_close, assert_equal, cached_run
from .conformance.test_batch import rows_of
from .conformance.test_cost import held_bytes, options_for
from .helpers import (
    TEXT_TOKENS,
    TINY,
    TINY_PIPELINES,
    Inputs,
    inputs_for,
    pipeline_arguments,
    run_steps,
    still,
    tiny_flux,
)
from .reference.ras import run_ras

STEPS = 9
METHOD = RAS(sample_ratio=0.4, starvation=0.2, warmup_steps=2, dense_steps=(5,))
DENSE = [step < 2 or step == 5 for step in range(STEPS)]
FAMILIES = ("dit", "pixart", "flux")
every_family = pytest.mark.parametrize("family", FAMILIES)


def run_and_spy(transformer: nn.Module, method: Any, inputs: Inputs, **options: Any) -> tuple[list[Tensor], dict]:
    """The outputs, and for each step that drops tokens the active ones of each row."""
    active: dict[int, list[list[int]]] = {}
    outputs: list[Tensor] = []
    with toca.cached(transformer, method, num_inference_steps=len(inputs), **options):
        engine = engine_of(transformer)

        def spy(*_: Any) -> None:
            index = engine.call.jobs[0].active
            if index is not None:
                tokens = engine.branches[None].key.shape.tokens
                active[len(outputs)] = [sorted(row) for row in (index % tokens).tolist()]

        hook = transformer.transformer_blocks[0].register_forward_hook(spy)
        for call in inputs:
            outputs.extend(run_steps(transformer, [call]))
        hook.remove()
    return outputs, active


@every_family
@pytest.mark.parametrize("cfg", [False, True], ids=["plain", "cfg"])
@pytest.mark.parametrize("size", [(16, 16), (8, 20)], ids=str)
def test_step_by_step_as_written_out(family: str, cfg: bool, size: tuple[int, int]) -> None:
    transformer = TINY[family]()
    size = (12, 12) if family == "dit" and size != (16, 16) else size
    inputs = inputs_for(family, STEPS, batch_size=2, seed=3, height=size[0], width=size[1], cfg=cfg)
    trace: list[Any] = []
    settings = {"dense": DENSE, "ratio": 0.4, "kappa": 0.2, "batched_cfg": cfg, "trace": trace}
    wanted = run_ras(family, transformer, inputs, **settings)
    assert min(margin for *_, margin in trace) > 1e-5, "a choice that rounding could turn over: take another seed"
    got, active = run_and_spy(transformer, METHOD, inputs, batched_cfg=cfg)
    assert_close(got, wanted)
    for step, image, tokens, _ in trace:
        assert active[step][image] == tokens
        if cfg:
            assert active[step][image + 2] == tokens


@every_family
def test_everything_in_the_score_matters(family: str) -> None:
    """The comparison above has something to find: drops, dense steps and the share all change the outputs."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    runs = [
        cached_run(transformer, RAS(**{"warmup_steps": 2, "dense_steps": (5,), "starvation": 0.2} | change), inputs)[
            -1
        ]
        for change in ({}, {"starvation": 0.0}, {"dense_steps": ()}, {"sample_ratio": 0.4}, {"sample_ratio": 1.0})
    ]
    assert all((one - two).abs().max() > 1e-3 for i, one in enumerate(runs) for two in runs[:i])


@every_family
def test_dropped_tokens_keep_the_last_output_bitwise(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    outputs, active = run_and_spy(transformer, METHOD, inputs)
    for step, rows in active.items():
        for row, tokens in enumerate(rows):
            now, before = (by_token(family, out[row]) for out in (outputs[step], outputs[step - 1]))
            same = [torch.equal(a, b) for a, b in zip(now, before, strict=True)]
            assert [token for token in range(64) if not same[token]] == tokens and len(tokens) == 25


def by_token(family: str, sample: Tensor) -> list[Tensor]:
    """One row's output as a list of what its tokens return."""
    if family == "flux":
        return list(sample)
    return [sample[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] for y in range(8) for x in range(8)]


@every_family
@pytest.mark.parametrize("cfg", [False, True], ids=["plain", "cfg"])
def test_equal_inputs_give_equal_outputs(family: str, cfg: bool) -> None:
    """When nothing changes, the keys, values and outputs remembered are right, whichever tokens are active."""
    transformer, inputs = TINY[family](), still(inputs_for(family, STEPS, batch_size=2, cfg=cfg)[0], STEPS)
    assert_close(cached_run(transformer, METHOD, inputs, batched_cfg=cfg), run_steps(transformer, inputs))


@every_family
def test_dense_steps_are_the_models(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    stock, got = run_steps(transformer, inputs), cached_run(transformer, METHOD, inputs)
    dense = [step for step in range(STEPS) if DENSE[step]]
    assert_close([got[step] for step in dense], [stock[step] for step in dense])
    assert torch.equal(got[0], stock[0])
    assert_equal(run_steps(transformer, inputs), stock)
    assert_equal(cached_run(transformer, RAS(sample_ratio=1.0), inputs), stock)
    assert_equal(cached_run(transformer, RAS(warmup_steps=STEPS), inputs), stock)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1000.0])
def test_starvation(kappa: float) -> None:
    """Without it the same tokens stay active when nothing changes; with much of it the tokens take turns."""
    transformer, inputs = TINY["pixart"](), still(inputs_for("pixart", 13)[0], 13)
    method = RAS(sample_ratio=0.25, starvation=kappa, warmup_steps=1, dense_steps=())
    _, active = run_and_spy(transformer, method, inputs)
    turns = [sum(token in rows[0] for rows in active.values()) for token in range(64)]
    assert sum(turns) == 12 * 16
    if kappa == 0:
        assert sorted(set(turns)) == [0, 12]
    elif kappa == 1000:
        assert set(turns) == {3}
    else:
        assert 0 < min(turns) < 3 < max(turns) < 12


def test_the_guidance_branches_of_an_image_share_one_choice() -> None:
    transformer, inputs = TINY["pixart"](), inputs_for("pixart", STEPS, batch_size=2, cfg=True)
    _, together = run_and_spy(transformer, METHOD, inputs, batched_cfg=True)
    _, apart = run_and_spy(transformer, METHOD, inputs, batched_cfg=False)
    assert all(rows[:2] == rows[2:] and rows[0] != rows[1] for rows in together.values())
    assert any(rows[0] != rows[2] for rows in apart.values())


def test_a_learned_variance_does_not_count() -> None:
    """DiT and PixArt predict a variance beside the noise, in the last channels: it has no part in the score."""
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    _, active = run_and_spy(transformer, METHOD, inputs)
    weight = transformer.proj_out_2.weight.data.unflatten(0, (4, 8))
    weight[:, 4:] *= 100
    _, louder = run_and_spy(transformer, METHOD, inputs)
    assert louder == active


def test_predictions_by_token() -> None:
    shape = CallShape(batch=2, tokens=15, grid=(3, 5))
    latents = torch.randn(2, 7, 6, 10)
    by_tokens = LATENTS.by_token(latents, shape)
    assert by_tokens.shape == (2, 15, 7, 4)
    assert torch.equal(by_tokens[1, 7], latents[1, :, 2:4, 4:6].flatten(1))
    packed = torch.randn(2, 15, 28)
    assert torch.equal(PACKED.by_token(packed, shape)[1, 7, 2], packed[1, 7, 8:12])
    values = torch.arange(30).view(2, 15)
    over = LATENTS.over(values, shape, latents).expand_as(latents)
    assert torch.equal(LATENTS.by_token(over, shape), values[..., None, None].expand(-1, -1, 7, 4))
    over = PACKED.over(values, shape, packed).expand_as(packed)
    assert torch.equal(over, values[..., None].expand(-1, -1, 28))


# --- promises ------------------------------------------------------------------------------------------------------


@every_family
def test_alone_or_in_company(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=3, seed=4)
    together = cached_run(transformer, METHOD, inputs)
    for rows in ([0], [2], [2, 1]):
        assert_close(cached_run(transformer, METHOD, rows_of(inputs, rows)), [out[rows] for out in together])


@every_family
def test_alone_or_in_company_with_batched_guidance(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=3, seed=4, cfg=True)
    together = cached_run(transformer, METHOD, inputs, batched_cfg=True)
    for rows in ([0, 3], [2, 5]):
        alone = cached_run(transformer, METHOD, rows_of(inputs, rows), batched_cfg=True)
        assert_close(alone, [out[rows] for out in together])


@every_family
@pytest.mark.parametrize("cfg", [False, True], ids=["plain", "cfg"])
def test_images_that_decide_for_themselves_keep_their_tokens(family: str, cfg: bool) -> None:
    """Composed with a gate that parts the batch."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=3, seed=4, cfg=cfg)
    method = CacheMethod(when=toca.EasyCache(threshold=0.5, warmup_steps=2), which=METHOD)
    together = cached_run(transformer, method, inputs, batched_cfg=cfg)
    for row in range(3):
        rows = [row, row + 3] if cfg else [row]
        alone = cached_run(transformer, method, rows_of(inputs, rows), batched_cfg=cfg)
        assert_close(alone, [out[rows] for out in together])


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("cfg", [False, True], ids=["plain", "cfg"])
@pytest.mark.parametrize("method", [METHOD, RAS(sample_ratio=0.001, warmup_steps=3, dense_steps=(7,))], ids=str)
def test_predicted_is_measured(family: str, dtype: torch.dtype, cfg: bool, method: RAS) -> None:
    size = (12, 12) if family == "dit" else (8, 20)
    transformer = TINY[family]().to(dtype)
    inputs = inputs_for(family, STEPS, batch_size=2, height=size[0], width=size[1], dtype=dtype, cfg=cfg)
    rows = 4 if cfg else 2
    predicted = method.plan(transformer, STEPS).cost(**options_for(family, rows, size), batched_cfg=cfg)
    with toca.cached(transformer, method, num_inference_steps=STEPS, batched_cfg=cfg):
        with FlopMeter() as meter:
            run_steps(transformer, inputs[:-1])
            held = held_bytes(transformer)
            run_steps(transformer, inputs[-1:])
        summary = toca.summary(transformer)
    assert predicted.flops == summary.flops == meter.total
    assert predicted.cache_bytes == summary.cache_bytes == held
    assert summary.tokens_recomputed == pytest.approx(predicted.tokens_recomputed)
    tokens, out_width = (36, 32) if family == "dit" else (40, 32) if family == "pixart" else (40, 16)
    layers, text = (5, TEXT_TOKENS) if family == "flux" else (3, 0)
    features = 2 * layers * rows * (tokens + text) * 32 + rows * tokens * out_width
    assert held == features * dtype.itemsize + (rows // 2 if cfg else rows) * tokens * 4


@every_family
def test_stock_pipelines(family: str) -> None:
    pipe = TINY_PIPELINES[family]()
    with toca.cached(pipe, METHOD):
        first = pipe(**pipeline_arguments(family, STEPS))[0]
        second = pipe(**pipeline_arguments(family, STEPS))[0]
        summary = toca.summary(pipe)
    assert torch.equal(torch.as_tensor(first), torch.as_tensor(second))
    assert summary.steps == "FFtttFttt" and summary.flops < summary.flops_full and summary.bypassed == 0


def test_self_attention_masks() -> None:
    """PixArt: a mask of image tokens hides keys; where nothing changes the outputs are the stock model's."""
    transformer, inputs = TINY["pixart"](), still(inputs_for("pixart", STEPS, batch_size=2)[0], STEPS)
    plain = run_steps(transformer, inputs[:1])
    hidden = (torch.arange(64) % 3 > 0).long().expand(2, -1)
    inputs = [call | {"attention_mask": hidden} for call in inputs]
    stock = run_steps(transformer, inputs)
    assert (stock[0] - plain[0]).abs().max() > 1e-3
    assert_close(cached_run(transformer, METHOD, inputs), stock)


def test_controlnet_runs_in_full(caplog: pytest.LogCaptureFixture) -> None:
    """Its residuals are for all tokens."""
    transformer, inputs = TINY["flux"](), inputs_for("flux", STEPS, batch_size=2)
    residuals = [torch.randn(2, 64, 32) for _ in range(2)]
    with caplog.at_level(logging.WARNING):
        plain = cached_run(transformer, METHOD, inputs)
        assert not caplog.records
        controlled = [
            call | ({"controlnet_block_samples": residuals} if i > 5 else {}) for i, call in enumerate(inputs)
        ]
        got = cached_run(transformer, METHOD, controlled)
    assert_close(got[:6], plain[:6])
    assert_close(got[6:], run_steps(transformer, controlled[6:]))
    assert [record.message for record in caplog.records if "ControlNet" in record.message] == [
        "Tokens cannot be dropped where a ControlNet adds to all of them: the step is full."
    ]


def test_published_settings() -> None:
    plan = RAS().plan(TINY["flux"](), 28)
    assert plan.steps == "FFFFttttttttFtttttttttFttttt"
    shares = {site.module: plan[4, site.layer, site.module].fresh_ratio for site in plan.layout.sites}
    assert shares == {"self_attn": 0.5, "ff": 0.5, "block": 0.5, "ff_context": 1.0}


@every_family
def test_plans_as_files(family: str, tmp_path: Any) -> None:
    plan = METHOD.plan(TINY[family](), STEPS)
    plan.save(tmp_path / "plan.json")
    loaded = Plan.load(tmp_path / "plan.json")
    assert loaded == plan and loaded.cost() == plan.cost()
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    assert_equal(cached_run(transformer, loaded, inputs), cached_run(transformer, METHOD, inputs))


# --- what does not go ----------------------------------------------------------------------------------------------


def test_not_on_videos() -> None:
    why = r"on latte models \(LatteTransformer3DModel\): its blocks attend within frames and positions\. Use a method"
    with pytest.raises(ValueError, match=why):
        METHOD.plan(TINY["latte"](), STEPS)
    layout = toca.FORA().plan(TINY["latte"](), 2).layout
    rows = ((COMPUTE,) * len(layout.sites), (partial(0.5),) * len(layout.sites))
    with pytest.raises(ValueError, match="latte model: its blocks attend within frames and positions"):
        Plan("mine", 2, layout, rows, METHOD.selection())


@pytest.mark.parametrize("odd", [COMPUTE, REUSE, partial(0.25), partial(0.0)], ids=str)
def test_tokens_are_dropped_everywhere_or_nowhere(odd: Any) -> None:
    plan = METHOD.plan(TINY["dit"](), STEPS)
    row = (*plan.table[2][:3], odd, *plan.table[2][4:])
    with pytest.raises(ValueError, match="Step 2 drops tokens before the first block: every site of the image must"):
        Plan("mine", STEPS, plan.layout, (*plan.table[:2], row, *plan.table[3:]), plan.selection)


def test_what_does_not_compose() -> None:
    transformer = TINY["dit"]()
    with pytest.raises(ValueError, match="nothing may be forecast"):
        CacheMethod(when="fora", which=METHOD, fill=TaylorSeer()).plan(transformer, STEPS)
    with pytest.raises(ValueError, match="A gate that runs the first blocks to decide cannot go with dropping tokens"):
        CacheMethod(when=toca.FBCache(threshold=0.5), which=METHOD).plan(transformer, STEPS)
    with pytest.raises(ValueError, match="A gate that checks by the last block what was filled cannot go with"):
        CacheMethod(when=toca.SpeCa(), which=METHOD).plan(transformer, STEPS)
    assert FORECAST not in CacheMethod(when="fora", which=METHOD).plan(transformer, STEPS).table[1]


def test_unknown_processors_are_refused() -> None:
    class Mine(type(TINY["dit"]().transformer_blocks[0].attn1.get_processor())):
        pass

    transformer = TINY["dit"]()
    transformer.transformer_blocks[1].attn1.set_processor(Mine())
    with pytest.raises(ValueError, match="of layer 1 of this \\w+ uses Mine, which this library cannot measure"):
        toca.enable_cache(transformer, METHOD, num_inference_steps=STEPS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_ratio", 0.0),
        ("sample_ratio", 1.1),
        ("starvation", -1.0),
        ("warmup_steps", 0),
        ("dense_steps", (3, -1)),
    ],
)
def test_wrong_settings(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"`{name}`.* must .* got"):
        RAS(**{name: value})


def test_selections_of_these_kinds() -> None:
    assert not ByPrediction().fills_sites and not ByPrediction().observes
    assert ByCluster(2).fills_sites and ByCluster(2).observes
    with pytest.raises(ValueError, match="`clusters` must be at least 1, got 0"):
        ByCluster(0)


class Counted(TorchDispatchMode):
    """Counts the operations that make numbers in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += str(function).startswith("aten.arange")
        return function(*args, **(kwargs or {}))


def test_the_places_of_what_is_there_are_counted_once_a_step() -> None:
    """However many layers there are."""
    counts = []
    for layers in (1, 4):
        transformer, inputs = tiny_flux(num_layers=layers), inputs_for("flux", STEPS)
        with toca.cached(transformer, METHOD, num_inference_steps=STEPS):
            run_steps(transformer, inputs[:2])
            with Counted() as counted:
                run_steps(transformer, inputs[2:3])
        counts.append(counted.calls)
    assert counts[0] == counts[1]
