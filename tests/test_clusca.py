"""ClusCa: clusters, the token computed of each, what the others do, and the cost of it all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import toca
from toca.engine.install import engine_of
from toca.eval.counting.flops import FlopMeter
from toca.kernels.kmeans import k_means, k_means_flops
from toca.methods.clusca import ClusCa
from toca.methods.composed import CacheMethod
from toca.methods.speca import SpeCa
from toca.methods.taylorseer import TaylorSeer
from toca.plan import Plan

from .conformance.common import assert_close, assert_equal, cached_run
from .conformance.test_batch import rows_of
from .conformance.test_cost import options_for
from .helpers import FAMILIES, TINY, Inputs, inputs_for, run_steps
from .reference.clusca import Picks, naive_k_means, run_clusca

STEPS = 9
METHOD = ClusCa(interval=3, clusters=5, smoothing=0.3, order=2, warmup_steps=2)
FULL = [step < 2 or (step - 1) % 3 == 0 for step in range(STEPS)]
every_family = pytest.mark.parametrize("family", FAMILIES)
MODULES = {"dit": ("ff",), "pixart": ("ff",), "flux": ("ff", "block"), "latte": ("ff",)}


def run_and_spy(transformer: nn.Module, method: Any, inputs: Inputs) -> tuple[list[Tensor], Picks, list[Any]]:
    """The outputs, the tokens that each site computed (text not counted), and the clusters after each step."""
    picks, clusters, outputs = {}, [], []
    with toca.cached(transformer, method, num_inference_steps=len(inputs)):
        engine = engine_of(transformer)

        def spy(*_: Any) -> None:
            for site, handle in zip(engine.layout.sites, engine.decisions.handles, strict=True):
                if handle.action == "partial":
                    shape = engine.branches[None].key.shape
                    tokens = site.geometry(shape)[1]
                    text = shape.text_tokens if site.stream == "text+image" else 0
                    picks[len(outputs), site.layer, site.module] = (handle.index % tokens - text).tolist()

        hook = transformer.transformer_blocks[0].register_forward_hook(spy)
        for i, call in enumerate(inputs):
            outputs.extend(run_steps(transformer, [call]))
            if i < len(inputs) - 1:
                clusters.append(engine.branches[None].parts[0].labels)
        hook.remove()
    return outputs, picks, clusters


@pytest.mark.parametrize("family", ["dit", "pixart", "flux"])
@pytest.mark.parametrize(("gamma", "order", "warmup"), [(0.0, 2, 2), (0.3, 2, 2), (0.3, 0, 2), (0.3, 1, 1)])
def test_step_by_step_as_written_out(family: str, gamma: float, order: int, warmup: int) -> None:
    transformer = TINY[family]()
    full = [step < warmup or (step - warmup + 1) % 3 == 0 for step in range(STEPS)]
    size = {} if family == "dit" else {"height": 8, "width": 20}
    inputs = inputs_for(family, STEPS, batch_size=2, **size)
    method = ClusCa(interval=3, clusters=5, smoothing=gamma, order=order, warmup_steps=warmup)
    got, picks, _ = run_and_spy(transformer, method, inputs)
    settings = {"full": full, "order": order, "clusters": 5, "gamma": gamma, "picks": picks}
    trace: list[list[list[int]]] = []
    wanted = run_clusca(family, transformer, inputs, **settings, trace=trace)
    assert_close(got, wanted)
    sites = engine_layout(transformer, method).sites
    assert len(picks) == full.count(False) * sum(site.module in MODULES[family] for site in sites)
    for (step, *_), rows in picks.items():
        for tokens, labels in zip(rows, trace[step], strict=True):
            # One of each cluster, and a lone token more than once for clusters without members.
            assert len(tokens) == 5 and {labels[token] for token in tokens} == set(labels)


def engine_layout(transformer: nn.Module, method: Any) -> Any:
    return method.plan(transformer, STEPS).layout


def test_gamma_and_computed_tokens_matter() -> None:
    """The comparison above has something to find."""
    inputs, transformer = inputs_for("dit", STEPS), TINY["dit"]()
    forecast = cached_run(transformer, TaylorSeer(interval=3, order=2, warmup_steps=2), inputs)
    still = cached_run(transformer, ClusCa(interval=3, clusters=5, warmup_steps=2), inputs)
    nudged = cached_run(transformer, METHOD, inputs)
    other = cached_run(transformer, ClusCa(interval=3, clusters=5, warmup_steps=2, seed=1), inputs)
    for step in (i for i, full in enumerate(FULL) if not full):
        outputs = [run[step] for run in (forecast, still, nudged, other)]
        for i, one in enumerate(outputs):
            assert all((one - two).abs().max() > 1e-3 for two in outputs[:i])


# --- clusters ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_k_means_as_written_out(data: st.DataObject) -> None:
    tokens = data.draw(st.integers(1, 24))
    clusters = data.draw(st.integers(1, tokens))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    points = torch.randn(3, tokens, data.draw(st.integers(1, 4)), generator=generator)
    rounded = data.draw(st.booleans())
    if rounded:
        points = points.round()  # many equal points: clusters that lose all their members
    got = k_means(points, clusters)
    assert got.shape == (3, tokens) and got.min() >= 0 and got.max() < clusters
    for row, labels in zip(points, got.tolist(), strict=True):
        # Where points lie between two centres, either course may end lower; none ends above where it began.
        bound = _first_cost(row, clusters) if rounded else _cost(row, naive_k_means(row, clusters), clusters)
        assert _cost(row, labels, clusters) <= bound * (1 + 1e-4) + 1e-4


def _first_cost(points: Tensor, clusters: int) -> float:
    """Squared distance from the nearest of the first centres, evenly spaced tokens."""
    centres = points[torch.arange(clusters) * len(points) // clusters].double()
    return torch.cdist(points.double(), centres).square().amin(dim=1).sum().item()


def _cost(points: Tensor, labels: list[int], clusters: int) -> float:
    """Squared distance from the means; ties between centres may be broken either way."""
    index = torch.tensor(labels)
    groups = [points[index == k].double() for k in range(clusters)]
    return sum((group - group.mean(dim=0)).square().sum().item() for group in groups if len(group))


def test_k_means_finds_what_is_there() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 10 * torch.eye(6)
    truth = torch.arange(48) % 6
    points = centres[truth] + 0.1 * torch.randn(2, 48, 6, generator=generator)
    labels = k_means(points, 6)
    for row in labels:
        assert len({(int(a), int(b)) for a, b in zip(row, truth, strict=True)}) == 6


def test_k_means_of_a_row_is_its_own() -> None:
    points = torch.randn(4, 50, 8)
    together = k_means(points, 7)
    assert all(torch.equal(k_means(points[i : i + 1], 7)[0], together[i]) for i in range(4))
    assert torch.equal(k_means(points.bfloat16(), 7), k_means(points.bfloat16().float(), 7))


@pytest.mark.parametrize(("rows", "tokens", "width", "clusters"), [(1, 16, 8, 4), (3, 40, 24, 16)])
def test_k_means_costs_what_is_said(rows: int, tokens: int, width: int, clusters: int) -> None:
    with FlopMeter() as meter:
        k_means(torch.randn(rows, tokens, width), clusters)
    assert meter.total == k_means_flops(rows, tokens, width, clusters)


def test_frames_are_clustered_apart_and_time_is_forecast() -> None:
    """Latte: every frame has clusters of its own; blocks that attend over time compute no token."""
    transformer, inputs = TINY["latte"](), inputs_for("latte", STEPS, batch_size=2)
    _, picks, clusters = run_and_spy(transformer, METHOD, inputs)
    assert clusters[0] is None and clusters[1].shape == (2 * 4, 64)
    assert len({tuple(row.tolist()) for row in clusters[1]}) == 8
    layers = {site.layer for site in engine_layout(transformer, METHOD).sites if site.rows == "frame"}
    assert {(layer, module) for _, layer, module in picks} == {(layer, "ff") for layer in layers}
    for (step, *_), rows in picks.items():
        labels = clusters[step - 1].tolist()
        assert all({row[t] for t in tokens} == set(row) for row, tokens in zip(labels, rows, strict=True))


def test_clusters_are_made_only_where_they_are_needed() -> None:
    plan = ClusCa(interval=3, warmup_steps=4).plan(TINY["dit"](), 9)
    assert plan.steps == "FFFFttFtt"
    assert plan.observed == tuple(step in (3, 6) for step in range(9))


def test_draws_differ_by_step_and_layer() -> None:
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    _, picks, _ = run_and_spy(transformer, METHOD, inputs)
    assert len({tuple(rows[0]) for rows in picks.values()}) == len(picks)


def test_samples_draw_alike() -> None:
    """Equal images have equal clusters, so one order of the tokens picks the same of them."""
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS, batch_size=1)
    twice = [{name: value.repeat(2, *[1] * (value.ndim - 1)) for name, value in call.items()} for call in inputs]
    _, picks, _ = run_and_spy(transformer, METHOD, twice)
    assert all(first == second for first, second in picks.values())


def test_as_many_clusters_as_tokens_computes_them_all() -> None:
    """At a smaller size than the model's own every token may be a cluster of its own."""
    transformer, inputs = TINY["pixart"](), inputs_for("pixart", STEPS, height=8, width=8)
    method = ClusCa(interval=3, clusters=16, warmup_steps=2)
    _, picks, _ = run_and_spy(transformer, method, inputs)
    assert all(sorted(rows[0]) == list(range(16)) for rows in picks.values())
    assert_close(
        cached_run(transformer, ClusCa(interval=3, clusters=40, warmup_steps=2), inputs),
        cached_run(transformer, method, inputs),
    )


# --- promises ------------------------------------------------------------------------------------------------------


@every_family
def test_alone_or_in_company(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=3, seed=4)
    together = cached_run(transformer, METHOD, inputs)
    for rows in ([0], [2], [2, 1]):
        assert_close(cached_run(transformer, METHOD, rows_of(inputs, rows)), [out[rows] for out in together])


@every_family
@pytest.mark.parametrize("when", [toca.EasyCache(threshold=0.5, warmup_steps=2), toca.FBCache(threshold=0.7)])
def test_images_that_decide_for_themselves_keep_their_clusters(family: str, when: Any) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=3, seed=4)
    method = CacheMethod(when=when, which=METHOD, fill=TaylorSeer(order=1))
    together = cached_run(transformer, method, inputs)
    for row in range(3):
        assert_close(cached_run(transformer, method, rows_of(inputs, [row])), [out[row : row + 1] for out in together])


@pytest.mark.parametrize("family", ["dit", "flux"])
@pytest.mark.parametrize("when", [SpeCa(), toca.FBCache(threshold=0.7)], ids=lambda when: when.name)
def test_passes_of_a_gate_compute_no_more_tokens(family: str, when: Any) -> None:
    """A pass that verifies, or goes on from a probe, has blocks that pick no tokens beside some that do."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    method = CacheMethod(when=when, which=METHOD, fill=TaylorSeer(order=1))
    with (
        toca.cached(transformer, method, num_inference_steps=STEPS),
        FlopMeter() as meter,
    ):
        run_steps(transformer, inputs)
        assert toca.summary(transformer).flops == meter.total


@every_family
def test_full_steps_are_the_models(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    stock = run_steps(transformer, inputs)
    got = cached_run(transformer, METHOD, inputs)
    assert_equal(
        [out for out, full in zip(got, FULL, strict=True) if full],
        [out for out, full in zip(stock, FULL, strict=True) if full],
    )
    assert_equal(run_steps(transformer, inputs), stock)
    assert_equal(cached_run(transformer, ClusCa(interval=1), inputs), stock)


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [(16, 16), (8, 20)], ids=str)
def test_predicted_is_measured(family: str, dtype: torch.dtype, size: tuple[int, int]) -> None:
    size = (12, 12) if family == "dit" and size != (16, 16) else size
    transformer = TINY[family]().to(dtype)
    inputs = inputs_for(family, STEPS, batch_size=2, height=size[0], width=size[1], dtype=dtype)
    predicted = METHOD.plan(transformer, STEPS).cost(**options_for(family, 2, size))
    with toca.cached(transformer, METHOD, num_inference_steps=STEPS):
        with FlopMeter() as meter:
            run_steps(transformer, inputs[:-1])
            held = list(engine_of(transformer).branches[None].parts[0].tensors())
            run_steps(transformer, inputs[-1:])
        summary = toca.summary(transformer)
    assert predicted.flops == summary.flops == meter.total
    assert predicted.cache_bytes == summary.cache_bytes == sum(tensor.untyped_storage().nbytes() for tensor in held)
    assert [tensor for tensor in held if not tensor.is_floating_point()][0].dtype == torch.int32
    assert summary.tokens_recomputed == pytest.approx(predicted.tokens_recomputed)
    assert {site.tokens_recomputed for call in summary.trace for site in call.sites if site.action == "partial"} == {5}


def test_published_settings() -> None:
    """FLUX.1-dev at 1024 x 1024, N = 5, K = 16: the paper's 4.14 times fewer FLOPs, the clustering included."""
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(guidance_embeds=True)
    plan = ClusCa(interval=5, clusters=16, smoothing=0.005).plan(transformer, 50)
    assert plan.steps == "FFFttttFttttFttttFttttFttttFttttFttttFttttFttttFtt"
    assert f"{plan.cost(height=128, width=128, text_tokens=512).flops_speedup:.2f}" == "4.14"
    forecast = {site.module for site in plan.layout.sites if plan[3, site.layer, site.module].kind == "forecast"}
    partial = {site.module for site in plan.layout.sites if plan[3, site.layer, site.module].kind == "partial"}
    assert forecast == {"self_attn", "ff_context"} and partial == {"ff", "block"}


def test_plans_as_files(tmp_path: Any) -> None:
    plan = METHOD.plan(TINY["flux"](), STEPS)
    plan.save(tmp_path / "plan.yaml")
    assert Plan.load(tmp_path / "plan.yaml") == plan
    assert Plan.load(tmp_path / "plan.yaml").cost() == plan.cost()


@pytest.mark.parametrize(
    ("name", "value"),
    [("interval", 0), ("clusters", 0), ("smoothing", -0.1), ("smoothing", 1.5), ("order", -1), ("warmup_steps", 0)],
)
def test_wrong_settings(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must .* got {value}"):
        ClusCa(**{name: value})
