"""Never a silent no-op: what cannot be cached is refused with a sentence that helps, and nothing is left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    FirstBlockCacheConfig,
    PyramidAttentionBroadcastConfig,
    UNet2DModel,
)
from diffusers.hooks import apply_first_block_cache, apply_pyramid_attention_broadcast
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

import toca

from ..helpers import FAMILIES, TINY, TINY_PIPELINES, inputs_for, pipeline_arguments, run_steps, tiny_dit_pipeline
from .common import (
    STEPS,
    PipelineLike,
    assert_close,
    cached_run,
    differ,
    every_family,
    method_of,
    scheduler_for,
)
from .test_off_is_off import snapshot


def refuses(target: Any, method: Any, match: str, *models: nn.Module, **options: Any) -> None:
    """Enabling raises a ValueError that matches, and changes none of the models."""
    models = models or (target,)
    before = [snapshot(model) for model in models]
    with pytest.raises(ValueError, match=match):
        toca.enable_cache(target, method, **options)
    assert [snapshot(model) for model in models] == before


def replace_forward(module: nn.Module) -> None:
    """What an offloading hook or another cache does."""
    stock = module.forward
    module.forward = lambda *args, **kwargs: stock(*args, **kwargs)


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: PipelineLike(scheduler_for("flux"), m)], ids=["bare", "pipe"])
def test_unsupported_model(wrap: Any) -> None:
    model = nn.Linear(2, 2)
    refuses(wrap(model), "fora/dit", "Linear.* is of no family that is known", model, num_inference_steps=4)
    with pytest.raises(ValueError, match="Linear is of no family that is known"):
        toca.FORA().plan(model, 4)


def test_pipeline_without_a_transformer() -> None:
    unet = UNet2DModel(block_out_channels=(32,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))
    refuses(PipelineLike(scheduler_for("dit"), unet), "fora/dit", "UNet2DModel, which is a convolutional U-Net", unet)


@every_family
def test_cache_already_on(family: str) -> None:
    transformer = TINY[family]()
    inputs = inputs_for(family, STEPS)
    wanted = cached_run(transformer, toca.FORA(), inputs)
    toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
    with pytest.raises(ValueError, match="already on.*disable_cache"):
        toca.enable_cache(transformer, method_of(family, "self"), num_inference_steps=STEPS)
    assert not differ(run_steps(transformer, inputs), wanted)


def test_cache_of_diffusers_already_on() -> None:
    transformer = TINY["flux"]()
    transformer.enable_cache(FirstBlockCacheConfig(threshold=0.05))
    refuses(transformer, toca.FORA(), "already on.*disable_cache", num_inference_steps=STEPS)


@pytest.mark.parametrize("family", ["dit", "pixart", "latte"])
@pytest.mark.parametrize("kind", ["first-block", "broadcast"])
def test_cache_of_diffusers_applied_by_hand(family: str, kind: str) -> None:
    """Models without `enable_cache` get diffusers' caches from functions, which leave no flag on the model."""
    transformer = TINY[family]()
    if kind == "first-block":
        apply_first_block_cache(transformer, FirstBlockCacheConfig(threshold=0.05))
    else:
        config = PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2,
            spatial_attention_block_identifiers=("transformer_blocks",),
            current_timestep_callback=lambda: 500,
        )
        apply_pyramid_attention_broadcast(transformer, config)
    refuses(transformer, toca.FORA(), "cache", num_inference_steps=STEPS)


@every_family
def test_bare_transformer_without_a_step_count(family: str) -> None:
    refuses(TINY[family](), toca.FORA(), "num_inference_steps")


@pytest.mark.parametrize("steps", [0, -3])
def test_step_count_below_one(steps: int) -> None:
    refuses(TINY["dit"](), toca.FORA(), f"num_inference_steps.*{steps}", num_inference_steps=steps)


@every_family
def test_unknown_preset_and_wrong_type(family: str) -> None:
    transformer = TINY[family]()
    refuses(transformer, "toca/sdxl", "toca/sdxl.*toca/pixart", num_inference_steps=STEPS)
    with pytest.raises(TypeError, match="dict"):
        toca.enable_cache(transformer, {"interval": 3}, num_inference_steps=STEPS)


@every_family
def test_plan_of_another_model(family: str) -> None:
    transformer = TINY[family]()
    for other in FAMILIES:
        plan = toca.FORA().plan(TINY[other](num_layers=4 if other == family else 2), STEPS)
        refuses(transformer, plan, "plan")
    wide = toca.FORA().plan(TINY["dit"](attention_head_dim=8), STEPS)
    refuses(TINY["dit"](), wide, "plan")


@every_family
def test_plan_of_another_step_count(family: str) -> None:
    transformer = TINY[family]()
    plan = toca.FORA().plan(transformer, STEPS)
    refuses(transformer, plan, f"{STEPS}.*5|5.*{STEPS}", num_inference_steps=5)


def test_plan_of_another_step_count_in_a_pipeline() -> None:
    """The count is known only when the pipeline runs; then it is refused, and the right count still works."""
    pipe = tiny_dit_pipeline()
    toca.enable_cache(pipe, toca.FORA(interval=2).plan(pipe.transformer, 6))
    with pytest.raises(ValueError, match="num_inference_steps=6"):
        pipe(**pipeline_arguments("dit", 5))
    pipe(**pipeline_arguments("dit", 6))
    assert toca.summary(pipe).steps.count("r") == 2


@pytest.mark.parametrize("family", ["dit", "pixart", "latte"])
def test_chunked_feed_forward(family: str) -> None:
    transformer = TINY[family]()
    transformer.transformer_blocks[-1].set_chunk_feed_forward(32, dim=1)
    refuses(transformer, toca.FORA(), "set_chunk_feed_forward", num_inference_steps=STEPS)


@pytest.mark.parametrize(
    ("family", "path"),
    [
        ("dit", "transformer_blocks.1.ff"),
        ("dit", "transformer_blocks.1.attn1"),
        ("pixart", "transformer_blocks.2.ff"),
        ("pixart", "transformer_blocks.2.attn2"),
        ("flux", "single_transformer_blocks.2"),
        ("flux", "transformer_blocks.0.attn"),
        ("flux", "transformer_blocks.1.ff_context"),
        ("latte", "temporal_transformer_blocks.1.ff"),
    ],
)
def test_forward_replaced_on_the_instance(family: str, path: str) -> None:
    transformer = TINY[family]()
    replace_forward(transformer.get_submodule(path))
    refuses(transformer, toca.FORA(), "forward.*replaced", num_inference_steps=STEPS)


def test_forward_replaced_where_nothing_is_kept() -> None:
    """FORA keeps what a single block of FLUX makes, and never looks at the attention inside."""
    transformer, inputs = TINY["flux"](), inputs_for("flux", STEPS)
    wanted = cached_run(transformer, toca.FORA(), inputs)
    replace_forward(transformer.single_transformer_blocks[0].attn)
    assert not differ(cached_run(transformer, toca.FORA(), inputs), wanted)


class Unknown:
    """An attention processor of the user's own, with another signature than the stock one."""

    def __call__(self, attn: nn.Module, hidden_states: Tensor, attention_mask: Any = None, **kwargs: Any) -> Tensor:
        return AttnProcessor()(attn, hidden_states, kwargs.get("encoder_hidden_states"), attention_mask)


@pytest.mark.parametrize("family", ["dit", "pixart", "latte"])
def test_unknown_processor(family: str) -> None:
    """Refused where it would have to be measured; fine where attention is only reused."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    wanted = {name: cached_run(transformer, method_of(family, name), inputs) for name in ("fora", "random")}
    for block in transformer.transformer_blocks:
        for attention in (block.attn1, block.attn2):
            if attention is not None:
                attention.set_processor(Unknown())
    for score in ("self_attention", "value_norm"):
        refuses(transformer, toca.ToCa(score=score), "Unknown.*AttnProcessor2_0", num_inference_steps=STEPS)
    # "random" gathers queries of cross-attention, which any processor can take.
    for name, outputs in wanted.items():
        assert_close(cached_run(transformer, method_of(family, name), inputs), outputs, 1e-4)


def test_second_transformer_that_fails_takes_the_first_off() -> None:
    one, two = TINY["dit"](0), TINY["dit"](1)
    replace_forward(two.transformer_blocks[2].ff)
    refuses(PipelineLike(scheduler_for("dit"), one, two), toca.FORA(), "replaced", one, two)


@every_family
def test_failed_enable_leaves_a_working_model(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    wanted = cached_run(transformer, method_of(family, "self"), inputs)
    last = [module for name, module in transformer.named_modules() if name.endswith(".ff")][-1]
    replace_forward(last)
    refuses(transformer, method_of(family, "self"), "replaced", num_inference_steps=STEPS)
    del last.forward
    assert not differ(cached_run(transformer, method_of(family, "self"), inputs), wanted)


@every_family
def test_summary_and_reset_without_a_cache(family: str) -> None:
    for call in (toca.summary, toca.reset):
        for target in (TINY[family](), TINY_PIPELINES[family]()):
            with pytest.raises(ValueError, match="enable_cache"):
                call(target)


@every_family
def test_summary_before_anything_ran(family: str) -> None:
    transformer = TINY[family]()
    with toca.cached(transformer, method_of(family, "preset"), num_inference_steps=STEPS):
        summary = toca.summary(transformer)
        assert summary.steps == "" and summary.flops == 0 and "nothing" in str(summary)
        with torch.no_grad():
            transformer(**inputs_for(family, STEPS)[0])
        assert toca.summary(transformer).steps == "F"


def test_chunks_set_while_on() -> None:
    transformer, inputs = TINY["pixart"](), inputs_for("pixart", STEPS)
    stock = run_steps(transformer, inputs)
    toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
    transformer.transformer_blocks[1].set_chunk_feed_forward(32, dim=1)
    for _ in range(2):  # again and again, not only once
        with pytest.raises(ValueError, match="set_chunk"):
            run_steps(transformer, inputs)
    assert_close(run_steps(toca.disable_cache(transformer), inputs), stock)


def test_pipeline_without_a_scheduler_needs_a_step_count() -> None:
    transformer = TINY["dit"]()
    refuses(PipelineLike(None, transformer), toca.FORA(), "num_inference_steps", transformer)
    plan = toca.FORA().plan(transformer, STEPS)
    with toca.cached(PipelineLike(None, transformer), plan):
        run_steps(transformer, inputs_for("dit", STEPS))
        assert toca.summary(transformer).steps == plan.steps
