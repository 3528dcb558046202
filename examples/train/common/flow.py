"""Rectified flow (Liu et al., arXiv 2209.03003): what every denoiser here is trained by."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn

from .loop import Stage, train

SHIFT = 1.5  # training times lean towards the noisy end, where the picture is decided
DROP = 0.1  # share of empty conditions, for classifier-free guidance


class Flow(nn.Module):
    """The model sees `(1 - t) * latents + t * noise` and predicts `noise - latents`.

    A denoiser of its own says in a subclass how it is called (`velocity`) and what it is told (`condition`).

    Args:
        model: what is trained.
        latents (`torch.Tensor`): (samples, ...), standardised.
        batch (`int`): samples a step.
        often (`torch.Tensor`, *optional*): how often each sample is drawn, (samples,), relative to the others.
    """

    def __init__(self, model: nn.Module, latents: torch.Tensor, batch: int, often: torch.Tensor | None = None):
        super().__init__()
        self.model, self.batch = model, batch
        self.register_buffer("latents", latents, persistent=False)
        self.register_buffer("often", torch.ones(len(latents)) if often is None else often, persistent=False)

    def velocity(self, x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        """The model's prediction at the times `t`, (batch,), in 0..1."""
        raise NotImplementedError

    def condition(self, index: torch.Tensor, drop: torch.Tensor) -> Any:
        """What the model is told of these samples, and nothing where `drop`, (batch,), is true."""
        raise NotImplementedError

    def forward(self, share: float) -> torch.Tensor:
        device = self.latents.device
        index = torch.multinomial(self.often, self.batch, replacement=True)
        condition = self.condition(index, torch.rand(self.batch, device=device) < DROP)
        t = torch.randn(self.batch, device=device).sigmoid()
        x = self.sample(index)
        return self.errors(x, SHIFT * t / (1 + (SHIFT - 1) * t), condition, torch.randn_like(x)).mean()

    def sample(self, index: torch.Tensor) -> torch.Tensor:
        """The latents of these samples, (batch, ...)."""
        return self.latents[index]

    def errors(self, x: torch.Tensor, t: torch.Tensor, condition: Any, noise: torch.Tensor) -> torch.Tensor:
        """The squared error of every sample."""
        mix = t.view(-1, *[1] * (x.ndim - 1))
        output = self.velocity((1 - mix) * x + mix * noise, t, condition)
        return F.mse_loss(output.float(), noise - x, reduction="none").flatten(1).mean(1)

    @torch.no_grad()
    def gap(self, count: int = 64) -> tuple[float, float]:
        """The loss with the right conditions and with other samples': the same means that conditions are ignored."""
        device = self.latents.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            index = torch.randperm(len(self.latents))[:count].to(device)
            t = torch.linspace(0.05, 0.95, len(index), device=device)
            x, keep = self.sample(index), torch.zeros(len(index), dtype=torch.bool, device=device)
            noise = torch.randn_like(x)
            right, wrong = (self.condition(i, keep) for i in (index, index.roll(1)))
        with torch.compiler.set_stance("force_eager"):  # without gradients the blocks would compile anew
            return tuple(self.errors(x, t, condition, noise).mean().item() for condition in (right, wrong))


def fit(objective: Flow, stage: Stage, accelerator: Accelerator, checkpoints: Path, count: int = 256) -> dict:
    """Trains a denoiser; the log and the record show the gap between right and other conditions.

    Args:
        count (`int`): samples that the record's gap is over.

    Returns:
        `dict`: what `train` returns, with `batch`, `right` and `another's`.
    """

    def probe() -> str:
        with accelerator.autocast():
            return "condition right {:.4f}, another's {:.4f}".format(*objective.gap())

    done = train(objective, stage, accelerator, checkpoints / f"{stage.name}.pt", probe)
    right, another = objective.gap(count)
    return {**done, "batch": objective.batch, "right": right, "another's": another}


def compile_blocks(blocks: nn.ModuleList) -> None:
    """Compile the blocks in place: they share one graph, so that it takes a moment only."""
    torch._dynamo.config.suppress_errors = True  # a run of minutes is better slow than lost
    for block in blocks:
        block.compile(dynamic=False)


@torch.no_grad()
def start(model: nn.Module, zero: list[nn.Linear]) -> nn.Module:
    """Xavier for every linear layer, and nought for those that gate blocks or make the output."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for layer in zero:
        nn.init.zeros_(layer.weight)
    return model


@torch.no_grad()
def start_single(model: nn.Module) -> nn.Module:
    """`start` for transformers with one adaLN for all blocks (PixArt, Latte).

    The cross-attention's output does not start at zero: the captions would get no gradient for long.
    """
    start(model, [model.adaln_single.linear, model.proj_out])
    for block in model.transformer_blocks:
        nn.init.xavier_uniform_(block.attn2.to_out[0].weight, gain=0.5)
    nn.init.zeros_(model.scale_shift_table)
    return model
