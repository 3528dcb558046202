"""Known before it runs: the predicted FLOPs and bytes are those that are measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import toca
from toca.engine.install import engine_of
from toca.eval.counting.flops import FlopMeter

from ..helpers import FRAMES, TEXT_TOKENS, TINY, TINY_PIPELINES, Inputs, inputs_for, pipeline_arguments, run_steps
from .common import STEPS, cached_run, every_family, every_method, method_of


def counted_flops(transformer: nn.Module, inputs: Inputs) -> int:
    with FlopMeter() as meter:
        run_steps(transformer, inputs)
    return meter.total


def held_tensors(transformer: nn.Module) -> list[Tensor]:
    """The float tensors of all branches, and the numbers of their clusters, found without asking the engine: by
    walking their attributes."""
    found: dict[int, Tensor] = {}
    seen: set[int] = set()

    def walk(value: Any) -> None:
        if isinstance(value, Tensor):
            if value.is_floating_point() or value.dtype == torch.int32:
                found.setdefault(value.untyped_storage().data_ptr(), value)
        elif id(value) not in seen and not isinstance(value, (str, int, float, type(None), type, nn.Module)):
            seen.add(id(value))
            if isinstance(value, dict):
                parts = list(value.values())
            elif isinstance(value, (list, tuple, set, frozenset)):
                parts = list(value)
            else:
                parts = list(getattr(value, "__dict__", {}).values())
            for part in parts:
                walk(part)

    walk(engine_of(transformer).branches)
    return list(found.values())


def held_bytes(transformer: nn.Module) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in held_tensors(transformer))


def options_for(family: str, batch_size: int, size: tuple[int, int]) -> dict[str, Any]:
    options: dict[str, Any] = {"batch_size": batch_size, "height": size[0], "width": size[1]}
    if family != "dit":
        options["text_tokens"] = TEXT_TOKENS
    if family == "latte":
        options["num_frames"] = FRAMES
    return options


def check(family: str, method: Any, size: tuple[int, int] = (16, 16), cfg: bool = True, batch_size: int = 2) -> None:
    transformer = TINY[family]()
    inputs = inputs_for(family, STEPS, batch_size, height=size[0], width=size[1], cfg=cfg)
    rows = inputs[0]["hidden_states"].shape[0]
    predicted = method.plan(transformer, STEPS).cost(**options_for(family, rows, size), batched_cfg=cfg)
    stock = counted_flops(transformer, inputs)
    with toca.cached(transformer, method, num_inference_steps=STEPS, batched_cfg=cfg):
        counted = counted_flops(transformer, inputs[:-1])
        held = held_bytes(transformer)
        running = toca.summary(transformer)
        counted += counted_flops(transformer, inputs[-1:])
        summary = toca.summary(transformer)
    assert predicted.flops == summary.flops == counted
    assert predicted.flops_full == summary.flops_full == stock
    assert predicted.cache_bytes == running.cache_bytes == summary.cache_bytes == held
    assert summary.tokens_recomputed == pytest.approx(predicted.tokens_recomputed)
    assert summary.flops_speedup == predicted.flops_speedup == stock / counted
    assert f"{predicted.flops_speedup:.2f}x" in str(predicted) and f"{summary.flops_speedup:.2f}x" in str(summary)


@every_family
@every_method
@pytest.mark.parametrize("cfg", [False, True], ids=["plain", "cfg"])
def test_predicted_is_measured(family: str, name: str, cfg: bool) -> None:
    check(family, method_of(family, name), cfg=cfg)


@every_family
@pytest.mark.parametrize("name", ["preset", "shared", "fora"])
def test_predicted_is_measured_at_another_size(family: str, name: str) -> None:
    size = (12, 12) if family == "dit" else (8, 20)
    check(family, method_of(family, name), size, batch_size=1)


@every_family
@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.5, 0.999])
def test_predicted_is_measured_for_any_share(family: str, ratio: float) -> None:
    check(family, toca.ToCa(interval=3, fresh_ratio=ratio))
    check(family, toca.RandomTokens(interval=3, fresh_ratio=ratio))


@every_family
@every_method
def test_bytes_in_bfloat16(family: str, name: str) -> None:
    """Features are kept in the model's dtype, scores and counts in float32."""
    transformer, method = TINY[family]().bfloat16(), method_of(family, name)
    inputs = inputs_for(family, STEPS, batch_size=2, dtype=torch.bfloat16)
    options = options_for(family, 2, (16, 16))
    predicted = method.plan(transformer, STEPS).cost(**options)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        run_steps(transformer, inputs[:-1])
        assert held_bytes(transformer) == predicted.cache_bytes == toca.summary(transformer).cache_bytes
    assert method.plan(TINY[family](), STEPS).cost(**options, dtype=torch.bfloat16) == predicted


def test_two_branches_hold_twice() -> None:
    transformer, method = TINY["flux"](), method_of("flux", "preset")
    inputs = inputs_for("flux", STEPS)
    one = method.plan(transformer, STEPS).cost(**options_for("flux", 1, (16, 16)))
    with toca.cached(transformer, method, num_inference_steps=STEPS), torch.no_grad():
        for call in inputs[:-1]:
            for branch in ("cond", "uncond"):
                with transformer.cache_context(branch):
                    transformer(**call)
        assert held_bytes(transformer) == 2 * one.cache_bytes == toca.summary(transformer).cache_bytes


@every_family
@pytest.mark.parametrize("name", ["preset", "shared", "fora"])
def test_stock_pipeline_costs_what_was_predicted(family: str, name: str) -> None:
    """All of the pipeline's transformer calls, guidance included, and nothing of what is around them."""
    pipe, method = TINY_PIPELINES[family](), method_of(family, name)
    counted: list[int] = []
    forward = pipe.transformer.forward

    def count(*args: Any, **kwargs: Any) -> Any:
        with FlopMeter() as meter:
            output = forward(*args, **kwargs)
        counted.append(meter.total)
        return output

    with toca.cached(pipe, method):
        pipe.transformer.forward = count
        pipe(**pipeline_arguments(family, STEPS))
        del pipe.transformer.forward
        summary = toca.summary(pipe)
    assert len(counted) == STEPS and summary.flops == sum(counted)
    options: dict[str, Any] = {
        "dit": {"batch_size": 4},
        # The prompt is padded.
        "pixart": {"batch_size": 2, "text_tokens": 120},
        "flux": {"batch_size": 1, "text_tokens": TEXT_TOKENS, "height": 16, "width": 16},
        # A single prompt is cut to its words.
        "latte": {"batch_size": 2, "text_tokens": 7},
    }[family]
    predicted = method.plan(pipe.transformer, STEPS).cost(batched_cfg=family != "flux", **options)
    assert (predicted.flops, predicted.cache_bytes) == (summary.flops, summary.cache_bytes)


@pytest.mark.parametrize(
    ("family", "model"),
    [
        ("dit", {"num_layers": 1}),
        ("dit", {"patch_size": 4}),
        ("pixart", {"sample_size": 128, "attention_head_dim": 24, "cross_attention_dim": 48}),
        ("pixart", {"num_layers": 5, "activation_fn": "geglu"}),
        ("flux", {"guidance_embeds": False}),
        ("flux", {"num_layers": 0}),
        ("latte", {"num_layers": 1, "activation_fn": "geglu"}),
    ],
)
def test_other_configurations(family: str, model: dict[str, Any]) -> None:
    transformer, method = TINY[family](**model), method_of(family, "self")
    inputs = inputs_for(family, STEPS)
    if model == {"guidance_embeds": False}:
        inputs = [call | {"guidance": None} for call in inputs]
    if "sample_size" in model:
        extra = {"resolution": torch.tensor([[64.0, 64.0]]), "aspect_ratio": torch.tensor([[1.0]])}
        inputs = [call | {"added_cond_kwargs": extra} for call in inputs]
    predicted = method.plan(transformer, STEPS).cost(**options_for(family, 1, (16, 16)))
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        counted = counted_flops(transformer, inputs[:-1])
        assert held_bytes(transformer) == predicted.cache_bytes
        assert counted + counted_flops(transformer, inputs[-1:]) == predicted.flops == toca.summary(transformer).flops


@pytest.mark.parametrize(
    ("option", "value"), [("batch_size", 0), ("height", -2), ("height", 15), ("width", 7), ("num_frames", 0)]
)
def test_wrong_sizes(option: str, value: int) -> None:
    plan = toca.FORA().plan(TINY["latte"](), STEPS)
    with pytest.raises(ValueError, match=rf"`{option}` must .* got {value}\."):
        plan.cost(**{option: value})


def test_wrong_text() -> None:
    plan = toca.FORA().plan(TINY["pixart"](), STEPS)
    with pytest.raises(ValueError, match=r"`text_tokens` must .* got -1\."):
        plan.cost(text_tokens=-1)


@every_family
def test_cost_runs_nothing(family: str) -> None:
    """A model without weights will do."""
    with torch.device("meta"):
        transformer = type(TINY[family]())(**_config(TINY[family]()))
    real = method_of(family, "preset").plan(TINY[family](), STEPS)
    assert method_of(family, "preset").plan(transformer, STEPS).cost() == real.cost()


def _config(transformer: Any) -> dict[str, Any]:
    return {name: value for name, value in transformer.config.items() if not name.startswith("_")}


@every_family
def test_speedup_grows_with_the_interval(family: str) -> None:
    transformer = TINY[family]()
    speedups = [toca.FORA(interval=n).plan(transformer, 48).cost().flops_speedup for n in (1, 2, 3, 4, 6)]
    assert speedups[0] == 1 and speedups == sorted(speedups) and speedups[-1] > 2
    assert cached_run(transformer, toca.FORA(), inputs_for(family, 2))
