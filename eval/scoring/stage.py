"""Fidelity and quality of every variant's pictures: figures that are there are taken, the others computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from toca.eval.findings.from_metrics import score_column
from toca.eval.findings.quality import ScoreColumn
from toca.eval.findings.rows import Samples
from toca.eval.metrics.judge import Figure, Judge
from toca.eval.metrics.metric import Heading, Metric
from toca.eval.metrics.registry import metrics
from toca.eval.samples.pictures import Gallery
from toca.eval.scoring.chunk import Chunk, Task, carry_out
from toca.eval.scoring.fidelity import Fidelity
from toca.eval.scoring.judges.making import Judges
from toca.eval.scoring.plain import from_data, to_data
from toca.eval.store.environment import scoring_fingerprint
from toca.eval.store.store import Store
from toca.eval.variants import BASELINE, Variant

STAGE = "quality"


@dataclass(frozen=True)
class Scores:
    """What the pictures of a run reach.

    Args:
        fidelity (`dict[str, Samples]`): By the variant's name, each metric of fidelity of each sample.
        metrics (`dict[str, Heading]`): The columns of fidelity.
        perceptual (`str` or `None`): With which weights the perceptual one of them was computed.
        columns (`list[ScoreColumn]`): Quality.
        notes (`list[str]`): Why metrics of fidelity are missing.
    """

    fidelity: dict[str, Samples]
    metrics: dict[str, Heading]
    perceptual: str | None
    columns: list[ScoreColumn]
    notes: list[str]


class Scoring:
    """Scores the pictures of a run.

    Args:
        gallery (`Gallery`): Its pictures, all of them made.
        judges (`Judges`): Who scores them.
        store (`Store`): Where figures are kept; those that are there are taken, and then no picture is read.
    """

    def __init__(self, gallery: Gallery, judges: Judges, store: Store) -> None:
        self._gallery, self._judges, self._store = gallery, judges, store
        self._fidelity = Fidelity(gallery, judges.perceptual, store)
        self._prompts = [item.prompt.text for item in gallery.items]
        self._code = scoring_fingerprint()

    def score(self, variants: Iterable[Variant], looked: Callable[[int, bool], None] | None = None) -> Scores:
        """Fidelity and quality of every variant; differences in quality are to the full run, if it is one of them.

        Args:
            variants (`Iterable[Variant]`): Gone through once, each when the one before is done.
            looked (`Callable`, *optional*): As for `carry_out`.

        Raises:
            ValueError, OSError: If pictures are missing, cannot be read, or are not of the full run's size.
        """
        fidelity: dict[str, Samples] = {}
        figures: dict[str, list[list[Figure]]] = {}
        for variant in variants:
            tasks = [*self._fidelity.tasks(variant), *self._tasks(variant)]
            carry_out(tasks, self._gallery, variant, looked)
            fidelity[variant.name] = self._fidelity.of(variant)
            figures[variant.name] = [self._judged(variant, judge) for judge in self._judges.judges]
        perceptual = self._judges.perceptual
        source = perceptual.source if perceptual else None
        return Scores(fidelity, self._fidelity.metrics, source, self._columns(figures), self._fidelity.notes)

    def files(self, variant: Variant) -> list[Path]:
        """Where a variant's figures lie, or will."""
        own = [
            self._store.path(STAGE, f"{variant.name} {metric}", self._key(variant, judge, metric))
            for judge in self._judges.judges
            for metric in judge.metrics
        ]
        return [*self._fidelity.files(variant), *own]

    def _columns(self, figures: Mapping[str, list[list[Figure]]]) -> list[ScoreColumn]:
        """In the order of the metrics' places."""
        found = [
            (metric, self._column(judge, {name: of_judges[i][j] for name, of_judges in figures.items()}))
            for i, judge in enumerate(self._judges.judges)
            for j, metric in enumerate(judge.metrics)
        ]
        found += [
            (refusal.metric, score_column(dict.fromkeys(figures, refusal), [])) for refusal in self._judges.refusals
        ]
        order = [metric.key for metric in metrics(Metric)]
        return [column for _, column in sorted(found, key=lambda pair: order.index(pair[0]))]

    def _tasks(self, variant: Variant) -> list[Task]:
        """One for each judge of whose figures any is lacking."""
        lacking = [judge for judge in self._judges.judges if len(self._judged(variant, judge)) < len(judge.metrics)]
        return [Task(partial(self._look, judge), partial(self._keep, variant, judge)) for judge in lacking]

    def _look(self, judge: Judge, chunk: Chunk) -> Any:
        return judge.look(chunk.samples, chunk.place, self._prompts)

    def _keep(self, variant: Variant, judge: Judge, parts: Sequence[Any]) -> None:
        for metric, figure in zip(judge.metrics, judge.figures(parts, self._prompts), strict=True):
            key = self._key(variant, judge, metric)
            self._store.save(STAGE, f"{variant.name} {metric}", key, {"figure": to_data(figure)})

    def _judged(self, variant: Variant, judge: Judge) -> list[Figure]:
        """The figures of a judge that are there, in the order of its metrics."""
        keys = {metric: self._key(variant, judge, metric) for metric in judge.metrics}
        known = [self._store.load(STAGE, f"{variant.name} {metric}", key) for metric, key in keys.items()]
        return [from_data(each["figure"]) for each in known if each is not None]

    def _key(self, variant: Variant, judge: Judge, metric: str) -> dict[str, Any]:
        """All that a figure depends on."""
        pictures = self._gallery.key(variant)
        return {"pictures": pictures, "judge": judge.describe(), "metric": metric, "code": self._code}

    def _column(self, judge: Judge, found: Mapping[str, Figure]) -> ScoreColumn:
        column = score_column(found, [item.prompt.id for item in self._gallery.items], BASELINE.name)
        rivals = [other for other in self._judges.judges if other.metrics == judge.metrics]
        label = f"{column.label} ({judge.name})" if len(rivals) > 1 else column.label
        return replace(column, label=label, note=column.note or judge.note)
