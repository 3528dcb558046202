"""Calibrating a pipeline for a method, and finding the calibration that a model comes with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toca.calibration.file import Calibration
from toca.engine.calibration_run import Recorder
from toca.files.reading import named, read_text
from toca.methods import Method
from toca.methods.calibrated import Calibrated
from toca.pipelines.config import GenerationConfig
from toca.pipelines.generate import generate, progress_bar
from toca.pipelines.loading import resolve_source
from toca.pipelines.prompts import known_prompts

PROMPTS = 16
"""How many of a model's own prompts are taken where none are given."""


def with_calibration(method: Any, model: str) -> Any:
    """A method that lacks its calibration, with the one that lies beside the model's weights, if one does.

    Args:
        method: a method, or a plan.
        model (`str`): a name, folder or hub id.
    """
    return method.beside(resolve_source(model)) if isinstance(method, Method) else method


def own_prompts(model: str) -> list[str]:
    """Some of the prompts that a model was trained on, from all over its list; none where it has no list."""
    known = known_prompts(resolve_source(model))
    return known[:: max(1, len(known) // PROMPTS)][:PROMPTS]


def read_prompts(path: Path) -> list[str]:
    """The prompts of a text file, one a line.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no prompt, or is no text.
    """
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {named(path)}.") from None
    except ValueError as error:
        raise ValueError(f"{named(path)} is no text file: {error}") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"{named(path)} holds no prompt: write one a line.")
    return prompts


def calibrate(
    pipe: Any, method: Calibrated, config: GenerationConfig, prompts: Iterable[str], model: str
) -> Calibration:
    """Run a stock pipeline on prompts, and measure what a method needs to know.

    Args:
        pipe: a diffusers pipeline.
        method (`Calibrated`): the method, with the fields that say what to measure.
        config (`GenerationConfig`): steps, guidance, size, and the seed of the first prompt's noise.
        prompts (`Iterable[str]`): one generation each; for class-conditional pipelines names of classes.
        model (`str`): what the user calls the pipeline, to be noted in the file.

    Raises:
        ValueError: if the pipeline cannot be calibrated, or cannot do what `config` asks.
    """
    done: list[str] = []
    size = (0, 0)
    with Recorder(pipe, method) as recorder, progress_bar(pipe, None):
        for prompt in prompts:
            one = dataclasses.replace(config, prompt=prompt, seed=config.seed + len(done))
            size = generate(pipe, one).samples[0].image.size
            done.append(prompt)
    width, height = size
    made = recorder.calibration(
        model=model, prompts=done, guidance_scale=config.guidance_scale, height=height, width=width, seed=config.seed
    )
    if made.num_inference_steps != config.num_inference_steps:
        raise ValueError(
            f"{type(pipe.scheduler).__name__} calls the model {made.num_inference_steps} times in "
            f"{config.num_inference_steps} steps, which cannot be calibrated: take another scheduler."
        )
    return made
