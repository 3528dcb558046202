"""Learning-to-Cache: Accelerating Diffusion Transformer via Layer Caching (Ma et al., arXiv 2406.01733)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .recipe import Recipe

DROPPED = 0.1
"""Share of the batch that is asked for nothing, so that the router sees both guidance branches."""


class LearningToCache(Recipe):
    """Learn what the step after a full one may reuse of it.

    Clean latents get the noise of a full step m. The model runs in full and its features are kept; one step of the
    sampler leads to step s. There, with r the scores of s and f the features,

        loss = MSE(output, output with r f + (1 - r) kept) + lambda sum r

    (section 3 of the paper).

    Args:
        clean (`Tensor`): Clean latents to draw from.
        captions (`Tensor`): For each, its caption or class as an index.
    """

    name = "learning-to-cache"

    def __init__(self, *arguments, clean: Tensor, captions: Tensor):
        super().__init__(*arguments)
        self.clean, self.captions = clean, captions

    def round(self, generator: torch.Generator) -> None:
        learned = list(self.logits.rows)
        step = learned[int(torch.randint(len(learned), (), generator=generator))]
        chosen = torch.randint(len(self.clean), (self.settings.batch,), generator=generator)
        dropped = torch.rand(self.settings.batch, generator=generator) < DROPPED
        condition = self.denoiser.conditions.pick(self.captions[chosen], dropped)
        batch = self.denoiser.noised(self.clean[chosen.to(self.clean.device)], step - 1, condition, generator)
        with torch.no_grad():
            with self.blender.keeping():
                prediction = batch.predict()
            batch.advance(prediction)
            wanted = batch.predict()
        scores = self.logits.scores(step)
        with self.blender.blending(scores):
            got = batch.predict()
        self.learn(F.mse_loss(got, wanted), scores)
