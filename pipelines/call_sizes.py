"""How large the transformer calls of a generation are, told before it runs: what a plan's cost is reckoned with."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from toca.models import family_of
from toca.pipelines.arguments import call_defaults_of
from toca.pipelines.calibration import own_prompts
from toca.pipelines.config import GenerationConfig
from toca.pipelines.skeleton import Skeleton


def call_sizes(skeleton: Skeleton, config: GenerationConfig, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """The arguments of `toca.Plan.cost` for one batch of a generation.

    Args:
        skeleton (`Skeleton`): the pipeline.
        config (`GenerationConfig`): what is generated; what it leaves out is the model's own, else the pipeline's.
        dtype (`torch.dtype`, *optional*): of the weights; those of the skeleton by default.

    Raises:
        ValueError: if a size is none that the model can make.
    """
    call = _call(skeleton, config)
    family = family_of(skeleton.transformer)
    guided = family is not None and family.batched_cfg and (call.get("guidance_scale") or 0) > 1
    return {
        "batch_size": config.batch_size * (2 if guided else 1),
        "batched_cfg": guided,
        "height": _latent(call.get("height"), skeleton),
        "width": _latent(call.get("width"), skeleton),
        "num_frames": call.get("video_length", call.get("num_frames")),
        "text_tokens": _text_tokens(skeleton, config, call),
        "dtype": skeleton.transformer.dtype if dtype is None else dtype,
    }


def _call(skeleton: Skeleton, config: GenerationConfig) -> dict[str, Any]:
    """The arguments of the pipeline's call that decide about sizes, as `call_arguments` and the pipeline fill them."""
    parameters = inspect.signature(skeleton.pipeline_class.__call__).parameters
    defaults = {name: each.default for name, each in parameters.items() if each.default is not each.empty}
    given = {name: getattr(config, name) for name in ("height", "width", "guidance_scale")}
    given |= {name: config.num_frames for name in ("num_frames", "video_length") if name in parameters}
    own = call_defaults_of(skeleton.pipeline_class, skeleton.model)
    return {**defaults, **own, **{name: value for name, value in given.items() if value is not None}}


def _latent(pixels: int | None, skeleton: Skeleton) -> int | None:
    """Pixels to latent pixels: a VAE halves the size between its levels."""
    factor = 2 ** (len(skeleton.vae.get("block_out_channels", [0])) - 1)
    if pixels is None:
        return None
    if pixels % factor:
        raise ValueError(f"Height and width must be multiples of {factor} for this model, got {pixels}.")
    return pixels // factor


def _text_tokens(skeleton: Skeleton, config: GenerationConfig, call: dict[str, Any]) -> int | None:
    """Tokens of a prompt as the transformer gets it: padded to the longest, or cut to its own where the pipeline cuts
    a prompt that comes alone."""
    longest = call.get("max_sequence_length")
    if not call.get("mask_feature") or config.batch_size > 1:
        return longest
    prompt = config.prompt or next(iter(own_prompts(skeleton.model)), "")
    tokenizer = skeleton.tokenizer() if prompt else None
    if tokenizer is None:
        return longest
    family = family_of(skeleton.transformer)
    usual = family.default_shape(skeleton.transformer.config, None, None, None, None).text_tokens if family else None
    # The pipelines read prompts in lower case.
    return len(tokenizer(prompt.lower().strip(), max_length=longest or usual, truncation=True).input_ids)
