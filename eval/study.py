"""One pipeline, all variants, in stages that can be run apart: pictures, times, scores, report.

A stage keeps what it finds in the store and takes what is there, so that each goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property, partial
from time import monotonic
from typing import Any

import numpy as np
from rich.progress import Progress

from toca.eval.config.settings import Settings
from toca.eval.findings.results import Results
from toca.eval.findings.rows import make_row, with_matches
from toca.eval.progress.bars import Tally, at_variant
from toca.eval.progress.outline import Outline, outline_of
from toca.eval.report import Report
from toca.eval.report.failing import refused_peers
from toca.eval.report.token_maps import TokenMaps
from toca.eval.samples.held_out import SAME_CLASSES, named_fronts, unseen_prompts
from toca.eval.samples.pictures import Gallery, VariantFailed
from toca.eval.samples.prompts import choose, items_of
from toca.eval.samples.shards import WHOLE, Shard
from toca.eval.samples.subject import Subject
from toca.eval.scoring.judges.making import Judges
from toca.eval.scoring.stage import Scores, Scoring
from toca.eval.store.environment import code_fingerprint, environment
from toca.eval.store.store import Store
from toca.eval.telling import Begun, track
from toca.eval.timing.rivals import competition
from toca.eval.timing.speed import Speed, Stopwatch
from toca.eval.variants import BASELINE, Failure, Lineup, Variant, fewer_steps, in_own_steps
from toca.pipelines.commands.console import errors
from toca.tuning.quality import resamples


class Study:
    """Measures the variants on a pipeline.

    Args:
        subject (`Subject`): The pipeline.
        lineup (`Lineup`): The methods to compare. The full run and those with fewer steps come by themselves.
        settings (`Settings`): How much is measured.
        store (`Store`): Where results of stages are kept.
        progress (`Progress`): Shows how far it is.

    Raises:
        ValueError: If a run with fewer steps is to have more, or a judge cannot be had; it says why.
    """

    def __init__(self, subject: Subject, lineup: Lineup, settings: Settings, store: Store, progress: Progress) -> None:
        self._subject, self._settings, self._progress = subject, settings, progress
        self._uncached = [*fewer_steps(subject.steps, settings.fewer_steps), BASELINE]
        self._methods = [in_own_steps(variant, subject.steps) for variant in lineup.variants]
        searched = [*self._methods, *settings.searched(subject.name).variants]
        unseen, self._seen = unseen_prompts(subject.prompts, type(subject.pipe), searched)
        self._fronts = {} if SAME_CLASSES in self._seen else named_fronts(searched)
        self._items = items_of(choose(unseen, settings.prompts, settings.seed), settings.samples)
        seed, code, batch = settings.seed, code_fingerprint(), settings.batch_size
        turns = (settings.repeats, settings.warmups)
        self._gallery = Gallery(subject, self._items, seed, batch, store, code, settings.float_pictures)
        timed = self._items[: settings.bench_batch_size or batch]
        self._stopwatch = Stopwatch(subject, timed, seed, *turns, store, code)
        self._maps = TokenMaps(self._gallery)
        judges = Judges.of(settings.scores, subject)
        self._scoring = Scoring(self._gallery, judges, store)

    def outline(self, command: str) -> Outline:
        """What it is made of, and where each part of it lies.

        Args:
            command (`str`): What was typed.
        """
        return outline_of(self._gallery, self._stopwatch, self._scoring, self._made, command)

    def take(self, shard: Shard = WHOLE) -> None:
        """Take from the store's mirror the pictures of this process's share that are lacking here; without a mirror
        nothing happens. What was found of them comes as it is asked for.

        Raises:
            OSError: If something cannot be read there or written here; one sentence.
        """
        if self._gallery.store.mirror is not None:
            for variant in self._track("taken from there", self._made):
                self._gallery.take(variant, shard)

    def generate(self, shard: Shard = WHOLE) -> list[Failure]:
        """Make this process's share of all pictures; a variant that raises becomes a failure, and the others go on.

        Returns:
            `list[Failure]`: What raised in this process.

        Raises:
            Exception: What the full run raises: without it there is nothing to compare with.
        """
        share, steps = self._gallery.share(shard), [variant.steps or self._subject.steps for variant in self._made]
        failures: list[Failure] = []
        tally = Tally(self._progress, "samples", share * sum(steps))
        for place, variant in enumerate(self._made):
            tally.at(variant.name, place + 1, len(self._made))
            add = partial(tally.add, weight=steps[place])
            try:
                make = self._make_full_run if variant == BASELINE else partial(self._gallery.make, variant)
                make(shard, add)
            except VariantFailed as failed:
                if variant == BASELINE:
                    raise failed.__cause__ or failed from None
                before = refused_peers(failures)
                failures.append(Failure(variant.name, str(failed)))
                self._tell(failures[-1], before)
            tally.reach(share * sum(steps[: place + 1]))
        return failures

    def begun(self, shard: Shard = WHOLE) -> Begun:
        """What of it is there already."""
        made = [self._gallery.made(variant, shard) for variant in self._made]
        done, batches = (sum(counts) for counts in zip(*made, strict=True))
        return Begun(done, batches, self._stopwatch.timed(self._made), len(self._made))

    def _make_full_run(self, shard: Shard, made: Callable[[int, bool], None]) -> None:
        """With how long all of it takes at most, as soon as it can be told."""
        before, _ = self._gallery.made(BASELINE, shard)
        start = monotonic()
        self._gallery.make(BASELINE, shard, made)
        after, _ = self._gallery.made(BASELINE, shard)
        if after > before:
            seconds = (monotonic() - start) / (after - before)
            self._progress.print(self.begun(shard).at_most(seconds), soft_wrap=True)

    def _tell(self, failure: Failure, before: dict[str, str]) -> None:
        """A failure, as soon as it is known; of a peer that does not go with the pipeline at all once, and quietly."""
        refused = refused_peers([failure])
        if not refused:
            errors.print(f"{failure.variant} failed: {failure.reason}")
        for name, reason in refused.items():
            if name not in before:
                errors.print(f"{name} does not go with this pipeline: {reason}", style="bright_black")

    def time(self) -> None:
        """Time every variant that has its pictures, in turns with the full run."""
        progress = self._progress
        bar = progress.add_task("times", total=len(self._variants))
        speeds = self._stopwatch.measure(
            self._variants,
            lambda count: progress.advance(bar, count),
            lambda names: at_variant(progress, bar, "times", ", ".join(names)),
        )
        progress.update(bar, description="times")
        for warning in self._competition(speeds):
            errors.print(warning)

    def score(self) -> None:
        """Compute fidelity and quality of every variant's pictures, and record which tokens were recomputed."""
        _ = self._scores
        for variant in self._track("token maps", self._methods):
            if variant.name in self._drawn:
                self._maps.record(variant, self._drawn[variant.name]["steps"])

    def report(self, command: str) -> Report:
        """What was found.

        Args:
            command (`str`): What makes it again.

        Raises:
            ValueError: If pictures or times are missing; it says what to run.
        """
        speeds = self._stopwatch.load(self._variants)
        found = self._scores
        prompts = [item.prompt.id for item in self._items]
        rows = {
            variant.name: make_row(
                variant,
                variant.steps or self._subject.steps,
                self._drawn[variant.name],
                speeds[variant.name],
                found.fidelity[variant.name],
                prompts,
            )
            for variant in self._variants
        }
        uncached = [rows[variant.name] for variant in self._uncached if variant.name in rows]
        methods = [rows[variant.name] for variant in self._methods if variant.name in rows]
        results = Results(
            model=self._subject.name,
            config=self._config(found.perceptual),
            metrics=found.metrics,
            uncached=uncached,
            methods=[with_matches(row, uncached, found.metrics, prompts) for row in methods],
            failures=self.failures,
            taken=self._first_and_last(speeds),
            notes=[*found.notes, *self._seen, *self._competition(speeds)],
        )
        maps, plans = self._maps.found(self._methods)
        return Report(
            results, environment(self._subject.pipe.device), command, self._settings.speedups, found.columns,
            self._pictures, maps, plans, {variant.name: self._gallery.folder(variant) for variant in self._variants},
        )  # fmt: skip

    @cached_property
    def _scores(self) -> Scores:
        """Fidelity and quality; the report shows what the stage before it found."""
        tally = Tally(self._progress, "scores", len(self._variants) * len(self._items))

        def each() -> Iterator[Variant]:
            for place, variant in enumerate(self._variants, 1):
                tally.at(variant.name, place, len(self._variants))
                yield variant

        return self._scoring.score(each(), tally.add)

    @property
    def _made(self) -> list[Variant]:
        """All variants in the order in which their pictures are made, the full run first."""
        return [BASELINE, *self._uncached[:-1], *self._methods]

    @cached_property
    def _variants(self) -> list[Variant]:
        """Those that have all their pictures."""
        return [variant for variant in (*self._uncached, *self._methods) if variant.name in self._drawn]

    @cached_property
    def _drawn(self) -> dict[str, dict[str, Any]]:
        failed = {failure.variant for failure in self.failures}
        variants = [variant for variant in (*self._uncached, *self._methods) if variant.name not in failed]
        return {variant.name: self._gallery.facts(variant) for variant in variants}

    @cached_property
    def failures(self) -> list[Failure]:
        """The variants that have not all of their pictures because they raised."""
        reasons = {variant.name: self._gallery.failure(variant) for variant in (*self._uncached, *self._methods)}
        return [Failure(name, reason) for name, reason in reasons.items() if reason is not None]

    def _pictures(self, name: str, chosen: Sequence[int]) -> np.ndarray:
        return self._gallery.load(next(variant for variant in self._variants if variant.name == name), chosen)

    def _track(self, what: str, variants: Sequence[Variant]) -> Iterable[Variant]:
        return track(self._progress, what, variants)

    def _config(self, perceptual: str | None) -> dict[str, Any]:
        return {
            **self._settings.model_dump(mode="json"),
            **self._subject.identity(),
            "bench_batch_size": len(self._stopwatch.items),
            "resamples": resamples(len({item.prompt.id for item in self._items})),
            "perceptual": perceptual,
            "fronts": self._fronts,
            "items": [(item.prompt.id, item.sample, item.prompt.text) for item in self._items],
        }

    def _competition(self, speeds: dict[str, Speed]) -> list[str]:
        return competition({name: speed.rivals for name, speed in speeds.items()})

    def _first_and_last(self, speeds: dict[str, Speed]) -> tuple[str, str]:
        moments = [taken["taken_at"] for taken in self._drawn.values()] + [speed.taken_at for speed in speeds.values()]
        return _minute(min(moments)), _minute(max(moments))


def _minute(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M UTC")
