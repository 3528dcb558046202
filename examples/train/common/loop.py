"""One training loop for every part: so many steps, averaged weights, checkpoints that a stopped run goes on from.

Every step draws from a seed of its own, made of the run's seed, the step and the process: the same seed gives the
same weights on the same machine, and a resumed run is the run that was never stopped.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import nn


@dataclass
class Stage:
    """How one model is trained.

    Args:
        name (`str`): for the log and the checkpoint.
        steps (`int`): how many.
        lr (`float`): peak learning rate, reached after `warmup` steps; a cosine takes it down to nought.
        cycles (`int`, defaults to `1`): how often it does so. A run of one cycle goes on as one of two.
        warmup (`int`, defaults to `100`): steps of linear warm-up.
        seed (`int`, defaults to `0`): of everything that is drawn.
        average (`float`, defaults to `0.999`): decay of the averaged weights.
        weight_decay (`float`, defaults to `0.0`): AdamW's.
        save_every, log_every (`float`): seconds between checkpoints, and between log lines.
    """

    name: str
    steps: int
    lr: float
    cycles: int = 1
    warmup: int = 100
    seed: int = 0
    average: float = 0.999
    weight_decay: float = 0.0
    save_every: float = 120.0
    log_every: float = 20.0

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine, in every cycle."""
        length = self.steps / self.cycles
        place = step % length
        return self.lr * min(1.0, (place + 1) / self.warmup) * 0.5 * (1 + math.cos(math.pi * place / length))


def accelerator() -> Accelerator:
    """bfloat16 autocast on a CPU or GPUs. The objectives keep their data in buffers that are not to be sent around."""
    kept_apart = DistributedDataParallelKwargs(broadcast_buffers=False)
    torch.set_float32_matmul_precision("high")
    return Accelerator(mixed_precision="bf16", kwargs_handlers=[kept_apart])


class Average:
    """Exponential moving average of a model's trained parameters."""

    def __init__(self, parameters: list[nn.Parameter], decay: float):
        self.parameters = parameters
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


class Log:
    """Prints the mean loss and the speed every now and then."""

    def __init__(self, stage: Stage, accelerator: Accelerator, probe: Callable[[], str] | None):
        self.stage, self.accelerator, self.probe = stage, accelerator, probe
        self.total = torch.zeros((), device=accelerator.device)
        self.start = self.last = time.monotonic()
        self.count, self.mean = 0, float("nan")

    def add(self, loss: torch.Tensor, step: int) -> None:
        """Notes a step's loss. Only where a line is due does this wait for the device."""
        self.total += loss.detach()
        self.count += 1
        now = time.monotonic()
        if now - self.last < self.stage.log_every and step < self.stage.steps:
            return
        self.mean = self.total.item() / self.count
        extra = f", {self.probe()}" if self.probe else ""
        speed = self.count / max(now - self.last, 1e-9)
        self.accelerator.print(
            f"{self.stage.name}: {now - self.start:.0f} s, step {step}/{self.stage.steps}, {speed:.2f} steps/s, "
            f"loss {self.mean:.4f}{extra}", flush=True,
        )  # fmt: skip
        self.total.zero_()
        self.count, self.last = 0, time.monotonic()


def train(
    objective: nn.Module,
    stage: Stage,
    accelerator: Accelerator,
    checkpoint: Path,
    probe: Callable[[], str] | None = None,
) -> dict:
    """Trains `objective`, whose forward takes the share of steps done, draws its own batch and returns the loss.

    Args:
        checkpoint (`Path`): a file to continue from, if it is there, and to write to.
        probe (`Callable`, *optional*): something to add to every log line, such as an evaluation.

    Returns:
        `dict`: `steps`, `loss`, `seconds` and `device`. The objective's parameters are the averaged ones afterwards.
    """
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=stage.lr, betas=(0.9, 0.99), weight_decay=stage.weight_decay,
        fused=accelerator.device.type == "cuda",
    )  # fmt: skip
    average = Average(trained, stage.average)
    step, spent, log = 0, 0.0, Log(stage, accelerator, probe)
    if checkpoint.exists():
        step, spent, log.mean = restore(checkpoint, average, optimizer, accelerator.device)
        log.start -= spent
    model, optimizer = accelerator.prepare(objective, optimizer)
    saved = time.monotonic()
    while step < stage.steps:
        torch.manual_seed(hash((stage.seed, step, accelerator.process_index)))
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate(step)
        loss = model(step / stage.steps)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(step)
        step += 1
        log.add(loss, step)
        if time.monotonic() - saved > stage.save_every or step == stage.steps:
            spent = time.monotonic() - log.start
            save(checkpoint, average, optimizer, step, (spent, log.mean), accelerator)
            saved = time.monotonic()
    average.swap()
    accelerator.free_memory()
    return {"steps": step, "loss": log.mean, "seconds": round(spent), "device": accelerator.device.type}


def save(checkpoint, average, optimizer, step, log, accelerator) -> None:
    """Writes what is needed to go on, first beside the file, so that an interruption never leaves half of one."""
    if not accelerator.is_main_process:
        return
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    beside = checkpoint.with_suffix(".tmp")
    weights = [p.detach() for p in average.parameters]
    state = {"weights": weights, "average": average.shadow, "optimizer": optimizer.state_dict()}
    torch.save({**state, "step": step, "log": log}, beside)
    beside.replace(checkpoint)


@torch.no_grad()
def restore(checkpoint, average, optimizer, device) -> tuple[int, float, float]:
    """Reads a checkpoint; returns the step it had reached, the seconds that took, and the last mean loss."""
    state = torch.load(checkpoint, map_location=device, weights_only=True)
    for target, source in ((average.parameters, state["weights"]), (average.shadow, state["average"])):
        for p, value in zip(target, source, strict=True):
            p.copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], *state["log"]
