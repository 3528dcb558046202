"""One pipeline, all variants: pictures first, then times, then figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.progress import Progress

from toca.eval.bootstrap import RESAMPLES
from toca.eval.environment import code_fingerprint
from toca.eval.fidelity import STAGE, fidelity, metrics_with
from toca.eval.perceptual import PerceptualDistance
from toca.eval.pictures import Gallery
from toca.eval.prompts import choose, items_of
from toca.eval.results import Results
from toca.eval.rows import Samples, make_row, with_matches
from toca.eval.speed import Speed, Stopwatch
from toca.eval.store import Store
from toca.eval.subject import Subject
from toca.eval.variants import BASELINE, Failure, Lineup, Variant, fewer_steps
from toca.pipelines.loading import first_sentence


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Args:
        prompts (`int`): How many prompts.
        samples (`int`): Samples of each, from different noise.
        seed (`int`): Of prompts and noise.
        batch_size (`int`): Samples at a time, for pictures and times alike.
        repeats, warmups (`int`): Timed rounds, and rounds before them.
        smallest_share (`float`): The uncached run is measured from this share of its steps up.
    """

    prompts: int = 32
    samples: int = 1
    seed: int = 0
    batch_size: int = 8
    repeats: int = 10
    warmups: int = 3
    smallest_share: float = 0.2


class Study:
    """Measures the variants on a pipeline.

    Args:
        subject (`Subject`): The pipeline.
        lineup (`Lineup`): The methods to compare. The full run and those with fewer steps come by themselves.
        settings (`Settings`): How much is measured.
        store (`Store`): Where results of stages are kept; those that are there are taken.
        perceptual (`PerceptualDistance`, *optional*): A metric beside PSNR and SSIM.
        progress (`Progress`): Shows how far it is.
    """

    def __init__(
        self,
        subject: Subject,
        lineup: Lineup,
        settings: Settings,
        store: Store,
        perceptual: PerceptualDistance | None,
        progress: Progress,
    ) -> None:
        self._subject, self._settings, self._store = subject, settings, store
        self._perceptual, self._progress = perceptual, progress
        self._uncached = [*fewer_steps(subject.steps, settings.smallest_share), BASELINE]
        self._methods = lineup.variants
        self._failures = list(lineup.failures)
        self._items = items_of(choose(subject.prompts, settings.prompts, settings.seed), settings.samples)
        seed, code, batch = settings.seed, code_fingerprint(), settings.batch_size
        turns = (settings.repeats, settings.warmups)
        self._gallery = Gallery(subject, self._items, seed, batch, store, code)
        self._stopwatch = Stopwatch(subject, self._items[:batch], seed, *turns, store, code)

    def run(self) -> Results:
        """All stages. Interrupted, it goes on where it stopped when it is run again with the same settings."""
        drawn = self._draw()
        variants = [variant for variant in (*self._uncached, *self._methods) if variant.name in drawn]
        speeds = self._time(variants)
        samples = self._compare(variants)
        prompts = [item.prompt.id for item in self._items]
        rows = {}
        for variant in variants:
            name, steps = variant.name, variant.steps or self._subject.steps
            rows[name] = make_row(variant, steps, drawn[name], speeds[name], samples[name], prompts)
        uncached = [rows[variant.name] for variant in self._uncached if variant.name in rows]
        methods = [rows[variant.name] for variant in self._methods if variant.name in rows]
        metrics = metrics_with(self._perceptual)
        return Results(
            model=self._subject.name,
            config=self._config(),
            metrics=metrics,
            uncached=uncached,
            methods=[with_matches(row, uncached, metrics, prompts) for row in methods],
            failures=self._failures,
            taken=_first_and_last(drawn, speeds),
        )

    def _draw(self) -> dict[str, dict[str, Any]]:
        """The pictures of the full run, and of every variant that does not raise; those that do become failures."""
        drawn = {BASELINE.name: self._pictures(BASELINE)}
        for variant in self._track("pictures", [*self._uncached[:-1], *self._methods]):
            try:
                drawn[variant.name] = self._pictures(variant)
            except Exception as error:  # whatever it is, it belongs in the notes, and the others go on
                self._failures.append(Failure(variant.name, f"{type(error).__name__}: {first_sentence(error)}"))
        return drawn

    def _pictures(self, variant: Variant) -> dict[str, Any]:
        self._gallery.make(variant)
        return self._gallery.facts(variant)

    def _time(self, variants: list[Variant]) -> dict[str, Speed]:
        bar = self._progress.add_task("times", total=len(variants))
        return self._stopwatch.measure(variants, lambda count: self._progress.advance(bar, count))

    def _compare(self, variants: list[Variant]) -> dict[str, Samples]:
        """Every metric of every sample, by variant."""
        references = self._gallery.load(BASELINE)
        return {variant.name: self._fidelity(variant, references) for variant in self._track("fidelity", variants)}

    def _fidelity(self, variant: Variant, references: np.ndarray) -> Samples:
        source = self._perceptual.source if self._perceptual else None
        key = [self._gallery.key(variant), self._gallery.key(BASELINE), source]
        found = self._store.load(STAGE, variant.name, key)
        if found is None:
            values = fidelity(self._gallery.load(variant), references, self._perceptual)
            found = self._store.save(STAGE, variant.name, key, {"samples": values})
        return found["samples"]

    def _track(self, what: str, variants: Sequence[Variant]) -> Iterable[Variant]:
        return self._progress.track(variants, description=what)

    def _config(self) -> dict[str, Any]:
        return {
            **self._subject.identity(),
            **asdict(self._settings),
            "resamples": RESAMPLES,
            "perceptual": self._perceptual.source if self._perceptual else None,
            "items": [(item.prompt.id, item.sample, item.prompt.text) for item in self._items],
        }


def _first_and_last(drawn: dict[str, dict[str, Any]], speeds: dict[str, Speed]) -> tuple[str, str]:
    moments = [taken["taken_at"] for taken in drawn.values()] + [speed.taken_at for speed in speeds.values()]
    return min(moments), max(moments)
