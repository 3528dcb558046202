"""From a pipeline and what is to be put on it to rows: what comes out, compared; then times, all in turns.

Both are kept as soon as they are found. What cannot run shows when its samples are made, so that nothing that is timed
fails; it is noted with its reason, and the others go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from toca.eval.architectures import stock
from toca.eval.benchmarks.bench import least
from toca.eval.benchmarks.bench.floor import Floor
from toca.eval.benchmarks.bench.least import floor_of
from toca.eval.benchmarks.bench.lines import FEWER, FULL, OURS, PEER, TUNED, Line
from toca.eval.findings.results import Quartiles
from toca.eval.metrics.errors import brief
from toca.eval.peers import Peer
from toca.eval.samples.prompts import Item
from toca.eval.samples.running import as_floats, digest_of, identity_of, ready
from toca.eval.samples.subject import Subject
from toca.eval.store.environment import code_fingerprint, fingerprint
from toca.eval.store.store import Store
from toca.eval.timing.latency import Timing
from toca.eval.timing.parts import DENOISER, TOTAL, PartCosts
from toca.eval.timing.rivals import competition, together
from toca.eval.timing.speed import Speed, Stopwatch
from toca.eval.variants import BASELINE, Variant
from toca.methods.tuned import Tuned
from toca.pipelines.commands.console import errors

STAGE = "fidelity"


@dataclass(frozen=True)
class Measured:
    """The rows of a case, those that cannot run with their reasons, what is to be said of the times, and what a step
    takes at least."""

    lines: list[Line]
    refused: dict[str, str]
    notes: list[str]
    floor: Floor


class Bench:
    """Measures variants on a pipeline.

    Args:
        subject (`Subject`): The pipeline.
        items (`list[Item]`): The samples of one call, which is both timed and compared.
        seed (`int`): Of their noise.
        rounds (`int`): Turns that count.
        store (`Store`): Where all that is found is kept.
        progress (`Progress`): Shows how far it is.
    """

    def __init__(
        self, subject: Subject, items: list[Item], seed: int, rounds: int, store: Store, progress: Progress
    ) -> None:
        self._subject, self._items, self._seed = subject, items, seed
        self._rounds, self._store, self._progress = rounds, store, progress
        sources = (__file__, least.__file__, stock.__file__)
        self._code = f"{code_fingerprint()} {fingerprint([Path(each) for each in sources])}"
        self._full: np.ndarray | None = None

    def measure(self, variants: list[Variant]) -> Measured:
        """Measure the variants, and the full run with them; what is on disk is taken from there.

        Raises:
            Exception: What the full run raises: without it there is nothing to compare with.
        """
        compared = {
            variant.name: self._compared(variant)
            for variant in self._progress.track(variants, description="  what comes out")
        }
        refused = {name: found["refused"] for name, found in compared.items() if "refused" in found}
        able = [variant for variant in variants if variant.name not in refused]
        if not able:
            raise ValueError(f"Nothing can run on {self._subject.name}: {next(iter(refused.values()), 'no variant')}")
        speeds = self._times(able)
        lines = [self._line(variant, speeds[variant.name], compared[variant.name]["psnr"]) for variant in able]
        # Those that took turns have the same rivals, who are said once.
        rivals = dict.fromkeys(speed.rivals for speed in speeds.values())
        notes = competition({"all rows": together(rivals)})
        idle = [line.variant for line in lines if line.kind != FEWER and not line.skips]
        notes += [f"These skipped nothing here: {', '.join(idle)}."] if idle else []
        floor = floor_of(self._subject, self._items, self._seed, self._rounds, self._store, self._code)
        return Measured([self._full_line(next(iter(speeds.values()))), *lines], refused, notes, floor)

    # --- what comes out --------------------------------------------------------------------------------------------

    def _compared(self, variant: Variant) -> dict[str, Any]:
        """The PSNR of each sample, or why there is none."""
        versions = [torch.__version__, diffusers.__version__, self._subject.pipe.device.type]
        identity = identity_of(self._subject, variant, digest_of(self._items), self._seed, self._code)
        key = {**identity, "versions": versions}
        found = self._store.load(STAGE, variant.name, key)
        if found is None:
            found = self._store.save(STAGE, variant.name, key, self._compare(variant))
        if "refused" in found:
            errors.print(f"{variant.name} cannot run on {self._subject.name}: {found['refused']}")
        return found

    def _compare(self, variant: Variant) -> dict[str, Any]:
        if self._full is None:
            self._full = self._made(BASELINE)
        try:
            samples = self._made(variant)
        except Exception as error:  # whatever it is, the others go on
            return {"refused": _reason(error)}
        return {"psnr": psnr(samples, self._full, self._peak)}

    @property
    def _peak(self) -> float | None:
        """Of the PSNR: the range of pictures; `None` for that of what the full run made."""
        return 1.0 if self._subject.inputs is None else None

    @torch.no_grad()
    def _made(self, variant: Variant) -> np.ndarray:
        """(samples, ...): pictures from 0 to 1, or latents, in float32."""
        floats = as_floats(self._subject.pipe) if self._subject.inputs is None else {}
        with ready(self._subject, variant, self._items, self._seed) as (call, _):
            made = call(**floats)[0]
        array = made.float().cpu().numpy() if isinstance(made, Tensor) else np.asarray(made, dtype=np.float32)
        if not np.isfinite(array).all():
            raise ValueError("What comes out is of no numbers (NaN)")
        return array

    # --- times -----------------------------------------------------------------------------------------------------

    def _times(self, variants: list[Variant]) -> dict[str, Speed]:
        bar = self._progress.add_task(f"  times of {len(variants) + 1} in turns", total=self._rounds)
        watch = Stopwatch(
            self._subject, self._items, self._seed, self._rounds, 1, self._store, self._code,
            group=len(variants), taken=lambda: self._progress.advance(bar),
        )  # fmt: skip
        speeds = watch.measure(variants, lambda count: None)
        self._progress.update(bar, completed=self._rounds)
        return speeds

    def _line(self, variant: Variant, speed: Speed, samples: list[float | None]) -> Line:
        differing = [value for value in samples if value is not None]
        return Line(
            variant=variant.name,
            kind=_kind(variant),
            num_inference_steps=variant.steps or self._subject.steps,
            wall_speedup=speed.loop_speedup(),
            wall_speedup_end_to_end=speed.total_speedup(),
            flops_speedup=speed.flops_speedup(),
            psnr=sum(differing) / len(differing) if differing else None,
            cache_bytes=speed.facts.cache_bytes,
            steps=speed.facts.steps,
            **self._costs(speed.costs),
        )

    def _full_line(self, speed: Speed) -> Line:
        one = (1.0, 1.0, 1.0)
        costs = self._costs(speed.full)
        return Line("full", FULL, self._subject.steps, psnr=None, wall_speedup=one, wall_speedup_end_to_end=one,
                    flops_speedup=1.0, cache_bytes=0, **costs)  # fmt: skip

    def _costs(self, costs: PartCosts) -> dict[str, Any]:
        loop, total = (self._each(costs.seconds[part]) for part in (DENOISER, TOTAL))
        peak = costs.memory.allocated or costs.memory.resident
        return {"seconds": loop, "seconds_end_to_end": total, "peak_bytes": peak, "rounds": self._rounds}

    def _each(self, timing: Timing) -> Quartiles:
        """Of one sample."""
        median, first, third = (seconds / len(self._items) for seconds in (timing.median, *timing.iqr))
        return median, first, third


def _reason(error: Exception) -> str:
    """Why a variant cannot run. What is no refusal is an accident, and told with the error's class."""
    said = brief(error)
    if isinstance(error, (ValueError, ImportError, OSError)) and said:
        return f"{said}."
    return f"it raises {type(error).__name__}{f': {said}' if said else ''}."


def _kind(variant: Variant) -> str:
    if variant.method is None:
        return FEWER
    if isinstance(variant.method, Peer):
        return PEER
    return TUNED if isinstance(variant.method, Tuned) else OURS


def psnr(samples: np.ndarray, references: np.ndarray, peak: float | None) -> list[float | None]:
    """Of each sample to the full run's, in decibels.

    Args:
        samples, references (`np.ndarray`): (N, ...), of one shape.
        peak (`float`, *optional*): The largest difference there can be; of the references' range unless told.

    Returns:
        `list[float | None]`: `None` for a sample that does not differ.
    """
    ours, theirs = samples.astype(np.float64), references.astype(np.float64)
    largest = float(theirs.max() - theirs.min()) if peak is None else peak
    errors = ((ours - theirs) ** 2).reshape(len(ours), -1).mean(axis=1)
    return [float(10 * np.log10(largest**2 / error)) if error else None for error in errors]
