"""Looking on at a scheduler's steps, and ending a pipeline's loop at one of them."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch


class Ended(Exception):
    """The pipeline's loop was ended: what was to be seen of it has been seen."""


@dataclass(frozen=True)
class SchedulerStep:
    """A step that a scheduler is asked for.

    Args:
        number (`int`): Which one, in the order of sampling.
        model_output (`torch.Tensor`): (B, ...): what the model returned, guided.
        sample (`torch.Tensor`): (B, ...): the latents before the step.
        timestep (`Any`): As the pipeline gives it.
        others (`dict`): Further arguments.
        scheduler: The scheduler, before the step.
        stock (`type`): Its class.
    """

    number: int
    model_output: torch.Tensor
    sample: torch.Tensor
    timestep: Any
    others: dict[str, Any]
    scheduler: Any
    stock: Any

    def snapshot(self) -> Snapshot:
        """The scheduler as it is before the step."""
        copied = copy.deepcopy(self.scheduler)
        copied.__class__ = self.stock
        return Snapshot(copied, self.timestep, self.others, _generator_states(self.others))


@dataclass(frozen=True)
class Snapshot:
    """A scheduler at a step: what it would make of another model output, or of other latents.

    Args:
        scheduler: A copy of its own.
        timestep (`Any`): Of the step.
        others (`dict`): Further arguments of `step`.
        generators (`tuple[torch.Tensor, ...]`): The states of the random generators among them.
    """

    scheduler: Any
    timestep: Any
    others: dict[str, Any]
    generators: tuple[torch.Tensor, ...] = ()

    def resumed(self) -> Any:
        """The scheduler, once more from here."""
        return copy.deepcopy(self.scheduler)

    def step(self, scheduler: Any, model_output: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        """The latents after this step, by a scheduler that has come as far; it draws the noise that was drawn here."""
        others = _with_generators(self.others, self.generators)
        return sample_after(scheduler.step(model_output, self.timestep, sample, **others))


def sample_after(output: Any) -> torch.Tensor:
    """The latents in what a scheduler's step returned."""
    return output[0] if isinstance(output, tuple) else output.prev_sample


Look = Callable[[SchedulerStep], None]


@contextlib.contextmanager
def watched(scheduler: Any, look: Look, after: Callable[[int, torch.Tensor], None]) -> Iterator[None]:
    """Have `look` called before each step of a scheduler, and `after` with its number and the latents that it made.

    The instance is of a derived class meanwhile, which no copy of it takes notice of.
    """
    stock: Any = type(scheduler)
    scheduler.__class__ = _watching(stock)
    _LOOKS[id(scheduler)] = _Looking(look, after)
    try:
        yield
    finally:
        del _LOOKS[id(scheduler)]
        scheduler.__class__ = stock


@dataclass
class _Looking:
    look: Look
    after: Callable[[int, torch.Tensor], None]
    number: int = 0


_LOOKS: dict[int, _Looking] = {}
"""Of the schedulers that are watched, by their identity: copies are not."""


@functools.cache
def _watching(stock: Any) -> type:
    signature = inspect.signature(stock.step)

    @functools.wraps(stock.step)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        looking = _LOOKS.get(id(self))
        if looking is None:
            return stock.step(self, *args, **kwargs)
        given = dict(signature.bind(self, *args, **kwargs).arguments)
        named = {name: given.pop(name) for name in ("model_output", "timestep", "sample")}
        others = {name: value for name, value in given.items() if name not in ("self", "return_dict")}
        looking.look(SchedulerStep(number=looking.number, others=others, scheduler=self, stock=stock, **named))
        output = stock.step(self, *args, **kwargs)
        looking.number += 1
        looking.after(looking.number - 1, sample_after(output))
        return output

    return type(stock.__name__, (stock,), {"step": step, "__module__": stock.__module__, "__doc__": stock.__doc__})


def _generators(others: dict[str, Any]) -> list[torch.Generator]:
    given = others.get("generator")
    return [g for g in (given if isinstance(given, (list, tuple)) else [given]) if isinstance(g, torch.Generator)]


def _generator_states(others: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    return tuple(generator.get_state() for generator in _generators(others))


def _with_generators(others: dict[str, Any], states: tuple[torch.Tensor, ...]) -> dict[str, Any]:
    """The arguments with generators of their own, in the states that were noted."""
    if not states:
        return others
    made = []
    for generator, state in zip(_generators(others), states, strict=True):
        made.append(torch.Generator(generator.device))
        made[-1].set_state(state)
    given = others["generator"]
    return {**others, "generator": made if isinstance(given, (list, tuple)) else made[0]}
