"""The time of a pipeline's denoising loop and of its steps, seen from the transformers."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn

from ..hooks.calls import CallWatch
from ..models import family_of

Moment: TypeAlias = "float | torch.cuda.Event"


class CallClock(CallWatch):
    """While it is entered, notes when the first call of a module begins and when the last one ends. Between two calls
    of a transformer lie the scheduler's steps, but neither the text encoder nor the VAE.

    Args:
        modules (`Sequence[nn.Module]`): Such as all transformers of a pipeline.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__(modules)
        self._first: Moment | None = None
        self._last: Moment | None = None

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        super()._before(module, args, kwargs)
        if self._first is None:
            self._first = _now(module)

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._last = _now(module)

    @property
    def seconds(self) -> float:
        """From the first call to the end of the last; on a GPU it waits for that. Raises `ValueError` before any."""
        if self._first is None or self._last is None:
            raise ValueError("No transformer has been called: there is no loop to tell the time of.")
        return _between(self._first, self._last)


class LoopClock(CallClock):
    """The same of the denoising loop of one pipeline call, step by step. Hooks at the transformers' calls, which go
    with the `with` block; the pipeline is otherwise left alone. Enter it after a cache is on, so that the cache's work
    counts.

    A step is one value of the scheduler's timesteps, as in a plan, whatever the calls of guidance: with a scheduler
    that calls the model twice a step (Heun) each call is one.

    Args:
        pipe (`DiffusionPipeline`): A stock pipeline.

    Raises:
        ValueError: If it has no transformer.

    Example:
        ```python
        with LoopClock(pipe) as clock:
            pipe("an owl", num_inference_steps=20)
        clock.seconds, clock.step_seconds
        ```
    """

    def __init__(self, pipe: Any) -> None:
        super().__init__(_transformers(pipe.components))
        self._pipe = pipe
        self._begun: list[tuple[Moment, _Place]] = []

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        now = _now(module)
        self.calls += 1
        self._first = now if self._first is None else self._first
        self._begun.append((now, _Place.of(self._pipe.scheduler, module, args, kwargs)))

    @property
    def step_seconds(self) -> list[float]:
        """Of each step, from the start of its first call to that of the next step's; of the last one, to the end of
        its last call. They add up to `seconds`. On a GPU it waits for the last. Raises `ValueError` before any."""
        whole = self.seconds
        starts = [_between(self._begun[0][0], moment) for moment in self._starts()]
        return [stop - start for start, stop in zip(starts, [*starts[1:], whole], strict=True)]

    def _starts(self) -> list[Moment]:
        """When the first call of each step began."""
        before, starts = None, []
        for moment, place in self._begun:
            if before is None or not place.is_same_step(before):
                starts.append(moment)
            before = place
        return starts


def _transformers(parts: Mapping[str, Any]) -> list[nn.Module]:
    modules = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
    found = [getattr(part, "_orig_mod", part) for name, part in modules.items() if name.startswith("transformer")]
    if not found:
        raise ValueError(f"There is no transformer to time among {', '.join(parts) or 'no components'}.")
    return list(dict.fromkeys(found))


class _Place:
    """Where in the schedule a call of the transformer is. Nothing is read of the device before two are compared.

    Args:
        schedule (`Tensor`): The scheduler's timesteps: a new tensor for each generation. Held, so that no other tensor
            is taken for it.
        index (`int`, *optional*): The scheduler's step; `None` in the first one, and of schedulers that do not count.
        timestep (*optional*): Which the model is called with, of schedulers that do not count.
    """

    def __init__(self, schedule: Any, index: int | None, timestep: Any) -> None:
        self.schedule, self.index, self.timestep = schedule, index, timestep

    @classmethod
    def of(cls, scheduler: Any, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Place:
        schedule = getattr(scheduler, "timesteps", None)
        if hasattr(scheduler, "step_index"):
            return cls(schedule, scheduler.step_index, None)
        spec = family_of(module)
        name = "timestep" if spec is None else spec.timestep
        timestep = kwargs.get(name)
        if timestep is None:
            names = tuple(inspect.signature(type(module).forward).parameters)[1:]
            timestep = dict(zip(names, args, strict=False)).get(name)
        return cls(schedule, None, timestep)

    def is_same_step(self, other: _Place) -> bool:
        """Whether two calls are of one step."""
        same_schedule = self.schedule is other.schedule
        return same_schedule and self.index == other.index and _equal(self.timestep, other.timestep)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and bool((one == other).all())
    return one is other or one == other


def _between(start: Moment, end: Moment) -> float:
    """Seconds from one moment to another of the same kind."""
    if isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        end.synchronize()
        return start.elapsed_time(end) / 1000
    assert isinstance(start, float) and isinstance(end, float), "moments of one device"
    return end - start


def _now(module: nn.Module) -> Moment:
    """Seconds on a CPU. On a GPU an event: waiting for the device at every call would slow down what is measured."""
    if next(module.parameters()).device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
