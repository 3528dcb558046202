"""From a speed-up that a user asks for to the method that reaches it, by the front of the model."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any, NamedTuple

from ..checks import checked, cleaned, shown
from ..methods import Method, Tuned
from ..methods.called import called
from ..plan import Plan
from ..plan.bounds import Budget
from ..plan.front import Front
from .rule import setting_for, with_knob
from .saved import find_front, tune_command


class Budgeted(NamedTuple):
    """A method for a budget, and what a summary says of how it was chosen."""

    method: Method
    about: str


def method_for(pipe: Any, name: Any, speedup: float, num_inference_steps: int | None = None) -> Budgeted:
    """What reaches a speed-up on a pipeline: the plan of its front, or a named method with the threshold that the
    front has for it.

    Args:
        pipe (`DiffusionPipeline`): The pipeline.
        name (`str` or `PathLike`, *optional*): Of a method or a preset that has a threshold, or what leads to a front
            (see `toca.methods.called`); none for the tuned plan.
        speedup (`float`): How many times as fast as the full run.
        num_inference_steps (`int`, *optional*): Where fronts of several numbers of steps are at hand.

    Raises:
        ValueError: If the speed-up is below 1, there is no front, or nothing in it is so fast; it says what to do.
    """
    speedup = checked(speedup, Budget, "speedup")
    if name is not None and not isinstance(name, (str, PathLike)):
        raise ValueError(f"A `speedup` goes with the name of a method, or with none, got {shown(name)}.")
    method, from_where = (Tuned(), "") if name is None else called(name, with_front=True)
    if isinstance(method, Plan):
        raise ValueError(f"A plan is as fast as it is: {shown(name)} goes without a `speedup`.")
    if isinstance(method, Tuned):
        path = method.front or str(find_front(pipe, num_inference_steps).path)
        about = f"tuned for {speedup:g}x" + (f", by the front of {cleaned(str(name))}" if from_where else "")
        return Budgeted(replace(method, front=path, speedup=speedup), about)
    with_knob([method])
    front = find_front(pipe, num_inference_steps, for_thresholds=True).front
    set_to = with_threshold(pipe, front, method, speedup)
    return Budgeted(set_to, f"{method.name} {told_threshold(set_to)} for {speedup:g}x")


def with_threshold(pipe: Any, front: Front, method: Method, speedup: float, called: str | None = None) -> Method:
    """A method with the threshold for a speed-up; `called` is what a user calls the model, for a message.

    Raises:
        ValueError: If the front has none for this method, which names what finds one; or if it is not so fast.
    """
    try:
        rule = front.rule(method.name)
    except ValueError as error:
        command = tune_command(pipe, f" --method {method.name}", called)
        raise ValueError(f"{str(error).removesuffix('.')}: {command} finds one.") from error
    found = setting_for(rule, speedup)
    folder = getattr(pipe, "name_or_path", None)
    return found.beside(folder) if folder else found


def told_threshold(method: Method) -> str:
    """The threshold of a method that has one: `threshold=0.23`."""
    knob = str(method.knob)
    return f"{knob}={getattr(method, knob):.3g}"
