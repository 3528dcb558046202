"""Images and videos from a loaded pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

import toca
from toca.pipelines.arguments import call_arguments, makes_video
from toca.pipelines.config import GenerationConfig

Frames = list[Image.Image]


@dataclass(frozen=True)
class Sample:
    """One generated image or video.

    Args:
        index (`int`): its number; its noise comes from `seed + index`.
        batch (`range`): the numbers of all images computed together with it.
        frames (`list[PIL.Image.Image]`): the frames of a video, or one image.
        is_video (`bool`): whether the pipeline makes videos.
    """

    index: int
    batch: range
    frames: Frames
    is_video: bool = False

    @property
    def image(self) -> Image.Image:
        return self.frames[0]


@dataclass(frozen=True)
class GenerationResult:
    """All samples of one call.

    Args:
        samples (`list[Sample]`): in the order of their indices.
        summary (`toca.Summary` or `None`): of the last batch; `None` if no method was on.
    """

    samples: list[Sample]
    summary: Any | None


Done = Callable[[list[Sample], Any | None], None]


@dataclass(frozen=True)
class Keeping:
    """What features are kept in between steps, and where, as for `toca.enable_cache`.

    Args:
        cache_dtype (`str`, *optional*): `"bf16"`, `"fp16"` or `"fp8"`; as they are computed by default.
        cache_device (`str`, *optional*): `"cpu"` for the machine's memory; the device that computes by default.
        max_cache_bytes (`int`, *optional*): bytes that they may take on that device; any number by default.
    """

    cache_dtype: str | None = None
    cache_device: str | None = None
    max_cache_bytes: int | None = None


FREELY = Keeping()
"""As they are computed, and as many as there are."""


@torch.no_grad()
def generate(
    pipe: Any,
    config: GenerationConfig,
    method: Any | None = None,
    done: Done | None = None,
    keeping: Keeping = FREELY,
) -> GenerationResult:
    """Generate `config.num_images` images or videos.

    Args:
        pipe: a diffusers pipeline.
        config (`GenerationConfig`): what to make.
        method: a method object, preset name or `toca.Plan`; `None` runs the pipeline as it is.
        done (`Callable[[list[Sample], toca.Summary | None], None]`, *optional*): called after each batch with what
            it made, so that this can be saved before the next one may fail.
        keeping (`Keeping`, *optional*): what features are kept in.

    Raises:
        ValueError: if the pipeline cannot do what `config` asks, or does not support the method.
    """
    samples: list[Sample] = []
    summary = None
    with cached_for(pipe, method, config.num_inference_steps, keeping):
        for batch in config.batches():
            made = run_batch(pipe, config, batch)
            summary = None if method is None else toca.summary(pipe)
            if done is not None:
                done(made, summary)
            samples += made
    return GenerationResult(samples, summary)


def cached_for(
    pipe: Any, method: Any | None, steps: int, keeping: Keeping = FREELY
) -> contextlib.AbstractContextManager:
    """The method on the pipeline; no change for `None`. Raises `ValueError` for a plan of another number of steps."""
    if isinstance(method, toca.Plan) and method.num_inference_steps != steps:
        raise ValueError(f"The plan is for {method.num_inference_steps} steps, not for {steps}.")
    return contextlib.nullcontext() if method is None else toca.cached(pipe, method, **asdict(keeping))


def run_batch(pipe: Any, config: GenerationConfig, batch: range) -> list[Sample]:
    """Run the pipeline once, for the samples of one batch."""
    try:
        with np.errstate(invalid="raise"):
            output = pipe(**call_arguments(pipe, config, batch))
    except FloatingPointError as error:
        raise ValueError(
            "The picture is of no numbers (NaN): the model's weights are damaged, or too large for the precision; try "
            "--dtype float32."
        ) from error
    except AttributeError as error:
        if error.obj is not pipe.scheduler:
            raise
        # A folder may hold any scheduler, and not every pipeline works with any.
        name = type(pipe.scheduler).__name__
        raise ValueError(f"{type(pipe).__name__} cannot work with {name}, which has no {error.name}.") from error
    except IndexError as error:
        if config.num_inference_steps > 1:
            raise
        # PixArt's pipeline takes a result of the scheduler that only a few schedulers have.
        name = type(pipe.scheduler).__name__
        raise ValueError(f"{type(pipe).__name__} cannot work in one step with {name}: take 2 or more.") from error
    if makes_video(type(pipe)):
        return [Sample(index, batch, list(frames), True) for index, frames in zip(batch, output.frames, strict=True)]
    return [Sample(index, batch, [image]) for index, image in zip(batch, output.images, strict=True)]


@contextlib.contextmanager
def progress_bar(pipe: Any, description: str | None) -> Iterator[None]:
    """Show the pipeline's own progress bar on a terminal, or none if `description` is `None`; put its setting back."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    # tqdm reads disable=None as "only on a terminal".
    pipe.set_progress_bar_config(desc=description, disable=True if description is None else None, leave=False)
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)
