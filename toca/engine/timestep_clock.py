"""The clock of a bare transformer, whose calls are told apart by their timesteps."""

from __future__ import annotations

from typing import Any

import torch

from ..axes.sampling import TRAIN_TIMESTEPS, NoiseLevel
from .branch_names import Told
from .tick import NotPlaced, Tick, branch_of
from .timesteps import FRAMES_APART, Reading, by_frame, parts_frames, same_latents


class TimestepClock:
    """For a transformer without a pipeline: every timestep is a step, and timesteps fall during a generation, or
    what is read off them does.

    A timestep that is not below the one before starts a generation, but for calls at the same timestep with the same
    latents: these are branches of guidance. Requests may so have any number of steps up to the one that was told. A
    caller who says the step in `cache_context` is believed.

    Args:
        num_inference_steps (`int`): Steps of a generation.
        reading (`Reading`): How far a generation has come by the timestep that the model is called with.
    """

    schedule = scheduler = None

    def __init__(self, num_inference_steps: int, reading: Reading):
        self.num_inference_steps, self.reading = num_inference_steps, reading
        self.reset()

    def reset(self) -> None:
        """The next call starts a generation."""
        self.first: float | None = None
        self.current: float | None = None
        self.step = 0
        self.calls: dict[str | None, int] = {}
        self.latents: torch.Tensor | None = None
        self.frames: torch.Tensor | None = None
        self.disturbed = False

    def give_up(self) -> None:
        """The generation was broken off: the next call starts one."""
        self.reset()

    def pass_by(self, timestep: torch.Tensor | None) -> None:
        """A call that is not to be placed: the step that it is the first of counts like any other."""
        if timestep is not None and self.current is not None and self.reading.remaining(timestep) < self.current:
            self.step += 1
            self.current, self.latents = self.reading.remaining(timestep), None
            self.calls.clear()

    def timesteps_of_generation(self) -> tuple[float, ...]:
        """Nothing is known of them."""
        return ()

    def level_at(self, step: int) -> NoiseLevel:
        """How noisy the latents of the running step are: its timestep is taken for that of flow matching."""
        if self.current is None:
            return NoiseLevel.of_flow(0.5)
        sigma = self.current / TRAIN_TIMESTEPS
        return NoiseLevel.of_flow(1 + sigma if self.reading.rises else sigma)

    def begins_anew(self, timestep: torch.Tensor | None) -> bool:
        """Whether a call of somebody else can only be the first of a generation."""
        return self.first is None or (timestep is not None and self.reading.remaining(timestep) >= self.first)

    def is_at_start(self, timestep: torch.Tensor | None) -> bool:
        """Whether a call can be the first of a generation."""
        return self.begins_anew(timestep)

    def tick(self, told: Told, timestep: torch.Tensor | None, latents: torch.Tensor) -> Tick:
        """Place a call.

        Args:
            told (`Told`): What its caller says of it.
            timestep (`torch.Tensor` or `None`): (B,) or a number: what the model is called with.
            latents (`torch.Tensor`): (B, ...): the model's input.

        Raises:
            NotPlaced: If the call has no timestep, or there are more of them than was told.
        """
        steps = told.num_inference_steps or self.num_inference_steps
        step = told.step_of(steps)
        if step is not None:
            return self._tick_at(step, steps, told.name, timestep, latents)
        if timestep is None:
            raise NotPlaced("Without a timestep a call of a bare transformer has no place: it runs in full.")
        value, name = self.reading.remaining(timestep), told.name
        new_generation = self.current is None or value > self.current
        if value == self.current and parts_frames(timestep, latents.shape[0], self.frames):
            raise NotPlaced(FRAMES_APART)
        if value == self.current and self.calls.get(name, 0):
            new_generation = self.num_inference_steps == 1 or not same_latents(latents, self.latents)
        if new_generation:
            self.reset()
            self.first = value
        elif value != self.current:
            self.step += 1
        if new_generation or value != self.current or not self.calls:
            self._begin_step(value, timestep, latents)
        if self.step >= self.num_inference_steps:
            raise NotPlaced(
                f"This generation has more steps than the {self.num_inference_steps} of `num_inference_steps`: the "
                "others run in full. Enable the cache with the number of steps that you use."
            )
        return Tick(branch_of(self.calls, name, name), self.step, self.num_inference_steps, new_generation)

    def _tick_at(self, step: int, steps: int, name: str | None, timestep: Any, latents: torch.Tensor) -> Tick:
        """Place a call whose caller has said the step."""
        value = None if timestep is None else self.reading.remaining(timestep)
        new_generation = self.latents is None or step < self.step
        if step == self.step and self.calls.get(name, 0):
            new_generation = steps == 1 or not same_latents(latents, self.latents)
        if new_generation:
            self.reset()
            self.first = value
        if new_generation or step != self.step:
            self.step = step
            self._begin_step(value, timestep, latents)
        return Tick(branch_of(self.calls, name, name), step, steps, new_generation)

    def _begin_step(self, value: float | None, timestep: Any, latents: torch.Tensor) -> None:
        self.current, self.latents, self.frames = value, latents, by_frame(timestep, latents.shape[0])
        self.calls.clear()
