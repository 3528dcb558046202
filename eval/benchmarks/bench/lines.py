"""A row of the bench as plain data, and how two rows compare."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from toca.checks import shown
from toca.eval.benchmarks.bench.floor import Floor
from toca.eval.findings.results import Quartiles

FULL, FEWER, OURS, TUNED, PEER = "full run", "fewer steps", "ours", "tuned", "peer"
KINDS = (FULL, FEWER, OURS, TUNED, PEER)


@dataclass(frozen=True)
class Line:
    """One variant on one case, a field a column.

    Args:
        variant (`str`): Its name, by which it can be asked for again.
        kind (`str`): One of `KINDS`.
        num_inference_steps (`int`): Denoising steps.
        seconds (`Quartiles`): Of the denoising loop, for one sample.
        seconds_end_to_end (`Quartiles`): Of the whole call, for one sample.
        wall_speedup (`Quartiles`): Of the loop over the full run's in the same turns.
        wall_speedup_end_to_end (`Quartiles`): Of the whole call.
        flops_speedup (`float`): FLOPs of the full run's denoiser over its own, both counted.
        psnr (`float`, *optional*): Mean over the samples that differ from the full run's, in decibels; `None` if none
            does.
        cache_bytes (`int`): The most that the cache was seen to hold, for one call.
        peak_bytes (`int`, *optional*): The most memory of the process, or of the GPU, in one call.
        rounds (`int`): Turns that count.
        steps (`str`): One letter a step; empty without a cache.
    """

    variant: str
    kind: str
    num_inference_steps: int
    seconds: Quartiles
    seconds_end_to_end: Quartiles
    wall_speedup: Quartiles
    wall_speedup_end_to_end: Quartiles
    flops_speedup: float
    psnr: float | None
    cache_bytes: int
    peak_bytes: int | None
    rounds: int
    steps: str = ""

    @property
    def wall_over_flops(self) -> float:
        """1 where a skipped operation saves its time."""
        return self.wall_speedup[0] / self.flops_speedup

    @property
    def decibels(self) -> float:
        """The PSNR; infinite where nothing differs from the full run."""
        return math.inf if self.psnr is None else self.psnr

    @property
    def skips(self) -> bool:
        """Whether it did less than the full run."""
        return self.flops_speedup > 1

    def record(self) -> dict[str, Any]:
        """All of it as plain data, for JSON; `Line.of` reads it."""
        return {**asdict(self), "wall_over_flops": self.wall_over_flops}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Line:
        """What `record` was made of."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        values.pop("wall_over_flops", None)
        return cls(**values)


@dataclass(frozen=True)
class Found:
    """What was found on one case.

    Args:
        case (`str`): Its name.
        about (`str`): The model, its size, and what it was divided by.
        compared (`str`): What the PSNR is of.
        command (`str`): What was typed.
        environment (`dict`): Machine, versions and revision.
        lines (`list[Line]`): The full run first.
        refused (`dict[str, str]`): Variants that cannot run here, and why.
        notes (`list[str]`): What else is to be said, a sentence each.
        floor (`Floor`, *optional*): What a step takes at least; `None` of a bench that was run before it was measured.
    """

    case: str
    about: str
    compared: str
    command: str
    environment: dict[str, Any]
    lines: list[Line]
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    floor: Floor | None = None

    def of_kind(self, *kinds: str) -> list[Line]:
        return [line for line in self.lines if line.kind in kinds]

    def record(self) -> dict[str, Any]:
        """All of it as plain data, for JSON; `Found.of` reads it."""
        floor = None if self.floor is None else asdict(self.floor)
        return {**vars(self), "lines": [line.record() for line in self.lines], "floor": floor}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Found:
        """What `record` was made of. Raises `ValueError` for anything else."""
        try:
            floor = Floor.of(data["floor"]) if data.get("floor") else None
            return cls(**{**data, "lines": [Line.of(line) for line in data["lines"]], "floor": floor})
        except (TypeError, KeyError) as error:
            raise ValueError(f"it holds no case of a bench: {shown(str(error))}") from error
