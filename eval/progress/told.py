"""The status of a run in words, as a table, and as plain data."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

from rich.table import Table

from toca.eval.progress.left import samples_an_hour, seconds_left
from toca.eval.progress.pace import HOUR
from toca.eval.progress.status import Status, StudyStatus, VariantStatus
from toca.eval.store.typed import of_all_stages

MINUTE, DAY = 60.0, 24 * HOUR


def to_data(status: Status) -> dict[str, Any]:
    """All of it as plain data, for JSON."""
    return {"working": status.working, "studies": [_data(study) for study in status.studies]}


def _data(study: StudyStatus) -> dict[str, Any]:
    pace, outline = samples_an_hour(study), study.outline
    return {
        "model": outline.model,
        "samples": outline.samples,
        "rounds": outline.turns,
        "variants": [{**asdict(each), "samples_an_hour": pace.get(each.name)} for each in study.variants],
        "seconds_left": seconds_left(study),
        "reported": study.reported,
        "damaged": study.damaged,
        "goes_on_by": goes_on_by(study),
    }


def lines(study: StudyStatus, working: bool) -> list[str]:
    """What there is to say of a study below its table.

    Args:
        study (`StudyStatus`): It.
        working (`bool`): Whether a process is at work in its folder.
    """
    outline, left = study.outline, seconds_left(study)
    made = sum(variant.samples for variant in study.variants)
    timed = sum(variant.rounds >= outline.turns for variant in study.variants)
    scored = sum(variant.scores == variant.scores_of for variant in study.variants)
    count = len(study.variants)
    told = [
        f"samples: {made:,} of {count * outline.samples:,}{_left(left['generate'])}",
        f"times: {timed} of {count} variants{_left(left['time'])}",
        f"scores: {scored} of {count} variants{_left(left['score'])}",
        f"report: {'written at ' + study.reported if study.reported else 'not written yet'}",
    ]
    told += [f"{variant.name} failed: {variant.failure}" for variant in study.variants if variant.failure]
    told += [f"damaged, and made anew: {each}" for each in study.damaged]
    if study.reported is None and not working:
        told.append(f"it goes on by: {goes_on_by(study)}")
    return told


def table(study: StudyStatus) -> Table:
    """A line for each variant."""
    pace, outline = samples_an_hour(study), study.outline
    made = Table("variant", box=None, padding=(0, 2, 0, 0))
    for heading in ("samples", "an hour", "rounds of times", "scores"):
        made.add_column(heading, justify="right")
    for variant in study.variants:
        rate = f"{pace[variant.name]:,.0f}" if variant.name in pace else "–"
        made.add_row(variant.name, *_cells(variant, outline.samples, outline.turns, rate))
    return made


def _cells(variant: VariantStatus, samples: int, turns: int, rate: str) -> list[str]:
    return [
        f"{variant.samples:,} of {samples:,}",
        rate,
        f"{variant.rounds} of {turns}",
        f"{variant.scores} of {variant.scores_of}",
    ]


def goes_on_by(study: StudyStatus) -> str:
    """The command that goes on where a study stopped: what was typed, for all stages and all samples."""
    return shlex.join(of_all_stages(study.outline.command))


def _left(seconds: float | None) -> str:
    if seconds == 0:
        return ""
    return "; nothing tells yet how long they take" if seconds is None else f"; about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """A length of time in the unit that people would tell it in."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:.1f} days"
