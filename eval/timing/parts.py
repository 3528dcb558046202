"""Where the time of a generation goes: text encoder, denoiser, VAE decode, and end to end, for variants in turns.

What is timed is a `Workload`: a generation, and the cache that is put on for it, outside the clock. Of each there are,
apart from one another, the first run, which compiles what is to be compiled; rounds that warm up; rounds that count;
one run for the peak of memory; and one run in eager mode that `FlopMeter` watches. No figure of one is taken
while another is, and nothing that is made here is kept.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from toca.eval.counting.flops import FlopMeter
from toca.eval.timing.latency import Timing, paired_ratio, seconds_of, synchronize
from toca.hooks.calls import CallWatch
from toca.tuning.clock import CallClock
from toca.tuning.turns import take_turns

TEXT_ENCODER, DENOISER, VAE_DECODE, TOTAL = "text encoder", "denoiser", "VAE decode", "end to end"
REPEATS, WARMUPS = 10, 3
"""The least that a figure may be published with; fewer is for trying things out, and `PartCosts.enough` says so."""

Parts = Mapping[str, list[nn.Module]]
Turn = Mapping[str, dict[str, float]]
"""A round: of each workload, by its name, the seconds of each part."""


@dataclass(frozen=True)
class Workload:
    """A generation to measure.

    Args:
        run (`Callable`): From text to pictures, the same work each time: it seeds its own noise.
        on (`Callable`): Puts the cache on for the length of a `with` block.
        cache_bytes (`Callable`): Bytes kept between steps; asked after a run, with the cache still on.
    """

    run: Callable[[], object]
    on: Callable[[], AbstractContextManager[object]] = nullcontext
    cache_bytes: Callable[[], int] = lambda: 0


@dataclass(frozen=True)
class Peak:
    """Peaks of one run, weights and all that the process held before included, in bytes; `None` where unknown.

    Args:
        allocated, reserved (`int`, *optional*): Of the GPU's memory, by tensors and by torch's allocator for them.
        resident (`int`, *optional*): Of the machine's memory, by the process; Linux only, and not told for a GPU.
    """

    allocated: int | None = None
    reserved: int | None = None
    resident: int | None = None


@dataclass(frozen=True)
class PartCosts:
    """What a workload costs, part by part.

    Args:
        seconds (`dict[str, Timing]`): Of each part, and of the whole by the name `TOTAL`. The denoiser's are from its
            first call to the end of its last, with the scheduler's steps between them; likewise the text encoders'.
        flops (`dict[str, int]`): Of the same, two a multiply-add.
        calls (`int`): Of the denoiser.
        memory (`Peak`): The peak.
        cache_bytes (`int`): Bytes kept between steps.
        first_run_seconds (`float`): End to end, of the very first run.
        warmups (`int`): Runs that did not count, the first one included.
    """

    seconds: dict[str, Timing]
    flops: dict[str, int]
    calls: int
    memory: Peak
    cache_bytes: int
    first_run_seconds: float
    warmups: int

    @property
    def compile_seconds(self) -> float:
        """What the first run took longer than the median one. With torch.compile that is compiling; without it,
        loading kernels and growing the allocator's pool. Of workloads that share graphs the first one pays."""
        return max(0.0, self.first_run_seconds - self.seconds[TOTAL].median)

    @property
    def enough(self) -> bool:
        """Whether there were as many warm-ups and repeats as a published figure needs."""
        return self.warmups >= WARMUPS and len(self.seconds[TOTAL].seconds) >= REPEATS

    def record(self) -> dict[str, Any]:
        """All of it as plain data, for JSON; `from_record` reads it."""
        return {
            "seconds": {
                part: {**spread(timing), "all": list(timing.seconds)} for part, timing in self.seconds.items()
            },
            "flops": self.flops,
            "calls": self.calls,
            "memory": asdict(self.memory),
            "cache_bytes": self.cache_bytes,
            "first_run_seconds": self.first_run_seconds,
            "compile_seconds": self.compile_seconds,
            "warmups": self.warmups,
            "repeats": len(self.seconds[TOTAL].seconds),
            "enough": self.enough,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> PartCosts:
        """What `record` was made of."""
        return cls(
            seconds={part: Timing(tuple(figures["all"])) for part, figures in record["seconds"].items()},
            flops=record["flops"],
            calls=record["calls"],
            memory=Peak(**record["memory"]),
            cache_bytes=record["cache_bytes"],
            first_run_seconds=record["first_run_seconds"],
            warmups=record["warmups"],
        )


def spread(timing: Timing) -> dict[str, float]:
    """Median, quartiles, their distance and the 90th percentile, in seconds; linear between neighbours."""
    first, third = timing.iqr
    p90 = float(np.quantile(timing.seconds, 0.9))
    return {
        "median": timing.median,
        "first_quartile": first,
        "third_quartile": third,
        "iqr": third - first,
        "p90": p90,
    }


@dataclass(frozen=True)
class Gain:
    """What a part of a workload gained over the same part of the full run.

    Args:
        wall (`tuple[float, float, float]`): Speed-up by the clock, turn by turn: median, first and third quartile.
        flops (`float`): Speed-up that the FLOPs promise.
    """

    wall: tuple[float, float, float]
    flops: float

    @property
    def wall_over_flops(self) -> float:
        """1 where a cached step costs what its FLOPs say."""
        return self.wall[0] / self.flops

    @property
    def skipped_nothing(self) -> bool:
        """Whether as many FLOPs were done as in the full run: no speed-up of such a run may be shown as a cache's."""
        return self.flops <= 1

    def record(self) -> dict[str, Any]:
        """All of it as plain data, for JSON."""
        derived = {"wall_over_flops": self.wall_over_flops, "skipped_nothing": self.skipped_nothing}
        return {"wall": list(self.wall), "flops": self.flops, **derived}


def gain(full: PartCosts, costs: PartCosts, part: str = DENOISER) -> Gain:
    """The speed-ups of a part over the full run of the same turns."""
    return Gain(paired_ratio(full.seconds[part], costs.seconds[part]), full.flops[part] / costs.flops[part])


def parts_of(components: Mapping[str, Any]) -> dict[str, list[nn.Module]]:
    """The modules of each part.

    Args:
        components (`Mapping[str, Any]`): `pipe.components`, or what else has a diffusers pipeline's names.

    Raises:
        ValueError: If there is no transformer.
    """
    modules: dict[str, Any] = {name: part for name, part in components.items() if isinstance(part, nn.Module)}
    transformers = [module for name, module in modules.items() if name.startswith("transformer")]
    if not transformers:
        raise ValueError(f"There is no transformer to time among {', '.join(components) or 'no components'}.")
    encoders = [module for name, module in modules.items() if name.startswith("text_encoder")]
    # `decode` is no forward, so it has no hooks; nearly all of it is this module.
    decoders = [module.decoder for name, module in modules.items() if name == "vae" and hasattr(module, "decoder")]
    parts = {TEXT_ENCODER: encoders, DENOISER: transformers, VAE_DECODE: decoders}
    return {part: found for part, found in parts.items() if found}


@torch.no_grad()
def measure_parts(
    components: Mapping[str, Any],
    workloads: Mapping[str, Workload],
    repeats: int = REPEATS,
    warmups: int = WARMUPS,
    *,
    before: Sequence[Turn] = (),
    keep: Callable[[Turn], None] = lambda turn: None,
) -> dict[str, PartCosts]:
    """Measure all workloads of a pipeline, in turns.

    Args:
        components (`Mapping[str, Any]`): `pipe.components`, or what else has a diffusers pipeline's names. Blocks may
            be compiled, whole models may not: a clock stands at their calls.
        workloads (`Mapping[str, Workload]`): What to measure, by name.
        repeats (`int`, defaults to 10): Rounds that count, at least 1.
        warmups (`int`, defaults to 3): Rounds before them that do not, at least 1; the first one compiles.
        before (`Sequence[Turn]`): Rounds of the same workloads that were taken earlier and count.
        keep (`Callable`): Is given every further round as soon as it is taken.

    Raises:
        ValueError: If there is no transformer, or too few rounds.
    """
    for name, value in (("repeats", repeats), ("warmups", warmups)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    parts = parts_of(components)
    runs = {name: partial(_seconds, workload, parts) for name, workload in workloads.items()}
    first = {name: run()[TOTAL] for name, run in runs.items()}
    left = max(repeats - len(before), 0)
    further = take_turns(runs, left, warmups - 1 if left else 0, keep)
    turns = {name: [*(turn[name] for turn in before[:repeats]), *further[name]] for name in workloads}
    return {name: _costs(workload, parts, turns[name], first[name], warmups) for name, workload in workloads.items()}


def _costs(workload: Workload, parts: Parts, turns: list[dict[str, float]], first: float, warmups: int) -> PartCosts:
    seconds = {part: Timing(tuple(turn[part] for turn in turns)) for part in turns[0]}
    memory, cache_bytes = _memory(workload, next(parts[DENOISER][0].parameters()).device)
    flops, calls = _flops(workload, parts)
    return PartCosts(seconds, flops, calls, memory, cache_bytes, first, warmups)


def _seconds(workload: Workload, parts: Parts) -> dict[str, float]:
    """Seconds of one run, part by part; 0 of a part that was not called. Putting the cache on and off is outside."""
    with workload.on(), ExitStack() as stack:
        clocks = {part: stack.enter_context(CallClock(modules)) for part, modules in parts.items()}
        total = seconds_of(workload.run)
    return {part: clock.seconds if clock.calls else 0.0 for part, clock in clocks.items()} | {TOTAL: total}


def _flops(workload: Workload, parts: Parts) -> tuple[dict[str, int], int]:
    """FLOPs of one run in eager mode, part by part, and the denoiser's calls."""
    with workload.on(), ExitStack() as stack:
        meter = stack.enter_context(FlopMeter())
        watches = {part: stack.enter_context(_FlopWatch(modules, meter)) for part, modules in parts.items()}
        workload.run()
    flops = {part: watch.flops for part, watch in watches.items()} | {TOTAL: meter.total}
    return flops, watches[DENOISER].calls


class _FlopWatch(CallWatch):
    """While it is entered, adds up the FLOPs that a meter counts during the modules' calls."""

    def __init__(self, modules: list[nn.Module], meter: FlopMeter) -> None:
        super().__init__(modules)
        self._meter = meter
        self._start = 0
        self.flops = 0

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        super()._before(module, args, kwargs)
        self._start = self._meter.total

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.flops += self._meter.total - self._start


def _memory(workload: Workload, device: torch.device) -> tuple[Peak, int]:
    """The peak of one run, and the bytes that its cache held at the end."""
    with workload.on():
        gc.collect()
        read = _watch_gpu(device) if device.type == "cuda" else _watch_process()
        workload.run()
        return read(), workload.cache_bytes()


def _watch_gpu(device: torch.device) -> Callable[[], Peak]:
    """Forget the peak so far; the function returned reads the one since."""
    # What the allocator keeps from the workloads before would count as reserved by this one.
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)

    def read() -> Peak:
        synchronize()
        return Peak(torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device))

    return read


_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _watch_process() -> Callable[[], Peak]:
    """The same. Linux lowers the high-water mark of a process when asked; `getrusage` has one that only rises."""
    try:
        _CLEAR.write_text("5", encoding="utf-8")
    except OSError:
        return Peak

    def read() -> Peak:
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
        marks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
        return Peak(resident=marks[0] if marks else None)

    return read
