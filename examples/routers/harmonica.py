"""HarmoniCa: Harmonizing Training and Inference for Better Feature Caching (Huang et al., arXiv 2410.01723)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .recipe import Recipe
from .trajectory import Trajectory

PROXY_SEED = 2**31
"""The batch that the image errors are measured on is drawn from seed + this: the same one every time."""


class HarmoniCa(Recipe):
    """Learn on whole generations, as the router will be used (step-wise denoising training).

    A round is one generation from noise, with guidance. At each step the uncached output is the teacher; the student's
    features are r f + (1 - r) kept, and its output makes the next latents. Where r > threshold, f is kept for later
    steps. An iteration is one step:

        loss_t = lambda_t MSE(teacher, student) + beta sum r_t

    with lambda_t the image error that step t's decisions cause (image error proxy).

    Args:
        proxy_every (`int`): Iterations after which the image errors are measured again.
        proxy_batch (`int`): Samples that they are measured on.
    """

    name = "harmonica"

    def __init__(self, *arguments, proxy_every: int = 500, proxy_batch: int = 4):
        super().__init__(*arguments)
        self.proxy_every, self.proxy_batch = proxy_every, proxy_batch
        self.image_errors: list[float] = []
        self.measured_at = 0

    def round(self, generator: torch.Generator) -> None:
        if not self.image_errors or self.iteration - self.measured_at >= self.proxy_every:
            self.image_errors, self.measured_at = self.measure(), self.iteration
        batch = self._sampling(self.settings.batch, generator)
        self._full_step(batch)
        while batch.step < self.denoiser.steps:
            self._learn_step(batch)

    def _sampling(self, count: int, generator: torch.Generator) -> Trajectory:
        return self.denoiser.sampling(self.denoiser.captions(count, generator), generator)

    def _full_step(self, batch: Trajectory) -> None:
        with torch.no_grad(), self.blender.keeping():
            batch.advance(batch.predict())

    def _learn_step(self, batch: Trajectory) -> None:
        scores = self.logits.scores(batch.step)
        with torch.no_grad():
            wanted = batch.predict()
        with self.blender.blending(scores, keeps=(scores > self.settings.threshold).tolist()):
            got = batch.predict()
        self.learn(F.mse_loss(got, wanted), scores, error_weight=self.image_errors[batch.step])
        batch.advance(got.detach())

    @torch.no_grad()
    def measure(self) -> list[float]:
        """lambda_t: how far the final latents move when, after the decisions of all steps before t, those of step t
        are followed too, and every later step is full; mean square."""
        generator = torch.Generator().manual_seed(self.settings.seed + PROXY_SEED)
        batch = self._sampling(self.proxy_batch, generator)
        self._full_step(batch)
        before, errors = batch.fork().finish(), [0.0]
        while batch.step < self.denoiser.steps:
            computed = self.logits.scores(batch.step) > self.settings.threshold
            with self.blender.blending(computed, keeps=computed.tolist()):
                prediction = batch.predict()
            batch.advance(prediction)
            after = batch.fork().finish()
            errors.append(F.mse_loss(after, before).item())
            before = after
        return errors

    def facts(self) -> dict[str, Any]:
        return {"image_errors": [float(f"{error:.3g}") for error in self.image_errors]}

    def state(self) -> dict[str, Any]:
        return super().state() | {"image_errors": self.image_errors, "measured_at": self.measured_at}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.image_errors, self.measured_at = state["image_errors"], state["measured_at"]
