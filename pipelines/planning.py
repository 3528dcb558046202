"""The plan that a generation follows, told before it runs."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

import toca
from toca.models import family_of
from toca.pipelines.call_sizes import call_sizes
from toca.pipelines.config import GenerationConfig
from toca.pipelines.skeleton import Skeleton

_SHIFTED_BY = {
    "base_seq_len": "base_image_seq_len",
    "max_seq_len": "max_image_seq_len",
    "base_shift": "base_shift",
    "max_shift": "max_shift",
}
"""The arguments of a pipeline's `calculate_shift`, each with the scheduler's setting that it is."""


def plan_of(method: Any, skeleton: Skeleton, config: GenerationConfig) -> toca.Plan:
    """The plan that a generation follows; a plan is itself.

    Args:
        method: a method or a plan.
        skeleton (`Skeleton`): the pipeline.
        config (`GenerationConfig`): what is generated.

    Raises:
        ValueError: if the method does not fit the model, its scheduler or the number of steps.
    """
    steps = config.num_inference_steps
    if not isinstance(method, toca.Plan):
        if skeleton.scheduler is not None:
            method.check_scheduler(skeleton.scheduler)
        timesteps = timesteps_of(skeleton, config) if method.reads_timesteps else ()
        return method.plan(skeleton.transformer, steps, timesteps)
    if method.num_inference_steps != steps:
        raise ValueError(f"The plan is for {method.num_inference_steps} steps, not for {steps}.")
    if method.origin is not None and skeleton.scheduler is not None:
        method.origin.check_scheduler(skeleton.scheduler)
        method.origin.check_timesteps(timesteps_of(skeleton, config))
    return method


def timesteps_of(skeleton: Skeleton, config: GenerationConfig) -> tuple[float, ...]:
    """The timesteps of a generation, as the pipeline has its scheduler set them; none where that is not known."""
    if skeleton.scheduler is None:
        return ()
    scheduler = type(skeleton.scheduler).from_config(skeleton.scheduler.config)
    told = _noise(skeleton, config)
    if told is None or not set(told) <= set(inspect.signature(scheduler.set_timesteps).parameters):
        return ()
    scheduler.set_timesteps(config.num_inference_steps, **told)
    return tuple(scheduler.timesteps.tolist())


def _noise(skeleton: Skeleton, config: GenerationConfig) -> dict[str, Any] | None:
    """What a pipeline of flow matching tells its scheduler: the noise of each step, shifted by the image's size;
    `None` of those that shift it by another rule (CogView 4, GLM-Image)."""
    shift = getattr(inspect.getmodule(skeleton.pipeline_class), "calculate_shift", None)
    family, settings = family_of(skeleton.transformer), skeleton.scheduler.config
    if shift is None or family is None:
        return {}
    if not set(_SHIFTED_BY) <= set(inspect.signature(shift).parameters):
        return None
    steps, sizes = config.num_inference_steps, call_sizes(skeleton, config)
    tokens = family.default_shape(skeleton.transformer.config, sizes["height"], sizes["width"], None, None).tokens
    # Of what a scheduler has no setting the pipelines pass the function's own defaults.
    known = {argument: settings[name] for argument, name in _SHIFTED_BY.items() if name in settings}
    told: dict[str, Any] = {"mu": shift(tokens, **known)}
    return told if settings.get("use_flow_sigmas") else {"sigmas": np.linspace(1.0, 1 / steps, steps), **told}
