"""Tuning a pipeline: on which prompts, with which call, where a search that was stopped goes on, and what it found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import toca
from toca.checks import counted
from toca.files.user_folder import user_folder
from toca.pipelines.arguments import call_arguments, class_id, takes_argument
from toca.pipelines.config import GenerationConfig
from toca.plan.front import Front
from toca.plan.front_parts import Fewer, Rule
from toca.tuning.prompts import HELD_OUT, SEARCHED, parted, spread
from toca.tuning.rules import tune_rules

PROMPTS = SEARCHED + HELD_OUT
"""How many of a model's own prompts are taken where none are given."""

BUDGETS = (1.5, 2.0, 2.5, 3.0)
"""Speed-ups that a search is summed up at."""

_OF_EACH_RUN = ("prompt", "class_labels", "generator", "num_inference_steps")

TOO_FEW = "Tuning takes two prompts or more, some to search on and others to tell the quality by"


def conditions(pipe: Any, given: Sequence[str], count: int, model: str) -> list[Any]:
    """What a pipeline's samples are asked for: the prompts that are given, or the numbers of its classes.

    Args:
        pipe: the diffusers pipeline.
        given (`Sequence[str]`): prompts, or names and numbers of classes; none for all classes that have a name.
        count (`int`): how many to take at most where none are given.
        model (`str`): as the user named it, for a message.

    Raises:
        ValueError: if there is none, or only one; or if there is no such class.
    """
    labels = getattr(pipe, "labels", None) or {}
    found: list[Any] = list(given) or spread(sorted(set(labels.values())), count)
    if not found:
        raise ValueError(f"What should {model} draw? Name prompts, or classes, a line each, with --prompts-file.")
    if takes_argument(type(pipe), "class_labels"):
        found = [class_id(pipe, str(each)) for each in found]
    found = list(dict.fromkeys(found))
    if len(found) < 2:
        raise ValueError(f"{TOO_FEW}: got {found[0]!r} alone.")
    return found


def call_of(pipe: Any, config: GenerationConfig) -> dict[str, Any]:
    """The arguments of a pipeline's call that are the same for all samples."""
    arguments = call_arguments(pipe, config, range(1))
    return {name: value for name, value in arguments.items() if name not in _OF_EACH_RUN}


def state_path(output: Path | None, model: str, told: dict[str, Any]) -> Path:
    """Where a search keeps what it has measured until it is at its end: beside its output, else in the user's folder
    under a name that is its own."""
    if output is not None:
        return output.with_name(f"{output.stem}.search.json")
    key = hashlib.sha256(json.dumps([model, told], sort_keys=True, default=str).encode()).hexdigest()[:16]
    return user_folder() / "searches" / f"{Path(model).name}-{key}.json"


def add_rules(
    front: Front,
    pipe: Any,
    methods: Sequence[Any],
    prompts: Sequence[Any],
    config: GenerationConfig,
    told: Callable[[str, int], None],
) -> Front:
    """A front with the thresholds of some methods, which take the place of those it had for them.

    Raises:
        ValueError: If a method has no threshold, or comes to none of the speed-ups.
    """
    taken = parted(prompts)
    rules = tune_rules(
        pipe,
        methods,
        taken.searched,
        taken.held_out,
        num_inference_steps=front.num_inference_steps,
        call=call_of(pipe, config),
        seed=config.seed,
        told=told,
    )
    kept = [rule for rule in front.rules if rule.method not in {rule.method for rule in rules}]
    return replace(front, rules=(*kept, *rules))


def budgets_with(asked: float | None) -> list[float]:
    """Those that a search is summed up at, and one more that was asked for."""
    return sorted({*BUDGETS, *([asked] if asked is not None else [])})


def rows(front: Front, budgets: Sequence[float]) -> list[list[str]]:
    """A line of `COLUMNS` for each budget: the speed-up asked for, the plan that meets it, its speed-up and quality,
    and what fewer steps do at that speed."""
    return [[f"{budget:g}x", *_plan(front, budget), _fewer(front, budget)] for budget in budgets]


def thresholds(front: Front, budgets: Sequence[float]) -> list[list[str]]:
    """A line for each method that has thresholds: what it does at each budget in decibels, and by which threshold."""
    return [[rule.method, *(_threshold(rule, budget) for budget in budgets)] for rule in front.rules]


PLAN = "plan"
COLUMNS = ("asked", PLAN, "speed-up", "PSNR", "fewer steps")
NOTHING = "–"


def _plan(front: Front, budget: float) -> list[str]:
    try:
        entry = front.at(speedup=budget)
    except ValueError:
        return [NOTHING] * 3
    steps = entry.plan.steps if entry.num_inference_steps <= 60 else f"{entry.full_steps} full"
    return [steps, f"{entry.speedup:.2f}x", entry.psnr_text]


def _fewer(front: Front, budget: float) -> str:
    fast = [each for each in front.fewer if each.speedup >= budget]
    if not fast:
        return NOTHING
    best: Fewer = max(fast, key=lambda each: each.psnr)
    return f"{best.psnr:.1f} dB ({best.num_inference_steps})"


def _threshold(rule: Rule, budget: float) -> str:
    try:
        value, _, psnr = rule.at(budget)
    except ValueError:
        return NOTHING
    return f"{psnr:.1f} ({value:.3g})"


def took(front: Front) -> str:
    """What a search cost, in words; empty where it does not say."""
    calls, seconds = front.made_with.get("model_calls"), front.made_with.get("seconds")
    if not isinstance(calls, int) or not isinstance(seconds, (int, float)):
        return ""
    return (
        f"It took {calls:,} model calls in {seconds:.0f} s, on {counted(front.searched.prompts, 'prompt')}, and "
        f"on {counted(front.searched.held_out, 'other')} that the search never saw."
    )


def searched(
    pipe: Any,
    prompts: Sequence[Any],
    config: GenerationConfig,
    methods: Sequence[Any],
    state: Path,
    progress: Callable[[float, str], None],
) -> Front:
    """A front of a pipeline; what was measured is kept in `state` until it is whole.

    Raises:
        ValueError: If the pipeline cannot be tuned; it says why.
        OSError: If the state cannot be written.
    """
    return toca.tune(
        pipe,
        prompts,
        num_inference_steps=config.num_inference_steps,
        methods=methods,
        seed=config.seed,
        progress=progress,
        checkpoint=state,
        **call_of(pipe, config),
    )
