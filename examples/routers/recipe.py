"""What the two recipes share: the logits that are learned, and one step of learning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from toca.methods.router import RECIPES

from .blending import Blender
from .trajectory import Denoiser

LARGEST_LOGIT = 5.0


@dataclass(frozen=True)
class Settings:
    """How a router is trained.

    Args:
        batch (`int`): Samples in an iteration.
        lr (`float`): Learning rate.
        weight (`float`): Of sum r in the loss: lambda of Learning-to-Cache, beta of HarmoniCa.
        threshold (`float`, defaults to 0.1): A site with r above it counts as computed.
        seed (`int`, defaults to 0): Of everything drawn by chance.
    """

    batch: int
    lr: float
    weight: float
    threshold: float = 0.1
    seed: int = 0


class Logits:
    """One logit for every site in every step that is not always full; r is its sigmoid (both papers).

    Drawn from N(0, 1) and held within +-5. Each step's logits are a parameter of their own, so that an iteration moves
    only those of the step it saw.
    """

    def __init__(self, recipe: str, steps: int, sites: int, seed: int, device: torch.device | str = "cpu"):
        generator = torch.Generator().manual_seed(seed)
        learned = [step for step in range(steps) if not RECIPES[recipe](step)]
        draw = {step: torch.randn(sites, generator=generator) for step in learned}
        self.steps = steps
        self.rows = {step: nn.Parameter(row.to(device)) for step, row in draw.items()}

    @torch.no_grad()
    def start_from(self, table: Sequence[Sequence[float] | None]) -> None:
        """Take the scores of a router that was trained before, in the steps that it has learned."""
        for step, row in self.rows.items():
            learned = table[step]
            if learned is not None:
                row.copy_(torch.logit(torch.tensor(learned), eps=1e-4))
        self.clamp()

    def scores(self, step: int) -> Tensor:
        """r of every site in a step."""
        return torch.sigmoid(self.rows[step])

    @torch.no_grad()
    def clamp(self) -> None:
        for row in self.rows.values():
            row.clamp_(-LARGEST_LOGIT, LARGEST_LOGIT)

    @torch.no_grad()
    def table(self) -> tuple[tuple[float, ...] | None, ...]:
        """r of every step and site to four digits, `None` for steps that are always full."""
        return tuple(self._rounded(step) if step in self.rows else None for step in range(self.steps))

    def _rounded(self, step: int) -> tuple[float, ...]:
        return tuple(round(score, 4) for score in self.scores(step).tolist())

    @torch.no_grad()
    def share(self, threshold: float) -> float:
        """The share of the learned entries that are computed."""
        return torch.cat([self.scores(step) > threshold for step in self.rows]).float().mean().item()


class Recipe(ABC):
    """A way to train a router. A subclass says what a round is: as much as belongs together, an iteration or many.

    Args:
        denoiser (`Denoiser`): The model, frozen.
        blender (`Blender`): Its sites, with the hooks on.
        settings (`Settings`): How to train.
    """

    name: ClassVar[str]

    def __init__(self, denoiser: Denoiser, blender: Blender, settings: Settings):
        self.denoiser, self.blender, self.settings = denoiser, blender, settings
        self.logits = Logits(self.name, denoiser.steps, len(blender.handles), settings.seed, denoiser.device)
        self.optimizer = torch.optim.AdamW(self.logits.rows.values(), lr=settings.lr, weight_decay=0.0)
        self.losses: list[tuple[float, float]] = []

    @abstractmethod
    def round(self, generator: torch.Generator) -> None:
        """Draw a batch from `generator` and learn from it."""

    @property
    def iteration(self) -> int:
        """Iterations so far; one is one step of the optimizer."""
        return len(self.losses)

    def learn(self, error: Tensor, scores: Tensor, error_weight: float = 1.0) -> None:
        """One step of the optimizer on error_weight * error + weight * sum r; notes down the loss and the error."""
        loss = error_weight * error + self.settings.weight * scores.sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.logits.clamp()
        self.losses.append((loss.item(), error.item()))

    def facts(self) -> dict[str, Any]:
        """What a recipe has to say of itself in the router's file."""
        return {}

    def state(self) -> dict[str, Any]:
        """Everything that going on needs."""
        rows = {step: row.detach() for step, row in self.logits.rows.items()}
        return {"logits": rows, "optimizer": self.optimizer.state_dict(), "losses": self.losses}

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        for step, row in self.logits.rows.items():
            row.copy_(state["logits"][step])
        self.optimizer.load_state_dict(state["optimizer"])
        self.losses = list(state["losses"])
