"""What cannot be tuned, in one sentence each, before a search begins; and what of guidance a plan must not fill."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..api import cache_on
from ..checks import check, shown
from ..models import family_of, known_family

SAME_RUN = 1e-6
"""Mean squared error over mean square up to which two runs are one: 60 dB, more than 8 bits keep."""

LEAST_STEPS = 4
"""Of a generation: a full step and a filled one are timed between the first and the last."""


def check_prompts(prompts: Any) -> list[Any]:
    """The prompts that differ, in their order: two at least, for some are searched on, and others tell the quality.

    Args:
        prompts (`Sequence`): Texts or numbers of classes. Mappings, of a call's arguments, each count as another.

    Raises:
        ValueError: If there are fewer, or one is empty.
    """
    if isinstance(prompts, (str, Mapping)) or not isinstance(prompts, Iterable):
        raise ValueError(f"`prompts` must be a list of prompts, got {shown(prompts)}.")
    found: dict[Any, Any] = {}
    for number, prompt in enumerate(prompts):
        if isinstance(prompt, str) and not prompt.strip():
            raise ValueError(f"`prompts`[{number}] is empty: leave it out.")
        found.setdefault(prompt if isinstance(prompt, Hashable) else id(prompt), prompt)
    if len(found) < 2:
        had = f"only {shown(*found.values())}" if found else "none"
        raise ValueError(
            "`prompts` must be two or more that differ, some to search on and others to tell the quality by; got "
            f"{had}."
        )
    return list(found.values())


def check_pipeline(pipe: Any) -> None:
    """Refuse a pipeline of which no plan can be searched.

    Raises:
        ValueError: If it is none, has several transformers or none that is known, a cache is on, or its scheduler
            cannot be followed from step to step.
    """
    on = cache_on(transformer_of(pipe))
    if on is not None:
        raise ValueError(f"{on} is on, and plans are searched for the model without one: take it off first.")
    scheduler = getattr(pipe, "scheduler", None)
    lacking = [name for name in ("step", "timesteps") if not hasattr(scheduler, name)]
    if lacking:
        whose = "no scheduler" if scheduler is None else f"{type(scheduler).__name__}, which has no `{lacking[0]}`"
        raise ValueError(f"This {type(pipe).__name__} has {whose}: plans are made for the steps of a scheduler.")


def check_enough_steps(steps: int) -> None:
    """Refuse a generation of so few steps that none between the first and the last can be left to be filled. Raises
    `ValueError`."""
    check(steps >= LEAST_STEPS, "num_inference_steps", steps, f"must be at least {LEAST_STEPS} for a plan to be tuned")


def transformer_of(pipe: Any) -> nn.Module:
    """The one transformer of a pipeline.

    Raises:
        ValueError: If it is no pipeline, or has several, or none that is supported.
    """
    if not isinstance(getattr(pipe, "components", None), Mapping):
        raise ValueError(f"`pipe` must be a pipeline, whose scheduler tells the steps, got {type(pipe).__name__}.")
    modules = [getattr(part, "_orig_mod", part) for part in pipe.components.values() if isinstance(part, nn.Module)]
    found = list(dict.fromkeys(module for module in modules if family_of(module) is not None))
    if len(found) > 1:
        raise ValueError(
            f"{type(pipe).__name__} has {len(found)} transformers that take turns, and plans are tuned for one: tune "
            "a pipeline with one of them alone."
        )
    if not found:
        known_family(getattr(pipe, "transformer", pipe))
    return found[0]


def check_one_call_a_step(scheduler: Any, num_inference_steps: int, timesteps: Sequence[float]) -> None:
    """Refuse a scheduler that calls the model more often than it has steps, such as Heun's: the steps of a plan would
    not be those that users count.

    Args:
        scheduler: The pipeline's.
        num_inference_steps (`int`): Steps that were asked for.
        timesteps (`Sequence[float]`): Of the calls of the model that came of it, whatever the branches of guidance.

    Raises:
        ValueError: It names the scheduler, and what to take in its place.
    """
    if len(timesteps) > num_inference_steps:
        raise ValueError(
            f"{type(scheduler).__name__} calls the model {len(timesteps)} times in {num_inference_steps} steps, for "
            "which no plan can be tuned: take a scheduler that calls it once a step, such as one of Euler's."
        )


def check_whole_schedule(steps: int, again: int) -> None:
    """Refuse a call that runs a part of its schedule (a picture to begin with, and a `strength` below 1): how many
    steps it must be asked for, to run as many as a plan has, is its own secret.

    Args:
        steps (`int`): Steps that the full run had.
        again (`int`): Steps that it had when it was asked for `steps`.

    Raises:
        ValueError: If they differ.
    """
    if steps != again:
        raise ValueError(
            f"The pipeline ran {again} steps when it was asked for {steps}, so that it runs a part of its schedule: "
            "tune it for all of it (with `strength` 1)."
        )


def check_reproducible(end: torch.Tensor, again: torch.Tensor) -> None:
    """Refuse a pipeline whose full run is another each time: what a plan does to it could not be told from chance. A
    scheduler that draws noise is welcome where the call's generators reach it.

    Args:
        end, again (`torch.Tensor`): (B, ...): where two full runs of the same prompts and seeds ended.

    Raises:
        ValueError: If they are apart by more than rounding, or not finite.
    """
    if not torch.isfinite(end).all():
        raise ValueError("The full run ends in numbers that are not finite, and nothing can be compared to them.")
    if end.shape != again.shape or not _apart(end.double(), again.double()) <= SAME_RUN:
        raise ValueError(
            "Two full runs of the same prompts and seeds end apart, so that no plan can be compared to them: let the "
            "pipeline take its noise from `generator` alone, and switch off what else is random."
        )


def _apart(end: torch.Tensor, again: torch.Tensor) -> float:
    """Mean squared error over mean square."""
    return float((end - again).square().mean() / end.square().mean().clamp_min(1e-30))


def steps_that_must_be_full(calls: Iterable[tuple[int, Hashable]]) -> frozenset[int]:
    """Steps in which a branch of guidance has nothing to go on from: it starts there (guidance that begins late), or
    has missed the step before. Where a plan fills such a step the branch is computed all the same, so that the step
    takes longer than the plan says.

    Args:
        calls (`Iterable[tuple[int, Hashable]]`): Step and branch of each call of a full run.

    Returns:
        `frozenset[int]`: The first step is always among them.
    """
    ran: dict[int, set[Hashable]] = {}
    for step, branch in calls:
        ran.setdefault(step, set()).add(branch)
    return frozenset(step for step in ran if ran[step] - ran.get(step - 1, set()))
