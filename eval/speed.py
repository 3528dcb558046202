"""How fast every variant is, in turns with the full run; a stage of its own, which makes no pictures to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from toca.eval.environment import machine
from toca.eval.latency import Timing, paired_ratio, take_turns
from toca.eval.prompts import Item
from toca.eval.running import Facts, Run, run_items
from toca.eval.store import Store
from toca.eval.subject import Subject
from toca.eval.variants import BASELINE, Variant

STAGE = "speed"
GROUP = 4  # variants that take turns with one full run; a result is on disk when its group is done


@dataclass(frozen=True)
class Speed:
    """Seconds of a variant, and of the full run in the same turns.

    Args:
        facts (`Facts`): What the timed calls did.
        loop, total (`Timing`): The denoising loop, and from prompts to pictures.
        full_loop, full_total (`Timing`): The same of the full run.
        full_calls (`int`): Transformer calls of the full run.
        taken_at (`str`): When.
    """

    facts: Facts
    loop: Timing
    total: Timing
    full_loop: Timing
    full_total: Timing
    full_calls: int
    taken_at: str

    def loop_speedup(self) -> tuple[float, float, float]:
        """Median and quartiles."""
        return paired_ratio(self.full_loop, self.loop)

    def total_speedup(self) -> tuple[float, float, float]:
        """Median and quartiles."""
        return paired_ratio(self.full_total, self.total)


@dataclass(frozen=True)
class Stopwatch:
    """Times the variants of a run.

    Args:
        subject (`Subject`): The pipeline.
        items (`list[Item]`): One batch.
        seed (`int`): Of the run.
        repeats, warmups (`int`): Rounds that count, and rounds before them.
        store (`Store`): Where the results go.
        code (`str`): Hash of the sources.
    """

    subject: Subject
    items: list[Item]
    seed: int
    repeats: int
    warmups: int
    store: Store
    code: str

    def key(self, variant: Variant) -> dict[str, Any]:
        """All that a variant's time depends on."""
        return {
            **self.subject.identity(),
            **variant.describe(),
            "items": [(item.prompt.id, item.prompt.text, item.sample) for item in self.items],
            "seed": self.seed,
            "turns": [self.repeats, self.warmups],
            "machine": machine(self.subject.pipe.device),
            "code": self.code,
        }

    def measure(self, variants: list[Variant], report: Callable[[int], None]) -> dict[str, Speed]:
        """Time the variants that are not on disk yet; `report` is told how many more are done."""
        known = {variant.name: self.store.load(STAGE, variant.name, self.key(variant)) for variant in variants}
        report(sum(taken is not None for taken in known.values()))
        for group in _groups([variant for variant in variants if known[variant.name] is None]):
            known |= self._measure(group)
            report(len(group))
        return {name: _speed(taken) for name, taken in known.items() if taken is not None}

    def _measure(self, group: list[Variant]) -> dict[str, dict[str, Any]]:
        # The full run goes by a name that no variant of a group has, for it may be in a group itself.
        runs = {"": BASELINE} | {variant.name: variant for variant in group}
        calls = {name: partial(self._run, variant) for name, variant in runs.items()}
        taken = take_turns(calls, self.repeats, self.warmups)
        full = taken.pop("")
        return {
            variant.name: self.store.save(STAGE, variant.name, self.key(variant), _record(taken[variant.name], full))
            for variant in group
        }

    def _run(self, variant: Variant) -> Run:
        run = run_items(self.subject, variant, self.items, self.seed)
        run.frames.clear()
        return run


def _groups(variants: list[Variant]) -> Iterator[list[Variant]]:
    for start in range(0, len(variants), GROUP):
        yield variants[start : start + GROUP]


def _record(runs: list[Run], full: list[Run]) -> dict[str, Any]:
    return {
        "facts": asdict(runs[-1].facts),
        "loop": [run.loop_seconds for run in runs],
        "total": [run.total_seconds for run in runs],
        "full_loop": [run.loop_seconds for run in full],
        "full_total": [run.total_seconds for run in full],
        "full_calls": full[-1].facts.calls,
    }


def _speed(record: dict[str, Any]) -> Speed:
    timings = {name: Timing(tuple(record[name])) for name in ("loop", "total", "full_loop", "full_total")}
    facts = Facts(**record["facts"])
    return Speed(facts=facts, full_calls=record["full_calls"], taken_at=record["taken_at"], **timings)
