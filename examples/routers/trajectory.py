"""The denoising loop of a stock pipeline, open between its steps."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from toca.models import known_family

from .conditions import Beginning, beginning_of, settings_of_call


class Denoiser:
    """A pipeline's transformer and scheduler, for a number of steps.

    Args:
        pipe: A stock pipeline that calls its transformer once a step; its weights are frozen.
        prompts (`list[str]`): What it may be asked for; of no use for a class-conditional one.
        num_inference_steps (`int`): Number of steps.
        guidance_scale (`float`): Of classifier-free guidance.
        size (`int`, *optional*): Of the pictures, in pixels; what suits the model by default.

    Raises:
        ValueError: If the pipeline, or its scheduler, calls the transformer in another way.
    """

    def __init__(
        self,
        pipe: Any,
        prompts: list[str],
        num_inference_steps: int,
        guidance_scale: float,
        size: int | None = None,
    ):
        self.transformer = pipe.transformer.requires_grad_(False).eval()
        self.spec = known_family(self.transformer)
        self.guidance_scale = guidance_scale
        self.device = self.transformer.device
        settings = settings_of_call(pipe, num_inference_steps, guidance_scale, size)
        begun: Beginning = beginning_of(pipe, prompts, settings)
        self.conditions, self._latents, self._scheduler = begun.conditions, begun.latents, begun.scheduler
        self.timesteps = self._scheduler.timesteps
        if len(self.timesteps) != num_inference_steps:
            calls = len(self.timesteps)
            name = type(pipe.scheduler).__name__
            raise ValueError(f"{name} calls the model {calls} times in {num_inference_steps} steps: take another one.")
        if self.spec.timestep_scale is None:
            raise ValueError(f"Nobody has said how a {type(self.transformer).__name__} counts its timesteps.")

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    def scheduler(self, step: int = 0) -> Any:
        """A scheduler that stands before `step` and remembers nothing of earlier ones."""
        scheduler = copy.deepcopy(self._scheduler)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(step)
        return scheduler

    def timestep(self, step: int, rows: int) -> Tensor:
        """(rows,): the timestep of a step as the model is told it, which some count from 0 to 1."""
        scheduled = self.timesteps[step]
        scale, offset = self.spec.timestep_scale, self.spec.timestep_offset
        told = scheduled if (scale, offset) == (1.0, 0.0) else ((scheduled - offset) / scale).to(self._latents.dtype)
        return told.expand(rows)

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """What a generation starts from."""
        return self.gaussian(count, generator) * getattr(self._scheduler, "init_noise_sigma", 1.0)

    def gaussian(self, count: int, generator: torch.Generator) -> Tensor:
        """Normal numbers in the shape of latents; the same on every device."""
        shape = (count, *self._latents.shape[1:])
        return torch.randn(shape, generator=generator).to(self.device, self.transformer.dtype)

    def captions(self, count: int, generator: torch.Generator) -> Tensor:
        """Captions or classes drawn by chance, as indices."""
        return torch.randint(len(self.conditions), (count,), generator=generator)

    def sampling(self, captions: Tensor, generator: torch.Generator) -> Trajectory:
        """A generation of these captions before its first step, with guidance where the model has it."""
        return self.sampling_from(self.noise(len(captions), generator), captions)

    def sampling_from(self, latents: Tensor, captions: Tensor) -> Trajectory:
        """The same from given noise."""
        guided = self.conditions.guided
        condition = self.conditions.pick_guided(captions) if guided else self.conditions.pick(captions)
        return Trajectory(self, latents, condition, guided)

    def noised(self, clean: Tensor, step: int, condition: dict[str, Any], generator: torch.Generator) -> Trajectory:
        """Clean latents with the noise that the model meets before `step`; without guidance."""
        scheduler = self.scheduler(step)
        # Flow matching calls it by another name than diffusion.
        add_noise = getattr(scheduler, "add_noise", None) or self._scale_noise(scheduler)
        timestep = self.timesteps[step].expand(len(clean))
        latents = add_noise(clean, self.gaussian(len(clean), generator), timestep)
        return Trajectory(self, latents, condition, guided=False, step=step)

    @staticmethod
    def _scale_noise(scheduler: Any) -> Any:
        return lambda clean, noise, timestep: scheduler.scale_noise(clean, timestep, noise)


class Trajectory:
    """One batch between two steps of its generation.

    Args:
        denoiser (`Denoiser`): The model.
        latents (`Tensor`): Where the batch is.
        condition (`dict`): Arguments of the transformer; of both guidance branches where `guided`.
        guided (`bool`): Whether the two branches run and are combined.
        step (`int`, defaults to 0): The step before which the batch is.
    """

    def __init__(self, denoiser: Denoiser, latents: Tensor, condition: dict[str, Any], guided: bool, step: int = 0):
        self.denoiser, self.latents, self.condition = denoiser, latents, condition
        self.guided, self.step = guided, step
        self.scheduler = denoiser.scheduler(step)

    def predict(self) -> Tensor:
        """What the model predicts in this step, for each guidance branch by itself."""
        spec = self.denoiser.spec
        latents = torch.cat([self.latents] * 2) if self.guided else self.latents
        if hasattr(self.scheduler, "scale_model_input"):
            latents = self.scheduler.scale_model_input(latents, self.denoiser.timesteps[self.step])
        told = {spec.latents: latents, spec.timestep: self.denoiser.timestep(self.step, len(latents))}
        output = self.denoiser.transformer(**self.condition, **told)[0]
        # Models that learn their variance put it behind.
        return output.narrow(spec.channel_dim, 0, latents.shape[spec.channel_dim])

    @torch.no_grad()
    def advance(self, prediction: Tensor) -> None:
        """One step of the sampler. No gradient goes through it."""
        if self.guided:
            conditional, unconditional = prediction.chunk(2)
            prediction = unconditional + self.denoiser.guidance_scale * (conditional - unconditional)
        timestep = self.denoiser.timesteps[self.step]
        self.latents = self.scheduler.step(prediction, timestep, self.latents, return_dict=False)[0]
        self.step += 1

    def fork(self) -> Trajectory:
        """A second trajectory from here; neither moves the other."""
        other = copy.copy(self)
        other.scheduler = copy.deepcopy(self.scheduler)
        return other

    @torch.no_grad()
    def finish(self) -> Tensor:
        """The latents after the last step."""
        while self.step < self.denoiser.steps:
            self.advance(self.predict())
        return self.latents
