"""What every variant costs, part by part, in turns with the full run; a stage that makes no pictures to keep."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toca.eval.samples.prompts import Item
from toca.eval.samples.running import Facts, Told, digest_of, facts_of, identity_of, ready
from toca.eval.samples.subject import Subject
from toca.eval.store.environment import machine
from toca.eval.store.sealed import digest
from toca.eval.store.store import Store
from toca.eval.timing.latency import paired_ratio
from toca.eval.timing.parts import DENOISER, TOTAL, PartCosts, Turn, Workload, measure_parts
from toca.eval.timing.rivals import Rivals, lookout, together
from toca.eval.timing.rounds import Round, Rounds
from toca.eval.variants import BASELINE, Variant

STAGE = "speed"
FULL = ""
"""The workload that is the full run. It has no variant's name, for the full run may be a variant of a group itself."""
GROUP = 4  # variants that take turns with one full run; every round is on disk as soon as it is taken


@dataclass(frozen=True)
class Speed:
    """What a variant costs, and what the full run costs in the same turns.

    Args:
        facts (`Facts`): What the cache did.
        costs (`PartCosts`): Of the variant.
        full (`PartCosts`): Of the full run.
        rivals (`Rivals`): Who else was busy meanwhile.
        taken_at (`str`): When.
    """

    facts: Facts
    costs: PartCosts
    full: PartCosts
    rivals: Rivals
    taken_at: str

    def part(self, name: str) -> tuple[float, float, float]:
        """Median and quartiles of the speed-up of a part, turn by turn."""
        return paired_ratio(self.full.seconds[name], self.costs.seconds[name])

    def loop_speedup(self) -> tuple[float, float, float]:
        """Median and quartiles."""
        return self.part(DENOISER)

    def total_speedup(self) -> tuple[float, float, float]:
        """Median and quartiles."""
        return self.part(TOTAL)

    def flops_speedup(self) -> float:
        """The denoiser's FLOPs in the full run over those in the variant's, as `FlopMeter` counts both."""
        return self.full.flops[DENOISER] / self.costs.flops[DENOISER]


class VariantWorkload:
    """A variant as `measure_parts` measures it.

    Args:
        subject (`Subject`): The pipeline.
        variant (`Variant`): What is on it.
        items (`list[Item]`): One batch.
        seed (`int`): Of the run.
    """

    _call: Callable[[], Any]
    _summarize: Callable[[], Told | None]

    def __init__(self, subject: Subject, variant: Variant, items: list[Item], seed: int) -> None:
        self._batch = (subject, variant, items, seed)
        self._summary: Told | None = None

    def workload(self) -> Workload:
        """To be measured by one `measure_parts`."""
        return Workload(self._run, self._on, self._cache_bytes)

    def facts(self, calls: int) -> Facts:
        """What the cache did in so many transformer calls; known once the bytes of the cache have been asked for."""
        return facts_of(calls, self._summary)

    @contextlib.contextmanager
    def _on(self) -> Iterator[None]:
        with ready(*self._batch) as (self._call, self._summarize):
            yield
        # Noise and what a peer's meter holds would count in the peaks of the workloads that come after.
        del self._call, self._summarize

    def _run(self) -> None:
        self._call()

    def _cache_bytes(self) -> int:
        self._summary = self._summarize()
        return self._summary.cache_bytes if self._summary is not None else 0


@dataclass(frozen=True)
class Stopwatch:
    """Measures what the variants of a run cost.

    Args:
        subject (`Subject`): The pipeline.
        items (`list[Item]`): One batch.
        seed (`int`): Of the run.
        repeats, warmups (`int`): Rounds that count, and rounds before them.
        store (`Store`): Where the results go.
        code (`str`): Hash of the sources.
        group (`int`, defaults to 4): Variants that take turns with one full run.
        taken (`Callable`): Is told that a round has been taken, as soon as it is on disk.
    """

    subject: Subject
    items: list[Item]
    seed: int
    repeats: int
    warmups: int
    store: Store
    code: str
    group: int = GROUP
    taken: Callable[[], None] = lambda: None

    def key(self, variant: Variant) -> dict[str, Any]:
        """All that a variant's time depends on."""
        return {
            **identity_of(self.subject, variant, digest_of(self.items), self.seed, self.code),
            "turns": [self.repeats, self.warmups],
            "machine": machine(self.subject.pipe.device),
        }

    def timed(self, variants: list[Variant]) -> int:
        """Of how many variants the times are on disk."""
        return sum(self._find(variant) is not None for variant in variants)

    def measure(
        self,
        variants: list[Variant],
        report: Callable[[int], None],
        begin: Callable[[Sequence[str]], None] = lambda names: None,
    ) -> dict[str, Speed]:
        """Measure the variants that are not on disk yet, from the round on in which an earlier process stopped;
        `report` is told how many more are done, and `begin` the names of those that take turns now.

        Raises:
            ValueError: If there are too few rounds.
            OSError: If a result cannot be written.
        """
        missing = {self.turns_of(variant): variant for variant in variants if self._find(variant) is None}
        report(len(variants) - len(missing))
        for names, before in _groups(list(missing), self.rounds.taken(), self.group):
            begin([missing[name].name for name in names])
            self._measure({name: missing[name] for name in names}, before)
            report(len(names))
        self.rounds.clear()
        return self.load(variants)

    def load(self, variants: list[Variant]) -> dict[str, Speed]:
        """What is on disk.

        Raises:
            ValueError: If a variant is not.
        """
        return {variant.name: self._load(variant) for variant in variants}

    def _load(self, variant: Variant) -> Speed:
        found = self._find(variant)
        if found is None:
            raise ValueError(f"{variant.name!r} has not been timed: run the stage `time`.")
        costs, full = (PartCosts.from_record(found[name]) for name in ("costs", "full"))
        return Speed(Facts(**found["facts"]), costs, full, Rivals(**found["rivals"]), found["taken_at"])

    def _find(self, variant: Variant) -> dict[str, Any] | None:
        return self.store.load(STAGE, variant.name, self.key(variant))

    def _measure(self, group: dict[str, Variant], before: list[Round]) -> None:
        rounds = list(before[: self.repeats])
        runs = {FULL: BASELINE} | group
        made = {name: VariantWorkload(self.subject, variant, self.items, self.seed) for name, variant in runs.items()}
        workloads = {name: each.workload() for name, each in made.items()}
        with lookout() as out:

            def keep(seconds: Turn) -> None:
                rounds.append(Round(dict(seconds), out.look()))
                self.rounds.append(rounds[-1])
                self.taken()

            costs = measure_parts(
                self.subject.pipe.components, workloads, self.repeats, self.warmups,
                before=[round.seconds for round in before], keep=keep,
            )  # fmt: skip
        shared = {"full": costs[FULL].record(), "rivals": asdict(together(round.rivals for round in rounds))}
        for name, variant in group.items():
            facts = asdict(made[name].facts(costs[name].calls))
            record = {"facts": facts, "costs": costs[name].record(), **shared}
            self.store.save(STAGE, variant.name, self.key(variant), record)

    def file(self, variant: Variant) -> Path:
        """Where a variant's times lie, or will."""
        return self.store.path(STAGE, variant.name, self.key(variant))

    def turns_of(self, variant: Variant) -> str:
        """What a variant is called in the rounds, where those of other settings may stand too."""
        return digest([variant.name, self.key(variant)])

    @property
    def rounds(self) -> Rounds:
        """Those that have been taken, of variants that have no times yet."""
        return Rounds(self.store.folder / STAGE / f"rounds-{digest(self.key(BASELINE))[:12]}.jsonl")


def _groups(names: list[str], taken: list[Round], size: int) -> Iterator[tuple[list[str], list[Round]]]:
    """Workloads that take turns with one full run, and the rounds in which all of them have done so already."""
    found: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        numbers = tuple(i for i, round in enumerate(taken) if {name, FULL} <= round.seconds.keys())
        found.setdefault(numbers, []).append(name)
    for numbers, alike in found.items():
        for start in range(0, len(alike), size):
            yield alike[start : start + size], [taken[i] for i in numbers]
