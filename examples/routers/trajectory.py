"""The denoising loop of the stock DiT and PixArt pipelines, open between its steps."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from .conditions import Conditions


class Denoiser:
    """A pipeline's transformer and scheduler, for a number of steps.

    Args:
        pipe: A stock DiT or PixArt pipeline; its weights are frozen.
        conditions (`Conditions`): What it may be asked for.
        num_inference_steps (`int`): Number of steps.
        guidance_scale (`float`): Of classifier-free guidance.
    """

    def __init__(self, pipe: Any, conditions: Conditions, num_inference_steps: int, guidance_scale: float):
        self.transformer = pipe.transformer.requires_grad_(False).eval()
        self.conditions = conditions
        self.guidance_scale = guidance_scale
        self.device = self.transformer.device
        self._scheduler = copy.deepcopy(pipe.scheduler)
        self._scheduler.set_timesteps(num_inference_steps, device=self.device)
        self.timesteps = self._scheduler.timesteps
        if len(self.timesteps) != num_inference_steps:
            calls = len(self.timesteps)
            name = type(pipe.scheduler).__name__
            raise ValueError(f"{name} calls the model {calls} times in {num_inference_steps} steps: take another one.")

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    def scheduler(self, step: int = 0) -> Any:
        """A scheduler that stands before `step` and remembers nothing of earlier ones."""
        scheduler = copy.deepcopy(self._scheduler)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(step)
        return scheduler

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """What a generation starts from."""
        return self.gaussian(count, generator) * self._scheduler.init_noise_sigma

    def gaussian(self, count: int, generator: torch.Generator) -> Tensor:
        """Normal numbers in the shape of latents; the same on every device."""
        config = self.transformer.config
        shape = (count, config.in_channels, config.sample_size, config.sample_size)
        return torch.randn(shape, generator=generator).to(self.device, self.transformer.dtype)

    def captions(self, count: int, generator: torch.Generator) -> Tensor:
        """Captions or classes drawn by chance, as indices."""
        return torch.randint(len(self.conditions), (count,), generator=generator)

    def sampling(self, captions: Tensor, generator: torch.Generator) -> Trajectory:
        """A generation of these captions before its first step, with guidance if the scale is above 1."""
        guided = self.guidance_scale > 1
        condition = self.conditions.pick_guided(captions) if guided else self.conditions.pick(captions)
        return Trajectory(self, self.noise(len(captions), generator), condition, guided)

    def noised(self, clean: Tensor, step: int, condition: dict[str, Any], generator: torch.Generator) -> Trajectory:
        """Clean latents with the noise that the model meets before `step`; without guidance."""
        scheduler = self.scheduler(step)
        timestep = self.timesteps[step].expand(len(clean))
        latents = scheduler.add_noise(clean, self.gaussian(len(clean), generator), timestep)
        return Trajectory(self, latents, condition, guided=False, step=step)


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
        """What the model says of the noise in this step, of each guidance branch by itself."""
        timestep = self.denoiser.timesteps[self.step]
        latents = torch.cat([self.latents] * 2) if self.guided else self.latents
        latents = self.scheduler.scale_model_input(latents, timestep)
        output = self.denoiser.transformer(latents, timestep=timestep.expand(len(latents)), **self.condition).sample
        return output[:, : latents.shape[1]]  # models that learn their variance put it behind

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
