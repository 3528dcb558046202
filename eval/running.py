"""One call of a pipeline: pictures, what the cache did, and the time it took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from PIL import Image

import toca
from toca.eval.latency import synchronize
from toca.eval.loop_clock import LoopClock
from toca.eval.noise import generators
from toca.eval.prompts import Item
from toca.eval.subject import Subject
from toca.eval.variants import Variant
from toca.pipelines.arguments import call_arguments, class_id, makes_video
from toca.pipelines.generate import cached_for, progress_bar


@dataclass(frozen=True)
class Facts:
    """What a call did.

    Args:
        calls (`int`): Transformer calls.
        steps (`str`): One letter a step; empty without a cache.
        flops, flops_full (`int`): FLOPs of all calls, and the same uncached; 0 without a cache, which counts none.
        cache_bytes (`int`): Bytes kept between steps.
        bypassed (`int`): Calls that ran past the cache.
    """

    calls: int
    steps: str = ""
    flops: int = 0
    flops_full: int = 0
    cache_bytes: int = 0
    bypassed: int = 0

    @property
    def flops_speedup(self) -> float:
        """1 where nothing was skipped, and without a cache."""
        return self.flops_full / self.flops if self.flops else 1.0


@dataclass(frozen=True)
class Run:
    """One call of a pipeline.

    Args:
        frames (`list[list[PIL.Image.Image]]`): The frames of each sample; one for a picture.
        facts (`Facts`): What the cache did.
        loop_seconds (`float`): From the first transformer call to the end of the last.
        total_seconds (`float`): From prompts to pictures.
    """

    frames: list[list[Image.Image]]
    facts: Facts
    loop_seconds: float
    total_seconds: float


@torch.no_grad()
def run_items(subject: Subject, variant: Variant, items: list[Item], seed: int) -> Run:
    """Make the samples of one batch. Putting the cache on and off is outside the time."""
    config = replace(subject.config, num_inference_steps=variant.steps or subject.steps)
    pipe = subject.pipe
    arguments = call_arguments(pipe, replace(config, prompt=items[0].prompt.text), range(len(items)))
    arguments |= {"generator": generators(seed, [item.key for item in items])}
    texts = [item.prompt.text for item in items]
    if "class_labels" in arguments:
        arguments["class_labels"] = [class_id(pipe, text) for text in texts]
    else:
        arguments["prompt"] = texts
    with progress_bar(pipe, None), switched_on(pipe, variant.method, config.num_inference_steps) as summarize:
        with LoopClock(_transformers(pipe)) as clock:
            synchronize()
            start = time.perf_counter()
            output = pipe(**arguments)
            synchronize()
            seconds = time.perf_counter() - start
        facts = _facts(clock.calls, summarize())
    return Run(_frames(pipe, output), facts, clock.seconds, seconds)


@contextlib.contextmanager
def switched_on(pipe: Any, method: Any | None, steps: int) -> Iterator[Callable[[], Any | None]]:
    """A method or a peer on the pipeline for the length of a `with` block; nothing for `None`.

    A peer is what has a way onto a pipeline of its own, `on`; all else is ours.

    Yields:
        `Callable`: Tells what was done, with the attributes of `toca.Summary` that `Facts` has; `None` without a
            cache. To be asked last: a peer is off the pipeline afterwards.
    """
    own = getattr(method, "on", None)
    if own is None:
        with cached_for(pipe, method, steps):
            yield partial(toca.summary, pipe) if method is not None else lambda: None
    else:
        with own(pipe, steps) as session:
            yield session.summary


def _transformers(pipe: Any) -> list[torch.nn.Module]:
    parts = (getattr(pipe, name, None) for name in ("transformer", "transformer_2"))
    return [part for part in parts if part is not None]


def _facts(calls: int, summary: Any | None) -> Facts:
    if summary is None:
        return Facts(calls)
    return Facts(
        calls=calls,
        steps=summary.steps,
        flops=summary.flops,
        flops_full=summary.flops_full,
        cache_bytes=summary.cache_bytes,
        bypassed=summary.bypassed,
    )


def _frames(pipe: Any, output: Any) -> list[list[Image.Image]]:
    if makes_video(type(pipe)):
        return [list(frames) for frames in output.frames]
    return [[image] for image in output.images]
