"""One training loop for both stages: so many seconds, a cosine over them, averaged weights, checkpoints."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn


@dataclass
class Stage:
    """How one model is trained.

    Args:
        name (`str`): for the log and the checkpoint.
        seconds (`float`): wall-clock budget, compilation included. The learning rate follows it down to nought.
        lr (`float`): peak learning rate.
        warmup (`int`, defaults to `200`): steps up to the peak.
        seed (`int`, defaults to `0`): of the batches; every process draws its own.
        average (`float`, defaults to `0.999`): decay of the averaged weights.
        save_every (`float`, defaults to `120`): seconds between checkpoints.
        log_every (`float`, defaults to `15`): seconds between log lines.
    """

    name: str
    seconds: float
    lr: float
    warmup: int = 200
    seed: int = 0
    average: float = 0.999
    save_every: float = 120.0
    log_every: float = 15.0


class Average:
    """Exponential moving average of a model's parameters."""

    def __init__(self, model: nn.Module, decay: float):
        self.parameters = list(model.parameters())
        self.shadow = [p.detach().clone() for p in self.parameters]
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average; early on it follows the weights closely, so that short runs work too."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the weights with their average."""
        for p, s in zip(self.parameters, self.shadow, strict=True):
            kept = p.detach().clone()
            p.copy_(s)
            s.copy_(kept)


class Timer:
    """The share of the budget that is spent, agreed on by all processes, so that all stop at the same step."""

    def __init__(self, accelerator: Accelerator, seconds: float, spent: float = 0.0):
        self.accelerator, self.seconds = accelerator, max(seconds, 1e-9)
        self.start = time.monotonic() - spent
        self.share = min(spent / self.seconds, 1.0)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def tick(self, step: int) -> float:
        """Updates the share: at every step in one process, at every tenth in several (it costs an exchange)."""
        several = self.accelerator.num_processes > 1
        if several and step % 10:
            return self.share
        share = self.elapsed / self.seconds
        if several:
            share = self.accelerator.gather(torch.tensor([share], device=self.accelerator.device)).max().item()
        self.share = min(share, 1.0)
        return self.share


def learning_rate(stage: Stage, step: int, share: float) -> float:
    """Linear warm-up by steps, cosine by time."""
    return stage.lr * min(1.0, (step + 1) / stage.warmup) * 0.5 * (1 + math.cos(math.pi * share))


def train(
    objective: nn.Module,
    stage: Stage,
    accelerator: Accelerator,
    checkpoint: Path,
    probe: Callable[[], str] | None = None,
) -> dict:
    """Trains `objective`, whose forward takes the share of time spent, draws its own batch and returns the loss.

    Args:
        checkpoint (`Path`): a file to continue from, if it is there, and to write to.
        probe (`Callable`, *optional*): something to add to every log line, such as an evaluation.

    Returns:
        `dict`: `steps` and `loss`. The objective's parameters are the averaged ones afterwards.
    """
    device = accelerator.device
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=stage.lr, betas=(0.9, 0.99), weight_decay=0.0, fused=device.type == "cuda"
    )
    average = Average(objective, stage.average)
    step, spent = 0, 0.0
    if checkpoint.exists():
        step, spent = restore(checkpoint, objective, average, optimizer, device)
    model, optimizer = accelerator.prepare(objective, optimizer)
    torch.manual_seed(stage.seed + 1000 * accelerator.process_index + step)
    timer = Timer(accelerator, stage.seconds, spent)
    total, count, logged, saved = torch.zeros((), device=device), 0, time.monotonic(), time.monotonic()
    mean = float("nan")
    while timer.tick(step) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(stage, step, timer.share)
        loss = model(timer.share)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(step)
        total += loss.detach()
        step, count = step + 1, count + 1
        now = time.monotonic()
        if now - logged > stage.log_every:  # the only place that waits for the device
            mean = total.item() / count
            extra = f", {probe()}" if probe else ""
            accelerator.print(
                f"{stage.name}: {timer.elapsed:.0f} s, step {step}, {count / (now - logged):.1f} steps/s, "
                f"loss {mean:.4f}{extra}", flush=True,
            )  # fmt: skip
            total.zero_()
            count, logged = 0, time.monotonic()
        if now - saved > stage.save_every:
            save(checkpoint, objective, average, optimizer, step, timer.elapsed, accelerator)
            saved = time.monotonic()
    if count:
        mean = total.item() / count
    if step and timer.elapsed - spent > 1:
        save(checkpoint, objective, average, optimizer, step, stage.seconds, accelerator)
    average.swap()
    accelerator.print(f"{stage.name}: done after {step} steps, loss {mean:.4f}", flush=True)
    accelerator.free_memory()
    return {"steps": step, "loss": mean}


def save(checkpoint, objective, average, optimizer, step, spent, accelerator) -> None:
    """Writes what is needed to go on, first beside the file, so that an interruption never leaves half of one."""
    if not accelerator.is_main_process:
        return
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    beside = checkpoint.with_suffix(".tmp")
    weights = [p.detach() for p in average.parameters]
    state = {"weights": weights, "average": average.shadow, "optimizer": optimizer.state_dict()}
    torch.save({**state, "step": step, "spent": spent}, beside)
    beside.replace(checkpoint)


@torch.no_grad()
def restore(checkpoint, objective, average, optimizer, device) -> tuple[int, float]:
    """Reads a checkpoint; returns the step and the seconds it had reached."""
    state = torch.load(checkpoint, map_location=device, weights_only=True)
    for target, source in ((average.parameters, state["weights"]), (average.shadow, state["average"])):
        for p, value in zip(target, source, strict=True):
            p.copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["spent"]
