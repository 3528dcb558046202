"""How noisy the latents of a step are, as the scheduler has it."""

from __future__ import annotations

from typing import Any

import torch

from ..axes.sampling import TRAIN_TIMESTEPS, NoiseLevel


def noise_level(scheduler: Any, position: int, timestep: float) -> NoiseLevel:
    """The noise level of a step.

    Schedulers name it as they like: a sigma of at most 1 is that of flow matching, a larger one the ratio of noise to
    picture; those of DDIM and DDPM have alpha-bar for each timestep. Of one that says nothing the timestep is taken
    for 1000 sigma of flow matching.

    Args:
        scheduler (`SchedulerMixin`): Of the pipeline.
        position (`int`): The step, counted over the scheduler's whole schedule.
        timestep (`float`): Its timestep.
    """
    sigmas = getattr(scheduler, "sigmas", None)
    if isinstance(sigmas, torch.Tensor) and position < len(sigmas):
        sigma = float(sigmas[position])
        if float(sigmas.max()) > 1:
            return NoiseLevel.of_ratio(sigma)
        # Where they are inverted they rise to 1, the picture.
        return NoiseLevel.of_flow(1 - sigma if scheduler.config.get("invert_sigmas") else sigma)
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if isinstance(alphas, torch.Tensor) and 0 <= timestep < len(alphas):
        alpha = float(alphas[int(timestep)])
        return NoiseLevel(alpha**0.5, (1 - alpha) ** 0.5)
    return NoiseLevel.of_flow(timestep / TRAIN_TIMESTEPS)
