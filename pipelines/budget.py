"""`--speedup`: the plan or the threshold that reaches a speed-up on a model, by the front that is at hand for it."""

from __future__ import annotations

from typing import Any

import toca
from toca.checks import checked
from toca.methods import Tuned
from toca.pipelines.method_options import find_method, override
from toca.plan.bounds import Budget
from toca.tuning.budget import told_threshold, with_threshold
from toca.tuning.rule import with_knob
from toca.tuning.saved import find_front


def check_budget(speedup: float, method: str | None, plan: str | None, settings: list[str]) -> None:
    """Refuse, before a model is loaded, what goes with no budget.

    Raises:
        ValueError: For a speed-up below 1, a plan, which is what it is, a method without a threshold, or settings of
            no method.
    """
    checked(speedup, Budget, "speedup")
    if plan is not None:
        raise ValueError("A plan is as fast as it is: give --plan or --speedup, not both.")
    if method is None and settings:
        raise ValueError("--set needs --method beside --speedup: a tuned plan has no fields.")
    found = None if method is None else find_method(method)
    if isinstance(found, toca.Plan):
        raise ValueError("A plan is as fast as it is: give its file with --method or --speedup, not both.")
    if isinstance(found, toca.Method) and not isinstance(found, Tuned):
        with_knob([found])


def with_budget(
    pipe: Any, model: str, speedup: float, method: str | None, settings: list[str], steps: int | None, usual_steps: int
) -> tuple[Any, str]:
    """What reaches a speed-up, and what to call it.

    Args:
        pipe: the diffusers pipeline.
        model (`str`): as the user named it.
        speedup (`float`): how many times as fast as the full run.
        method (`str`, *optional*): a method that has a threshold; none for a tuned plan.
        settings (`list[str]`): further fields of the method.
        steps (`int`, *optional*): where the user told them: the plan has so many. Else it may have fewer than the full
            run that it was compared to.
        usual_steps (`int`): of the model, by which one of several fronts is told.

    Raises:
        ValueError: if there is no front, which says what makes one, or nothing in it is so fast.
    """
    found = Tuned() if method is None else find_method(method)
    tuned = isinstance(found, Tuned)
    # A plan may say how many steps it has; a method runs in those that are usual, and its threshold is for so many.
    wanted = steps if tuned else steps or usual_steps
    front = find_front(pipe, wanted, usual_steps, model, for_thresholds=not tuned).front
    if tuned:
        return front.plan(speedup=speedup, num_inference_steps=steps), f"tuned speedup={speedup:g}"
    set_to = override(with_threshold(pipe, front, found, speedup, model), settings)
    return set_to, " ".join([str(method), told_threshold(set_to), *settings])
