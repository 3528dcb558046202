"""How long a study will take from here on, at the pace that it has had."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean, median

from toca.eval.progress.outline import Outline
from toca.eval.progress.pace import paces, pause
from toca.eval.progress.status import StudyStatus, VariantStatus
from toca.eval.timing.speed import GROUP

BESIDE = 2
"""Runs of the stage of times that are no rounds: one for the peak of memory, one that counts FLOPs."""


def seconds_left(study: StudyStatus) -> dict[str, float | None]:
    """Seconds that each stage will take yet; `None` where nothing tells its pace."""
    pace = paces(study.done)
    each = {name: found.each for name, found in pace.items()}
    alone = {name: found.alone for name, found in pace.items()}
    return {"generate": _samples(study, each), "time": _times(study, alone), "score": _scores(study)}


def seconds_ahead(outline: Outline, each: dict[str, float]) -> dict[str, float]:
    """Seconds that samples and times of a study take of which nothing is done, one process at work.

    Args:
        outline (`Outline`): The study.
        each (`dict[str, float]`): Seconds a sample of some of its variants, of one at least.
    """
    nothing = [VariantStatus(parts.name, 0, 0, 0, 0) for parts in outline.variants]
    study = StudyStatus(outline, nothing, [], [], None, [])
    return {"generate": _samples(study, each) or 0.0, "time": _times(study, each) or 0.0}


def samples_an_hour(study: StudyStatus) -> dict[str, float]:
    """How many samples of each variant were made in an hour, by all processes together."""
    return {name: pace.an_hour for name, pace in paces(study.done).items()}


def _samples(study: StudyStatus, known: dict[str, float]) -> float | None:
    each = _of_each(study, known)
    lacking = {variant.name: study.outline.samples - variant.samples for variant in _tried(study)}
    return _sum(each, lacking)


def _times(study: StudyStatus, known: dict[str, float]) -> float | None:
    """Each variant's rounds, and its part of the full run's, with which a group takes turns; by one process."""
    outline, each = study.outline, _of_each(study, known)
    lacking = [variant for variant in _tried(study) if variant.rounds < outline.turns]
    rounds = {variant.name: (outline.turns + BESIDE - variant.rounds) * outline.timed for variant in lacking}
    own, full = _sum(each, rounds), each.get(outline.variants[0].name)
    if own is None or full is None:
        return 0.0 if not rounds else None
    return own + full * sum(rounds.values()) / GROUP


def _scores(study: StudyStatus) -> float | None:
    lacking = sum(variant.scores < variant.scores_of for variant in _tried(study))
    if not lacking:
        return 0.0
    gaps = [later - earlier for earlier, later in pairwise(study.scored)]
    took = [gap for gap in gaps if 0 < gap <= pause(gaps)]
    return lacking * median(took) if took else None


def _tried(study: StudyStatus) -> list[VariantStatus]:
    """Without what failed: it is tried again, and nobody knows how far it will come."""
    return [variant for variant in study.variants if variant.failure is None]


def _of_each(study: StudyStatus, known: dict[str, float]) -> dict[str, float]:
    """Seconds a sample of each variant: where none is made, by those of a step of the others."""
    steps = {parts.name: parts.steps for parts in study.outline.variants}
    if not known:
        return {}
    of_a_step = mean(seconds / steps[name] for name, seconds in known.items())
    return {name: known.get(name, of_a_step * count) for name, count in steps.items()}


def _sum(each: dict[str, float], counts: dict[str, int]) -> float | None:
    if not any(counts.values()):
        return 0.0
    return sum(each[name] * count for name, count in counts.items()) if each else None
