"""Generations of a stock pipeline, one sample a call, with what they made and how long each step took."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..api import cached, summary
from ..methods import Method
from ..plan import Plan
from .clock import LoopClock

PEAK_TO_ROUNDING = 2.0**24
"""The largest value of a picture, 1, over what float32 rounds it by: no PSNR is above this one's."""


@dataclass(frozen=True)
class Generation:
    """One sample.

    Args:
        sample (`np.ndarray`): As the pipeline returns it, a float picture (H, W, 3) or video, or latents.
        step_seconds (`tuple[float, ...]`): Of each step of the loop.
        steps (`str`): One letter a step, as in a summary; all F without a method.
    """

    sample: np.ndarray
    step_seconds: tuple[float, ...]
    steps: str

    @property
    def seconds(self) -> float:
        """Of the denoising loop."""
        return sum(self.step_seconds)


class Generations:
    """Makes samples with a pipeline on which no cache is.

    Args:
        pipe (`DiffusionPipeline`): The pipeline.
        num_inference_steps (`int`, *optional*): Steps; the pipeline's own where not told.
        call (`Mapping`, *optional*): Further arguments of its call. Pictures are asked for as floats, unless
            `output_type` says otherwise.

    Attributes:
        made (`int`): Samples so far.
    """

    def __init__(self, pipe: Any, num_inference_steps: int | None = None, call: Mapping[str, Any] | None = None):
        self.pipe = pipe
        steps = {} if num_inference_steps is None else {"num_inference_steps": num_inference_steps}
        self._call = {"output_type": "np", **(call or {}), **steps, "return_dict": False}
        self.made = 0

    @torch.no_grad()
    def make(self, prompt: Any, seed: int, method: Method | Plan | None = None) -> Generation:
        """One sample.

        Args:
            prompt: What the pipeline's call takes first, for one sample; or a mapping of arguments.
            seed (`int`): Of its noise.
            method (*optional*): The cache that is on meanwhile.
        """
        first = () if isinstance(prompt, Mapping) else ([prompt],)
        arguments = {**self._call, **(prompt if isinstance(prompt, Mapping) else {})}
        arguments["generator"] = torch.Generator("cpu").manual_seed(seed)
        on = contextlib.nullcontext() if method is None else cached(self.pipe, method)
        with on, quiet(self.pipe):
            with LoopClock(self.pipe) as clock:
                made = self.pipe(*first, **arguments)[0][0]
            seconds = tuple(clock.step_seconds)
            steps = "F" * len(seconds) if method is None else summary(self.pipe).steps
        self.made += 1
        return Generation(_as_array(made), seconds, steps)


def _as_array(sample: Any) -> np.ndarray:
    array = sample.float().cpu().numpy() if isinstance(sample, torch.Tensor) else np.asarray(sample)
    return array.astype(np.float32, copy=False)


def psnr(sample: np.ndarray, reference: np.ndarray) -> float:
    """Decibels, for values from 0 to 1; of equal ones what float32 can tell at most, 144.5."""
    error = float(np.mean((sample.astype(np.float64) - reference) ** 2))
    return float(10 * np.log10(1 / max(error, PEAK_TO_ROUNDING**-2)))


@contextlib.contextmanager
def quiet(pipe: Any) -> Iterator[None]:
    """A pipeline without its own progress bar, for the length of a `with` block."""
    had = vars(pipe).get("_progress_bar_config")
    pipe.set_progress_bar_config(**{**(had or {}), "disable": True})
    try:
        yield
    finally:
        if had is None:
            del pipe._progress_bar_config
        else:
            pipe._progress_bar_config = had
