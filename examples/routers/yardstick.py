"""What a method does to a model's pictures: how close they come to those of full steps, what it saves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

import toca
from toca.axes.sampling import Sampling
from toca.axes.spans import Span
from toca.methods import Method
from toca.models import Site
from toca.pipelines.loading import load
from toca.pipelines.registry import find_model

from .conditions import asking_for, settings_of_call


@dataclass(frozen=True)
class Spread(Method):
    """Plain reuse: full steps as evenly spread as they can be, the first and the last among them.

    Args:
        full_steps (`int`): How many.
        whole (`bool`): Whether the others reuse what the whole stack of blocks adds, or each site's output.
    """

    full_steps: int
    whole: bool

    name: ClassVar[str] = "spread"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        gap = (sampling.num_inference_steps - 1) / max(1, self.full_steps - 1)
        return step in {round(i * gap) for i in range(self.full_steps)}

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers),) if self.whole else ()


@dataclass(frozen=True)
class Outcome:
    """What a method came to.

    Args:
        computed (`float`): Share of sites computed, over all steps.
        flops (`float`): FLOPs of full steps over its own, as measured.
        clock (`float`): The same of processor seconds of the transformer.
        psnr (`float`): To the pictures of full steps, in dB, mean over the pictures.
    """

    computed: float
    flops: float
    clock: float
    psnr: float


class Yardstick:
    """Captions, and their pictures in full steps.

    Args:
        model (`str`): A named model.
        captions (`Sequence[str]`): One picture each; a class-conditional model's classes.
        num_inference_steps (`int`): Number of steps.
        seed (`int`): The noise of picture i is drawn from seed + i.
    """

    def __init__(self, model: str, captions: Sequence[str], num_inference_steps: int, seed: int):
        self.pipe = load(model, device="cpu")
        self.pipe.set_progress_bar_config(disable=True)
        entry = find_model(model)
        scale = 1.0 if entry is None else entry.guidance_scale
        self.steps, self.captions, self.seed = num_inference_steps, captions, seed
        self.settings = settings_of_call(self.pipe, num_inference_steps, scale)
        self.full, self._seconds = self._pictures()

    def measure(self, method: Method) -> Outcome:
        """The pictures with a method, against those without."""
        with toca.cached(self.pipe, method):
            pictures, seconds = self._pictures()
            flops = toca.summary(self.pipe).flops_speedup
        errors = np.square(pictures - self.full).mean((1, 2, 3))
        plan = method.plan(self.pipe.transformer, self.steps)
        computed = np.mean([action.kind == "compute" for row in plan.table for action in row])
        psnr = (-10 * np.log10(np.maximum(errors, 1e-12))).mean()
        return Outcome(float(computed), flops, self._seconds / seconds, float(psnr))

    def _pictures(self) -> tuple[np.ndarray, float]:
        """One picture a caption by the stock pipeline, (captions, height, width, 3) in 0..1, and the processor seconds
        of its transformer."""
        generators = [torch.Generator().manual_seed(self.seed + i) for i in range(len(self.captions))]
        asked = asking_for(self.pipe, self.captions)
        with _stopwatch(self.pipe.transformer) as seconds:
            images = self.pipe(**asked, **self.settings, generator=generators, output_type="np").images
        return np.asarray(images, dtype=np.float64), sum(seconds)


@contextmanager
def _stopwatch(transformer: nn.Module) -> Iterator[list[float]]:
    """Processor seconds of each call, with what a cache does before and after it."""
    seconds: list[float] = []
    begin = transformer.register_forward_pre_hook(lambda *_: seconds.append(-time.process_time()), prepend=True)

    def end(*_: Any) -> None:
        seconds[-1] += time.process_time()

    handle = transformer.register_forward_hook(end)
    try:
        yield seconds
    finally:
        begin.remove()
        handle.remove()


class Reuse:
    """Plain reuse at any speed-up: between two numbers of full steps, the straight line.

    Args:
        yardstick (`Yardstick`): What it is measured with; each number of steps once.
        whole (`bool`): As of `Spread`.
    """

    def __init__(self, yardstick: Yardstick, whole: bool):
        self.yardstick, self.whole = yardstick, whole
        self._measured: dict[int, Outcome] = {}

    def at(self, speedup: float, by: str = "flops") -> Outcome:
        """What it comes to at a speed-up by FLOPs, or by `"clock"`; at the least with one step filled."""
        most = self.yardstick.steps - 1
        count = min(most, int(self.yardstick.steps / speedup))
        while count > 1 and getattr(self._with(count), by) < speedup:
            count -= 1
        fast = self._with(count)
        if count == most or getattr(fast, by) <= speedup:
            return fast
        slow = self._with(count + 1)
        low, high = 1 / getattr(fast, by), 1 / getattr(slow, by)
        share = min(1.0, (1 / speedup - low) / (high - low))
        values = zip(astuple(fast), astuple(slow), strict=True)
        return Outcome(*((1 - share) * quick + share * long for quick, long in values))

    def _with(self, count: int) -> Outcome:
        if count not in self._measured:
            self._measured[count] = self.yardstick.measure(Spread(count, self.whole))
        return self._measured[count]
