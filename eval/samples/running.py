"""One call of a pipeline: its pictures, and what the cache did. Nothing is timed here."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

import toca
from toca.eval.peers import Peer, Work
from toca.eval.peers.denoisers import transformers_of
from toca.eval.samples.noise import generators
from toca.eval.samples.prompts import Item
from toca.eval.samples.subject import Subject
from toca.eval.store.sealed import digest
from toca.eval.variants import Compared, Variant
from toca.hooks.calls import CallWatch
from toca.pipelines.arguments import call_arguments, class_id, makes_video
from toca.pipelines.generate import cached_for, progress_bar

Told: TypeAlias = toca.Summary | Work
"""What a cache says that it did."""


@dataclass(frozen=True)
class Facts:
    """What a call did.

    Args:
        calls (`int`): Transformer calls.
        steps (`str`): One letter a step; empty without a cache.
        flops, flops_full (`int`): FLOPs of all calls by the cache's own account, and the same uncached; 0 without a
            cache, which keeps none.
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
        floats (`np.ndarray`, *optional*): The same before they were rounded to 8 bits: (n, frames, height, width, 3),
            float32 in 0..1. `None` where nobody asked, or the pipeline hands out nothing finer than `frames`.
    """

    frames: list[list[Image.Image]]
    facts: Facts
    floats: np.ndarray | None = None


def identity_of(subject: Subject, variant: Variant, items: str, seed: int, code: str) -> dict[str, Any]:
    """What all that is found of a variant on some samples depends on, as plain data.

    Args:
        subject (`Subject`): The pipeline.
        variant (`Variant`): What is on it.
        items (`str`): What `digest_of` says of the samples: of thirty thousand the list would fill each file.
        seed (`int`): Of the run.
        code (`str`): Hash of the sources.
    """
    return {
        **subject.identity(),
        **variant.describe(),
        "items": items,
        "seed": seed,
        "code": code,
    }


def digest_of(items: Sequence[Item]) -> str:
    """What tells samples from all others: how many they are, and a hash of their prompts and numbers."""
    return f"{len(items)} {digest([(item.prompt.id, item.prompt.text, item.sample) for item in items])}"


@torch.no_grad()
def run_items(subject: Subject, variant: Variant, items: list[Item], seed: int, floats: bool = False) -> Run:
    """Make the samples of one batch.

    Args:
        subject (`Subject`), variant (`Variant`), items (`list[Item]`), seed (`int`): As for `ready`.
        floats (`bool`): Whether to ask for the pictures before they are rounded, too.

    Raises:
        ValueError: If a picture is of no numbers, which 8 bits would hide.
    """
    arguments = as_floats(subject.pipe) if floats else {}
    with ready(subject, variant, items, seed) as (call, summarize):
        with CallWatch(transformers_of(subject.pipe)) as watch:
            output = call(**arguments)
        facts = facts_of(watch.calls, summarize())
    made = _made(subject.pipe, output)
    if not isinstance(made, np.ndarray):
        return Run(made, facts)
    if not np.isfinite(made).all():
        raise ValueError("the pictures are of no numbers (NaN)")
    return Run([[_rounded(frame) for frame in sample] for sample in made], facts, made)


@contextlib.contextmanager
def ready(
    subject: Subject, variant: Variant, items: list[Item], seed: int
) -> Iterator[tuple[Callable[[], Any], Callable[[], Told | None]]]:
    """All that comes before and after the call of a pipeline for one batch: its arguments, new noise, and the cache,
    which is on for the length of a `with` block.

    Yields:
        `tuple[Callable, Callable]`: Makes the samples; to be called once. And what `switched_on` yields.
    """
    steps = variant.steps or subject.steps
    call = partial(subject.pipe, **_arguments(subject, steps, items, seed))
    with progress_bar(subject.pipe, None), switched_on(subject.pipe, variant.method, steps) as summarize:
        yield call, summarize


def _arguments(subject: Subject, steps: int, items: list[Item], seed: int) -> dict[str, Any]:
    noise = {"generator": generators(seed, [item.key for item in items])}
    if subject.inputs is not None:
        return {**subject.inputs, "num_inference_steps": steps, **noise}
    config = replace(subject.config, num_inference_steps=steps, prompt=items[0].prompt.text)
    arguments = call_arguments(subject.pipe, config, range(len(items)))
    texts = [item.prompt.text for item in items]
    if "class_labels" in arguments:
        arguments["class_labels"] = [class_id(subject.pipe, text) for text in texts]
    else:
        arguments["prompt"] = texts
    return {**arguments, **noise}


@contextlib.contextmanager
def switched_on(pipe: Any, method: Compared | None, steps: int) -> Iterator[Callable[[], Told | None]]:
    """A method or a peer on the pipeline for the length of a `with` block; nothing for `None`.

    Yields:
        `Callable`: Tells what was done, with the attributes of `toca.Summary` that `Facts` has; `None` without a
            cache. To be asked last: a peer is off the pipeline afterwards.
    """
    if isinstance(method, Peer):
        with method.on(pipe, steps) as session:
            yield session.summary
    else:
        with cached_for(pipe, method, steps):
            yield partial(toca.summary, pipe) if method is not None else lambda: None


def facts_of(calls: int, summary: Told | None) -> Facts:
    """The facts of a call of so many transformer calls; the summary is that of `switched_on`."""
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


def as_floats(pipe: Any) -> dict[str, Any]:
    """What asks a pipeline for pictures that are not rounded, if it takes it."""
    return {"output_type": "np"} if "output_type" in inspect.signature(type(pipe).__call__).parameters else {}


def _made(pipe: Any, output: Any) -> list[list[Image.Image]] | np.ndarray:
    """The frames of each sample, or all of them as floats where the pipeline made such."""
    video = makes_video(type(pipe))
    made = output.frames if video else output.images
    if not isinstance(made, np.ndarray):
        return [list(frames) for frames in made] if video else [[image] for image in made]
    pictures = (made if video else made[:, None]).astype(np.float32, copy=False)
    # A grey picture is one channel here, and three in its file.
    return np.repeat(pictures, 3, axis=-1) if pictures.shape[-1] == 1 else pictures


def _rounded(frame: np.ndarray) -> Image.Image:
    """(height, width, 3) in 0..1 to 8 bits, as diffusers rounds what it hands out as PIL pictures."""
    return Image.fromarray((frame * 255).round().astype(np.uint8))
