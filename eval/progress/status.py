"""How far the studies in a folder are, told by their files alone: nothing is loaded, and nothing is written."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from toca.eval.progress.outline import FILE, Outline, Parts, read_outline
from toca.eval.progress.pace import Done
from toca.eval.samples.manifest import Entry, Manifest
from toca.eval.samples.pictures import FAILURE
from toca.eval.samples.working import MARKS
from toca.eval.store.naming import slug
from toca.eval.store.presence import seen
from toca.eval.store.sealed import fault
from toca.eval.timing.rounds import Rounds
from toca.files.reading import named


@dataclass(frozen=True)
class VariantStatus:
    """How far a variant is.

    Args:
        name (`str`): Its name.
        samples (`int`): Those that are made.
        rounds (`int`): Of times: those that have been taken, all of them once it is timed.
        scores, scores_of (`int`): Figures that are there, and that there will be.
        failure (`str`, *optional*): Why it has not all of its samples, if it raised.
    """

    name: str
    samples: int
    rounds: int
    scores: int
    scores_of: int
    failure: str | None = None


@dataclass(frozen=True)
class StudyStatus:
    """How far the study of a pipeline is.

    Args:
        outline (`Outline`): What it is made of.
        variants (`list[VariantStatus]`): In the order of the outline.
        done (`list[Done]`): The batches of samples.
        scored (`list[float]`): The moments at which variants had all of their scores.
        reported (`str`, *optional*): When its report was written, if it was since the last score.
        damaged (`list[str]`): What is not as it was written, and counts for nothing.
    """

    outline: Outline
    variants: list[VariantStatus]
    done: list[Done]
    scored: list[float]
    reported: str | None
    damaged: list[str]


@dataclass(frozen=True)
class Status:
    """What is going on in a folder.

    Args:
        working (`list[str]`, *optional*): The processes that are at work there; `None` where that cannot be told.
        studies (`list[StudyStatus]`): By their pipelines' names.
    """

    working: list[str] | None
    studies: list[StudyStatus]


def status_of(output: Path, verify: bool = False) -> Status:
    """What is going on in the folder of a run.

    Args:
        output (`Path`): The folder.
        verify (`bool`): Whether every picture is read and compared with its hash, and not only looked for.

    Raises:
        ValueError: If no run has begun there.
        OSError: If something cannot be read.
    """
    folders = sorted(path.parent for path in (output / "stages").glob(f"*/{FILE}"))
    if not folders:
        raise ValueError(f"No run has begun in {named(output)}: name the --output of `toca eval run`.")
    marks = seen(output / MARKS)
    working = None if marks is None else [f"{mark}, {mark.what.replace('-of-', ' of ')}" for mark in marks]
    return Status(working, [_study(folder, output, verify) for folder in folders])


def _study(folder: Path, output: Path, verify: bool) -> StudyStatus:
    outline, damaged = read_outline(folder), [named(path) for path in sorted(folder.rglob("*.damaged-*"))]
    done: list[Done] = []
    scored: list[float] = []
    rounds = _rounds(folder / outline.rounds, damaged)
    variants = []
    for parts in outline.variants:
        entries = _entries(folder / parts.pictures, verify, damaged)
        done += [
            Done(parts.name, process, datetime.fromisoformat(entry.taken_at).timestamp(), outline.batch(entry.batch))
            for process, entry in entries
            if entry.batch in outline.batches()
        ]
        batches = {entry.batch for _, entry in entries} & set(outline.batches())
        scores = [path for each in parts.scores if _is_whole(path := folder / each, damaged)]
        if len(scores) == len(parts.scores):
            scored.append(max(path.stat().st_mtime for path in scores))
        variants.append(
            VariantStatus(
                name=parts.name,
                samples=sum(outline.batch(number) for number in batches),
                rounds=outline.turns if _is_whole(folder / parts.times, damaged) else rounds[parts.turns],
                scores=len(scores),
                scores_of=len(parts.scores),
                failure=None if len(batches) == len(outline.batches()) else _failure(folder, parts),
            )
        )
    report = output / f"{slug(outline.model)}.json"
    return StudyStatus(outline, variants, done, sorted(scored), _written(report, scored), damaged)


def _entries(folder: Path, verify: bool, damaged: list[str]) -> list[tuple[str, Entry]]:
    """The batches whose files are there, each with the process that made it."""
    manifest = Manifest(folder)
    noted = manifest.by_process(lambda path, what: damaged.append(f"{named(path)}: {what}"))
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    latest = {entry.batch: entry for entries in noted.values() for entry in entries}
    sound = set()
    for number, entry in latest.items():
        lacking = [name for name in entry.files if name not in there] or (manifest.faults(entry) if verify else [])
        damaged += [f"{named(folder / name)}: it is gone, or not as it was written" for name in lacking]
        if not lacking:
            sound.add(number)
    return [(process, entry) for process, entries in noted.items() for entry in entries if entry.batch in sound]


def _rounds(path: Path, damaged: list[str]) -> Counter[str]:
    taken = Rounds(path).taken(lambda path, what: damaged.append(f"{named(path)}: {what}"))
    return Counter(name for each in taken for name in each.seconds)


def _is_whole(path: Path, damaged: list[str]) -> bool:
    """Whether a result is there, and as it was written."""
    if not path.is_file():
        return False
    wrong = fault(path)
    damaged += [] if wrong is None else [f"{named(path)}: {wrong}"]
    return wrong is None


def _failure(folder: Path, parts: Parts) -> str | None:
    path = folder / parts.pictures / FAILURE
    if not path.is_file() or fault(path) is not None:
        return None
    return str(json.loads(path.read_text(encoding="utf-8"))["result"])


def _written(report: Path, scored: list[float]) -> str | None:
    """When a report was written, if something was scored, and nothing after it: else it is of other settings."""
    if not scored or not report.is_file() or report.stat().st_mtime < max(scored):
        return None
    return datetime.fromtimestamp(report.stat().st_mtime).isoformat(timespec="seconds")
