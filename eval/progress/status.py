"""How far the studies in a folder are, told by their files alone: nothing is loaded, and nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from toca.eval.progress.outline import FILE, Outline, Parts, read_outline
from toca.eval.progress.pace import Done
from toca.eval.samples.manifest import Entry, Manifest
from toca.eval.samples.pictures import FAILURE
from toca.eval.samples.working import MARKS
from toca.eval.store.naming import slug
from toca.eval.store.presence import seen
from toca.eval.store.sealed import FAULTS, LARGEST, content_of, fault
from toca.eval.timing.rounds import Rounds
from toca.files.reading import named, read_text


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
    studies = [study_status(read_outline(folder), _Files(folder, output, verify)) for folder in folders]
    return Status(working, studies)


class Kept(Protocol):
    """What is kept of a study, wherever that is.

    Args:
        damaged (`list[str]`): What is not as it was written; complete when all else has been asked for.
    """

    damaged: list[str]

    def entries(self, parts: Parts) -> list[tuple[str, Entry]]:
        """The batches of a variant whose files are there, each with the process that made it."""

    def is_whole(self, place: str) -> bool:
        """Whether a result is there, as it was written."""

    def moment(self, place: str) -> float:
        """When a result that is there was written."""

    def failure(self, parts: Parts) -> str | None:
        """Why a variant has not all of its samples, if it is known."""

    def rounds(self, outline: Outline) -> Counter[str]:
        """How often variants without times have had their turn."""

    def reported(self, outline: Outline) -> float | None:
        """When a report was written, if there is one."""


def study_status(outline: Outline, kept: Kept) -> StudyStatus:
    """How far a study is by what is kept of it."""
    done: list[Done] = []
    scored: list[float] = []
    rounds = kept.rounds(outline)
    variants = []
    for parts in outline.variants:
        entries = [(process, entry) for process, entry in kept.entries(parts) if entry.batch in outline.batches()]
        done += [
            Done(parts.name, process, datetime.fromisoformat(entry.taken_at).timestamp(), outline.batch(entry.batch))
            for process, entry in entries
        ]
        batches = {entry.batch for _, entry in entries}
        scores = [place for place in parts.scores if kept.is_whole(place)]
        if len(scores) == len(parts.scores):
            scored.append(max(map(kept.moment, scores)))
        variants.append(
            VariantStatus(
                name=parts.name,
                samples=sum(outline.batch(number) for number in batches),
                rounds=outline.turns if kept.is_whole(parts.times) else rounds[parts.turns],
                scores=len(scores),
                scores_of=len(parts.scores),
                failure=None if len(batches) == len(outline.batches()) else kept.failure(parts),
            )
        )
    return StudyStatus(outline, variants, done, sorted(scored), _moment(kept.reported(outline), scored), kept.damaged)


def _moment(written: float | None, scored: list[float]) -> str | None:
    """Of a report, if something was scored, and nothing after it: else it is of other settings."""
    if written is None or not scored or written < max(scored):
        return None
    return datetime.fromtimestamp(written).isoformat(timespec="seconds")


def reason_in(read: Callable[[], str]) -> str | None:
    """Why a variant has not all of its samples, from what reads the file that says so; `None` of a damaged one."""
    try:
        return str(content_of(read())["result"])
    except FAULTS:
        return None


class _Files:
    """What is kept in a folder of a run; as `Kept`.

    Args:
        folder (`Path`): Of the study.
        output (`Path`): Of the run.
        verify (`bool`): Whether every picture is compared with its hash.
    """

    def __init__(self, folder: Path, output: Path, verify: bool) -> None:
        self._folder, self._output, self._verify = folder, output, verify
        self.damaged = [named(path) for path in sorted(folder.rglob("*.damaged-*"))]

    def _tell(self, path: Path, what: str) -> None:
        self.damaged.append(f"{named(path)}: {what}")

    def entries(self, parts: Parts) -> list[tuple[str, Entry]]:
        folder = self._folder / parts.pictures
        manifest = Manifest(folder)
        noted = manifest.by_process(self._tell)
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        latest = {entry.batch: entry for entries in noted.values() for entry in entries}
        sound = set()
        for number, entry in latest.items():
            gone = [name for name in entry.files if name not in there]
            lacking = gone or (manifest.faults(entry) if self._verify else [])
            for name in lacking:
                self._tell(folder / name, "it is gone, or not as it was written")
            if not lacking:
                sound.add(number)
        return [(process, entry) for process, entries in noted.items() for entry in entries if entry.batch in sound]

    def rounds(self, outline: Outline) -> Counter[str]:
        taken = Rounds(self._folder / outline.rounds).taken(self._tell)
        return Counter(name for each in taken for name in each.seconds)

    def is_whole(self, place: str) -> bool:
        path = self._folder / place
        if not path.is_file():
            return False
        wrong = fault(path)
        if wrong is not None:
            self._tell(path, wrong)
        return wrong is None

    def moment(self, place: str) -> float:
        return (self._folder / place).stat().st_mtime

    def failure(self, parts: Parts) -> str | None:
        path = self._folder / parts.pictures / FAILURE
        return reason_in(lambda: read_text(path, LARGEST)) if path.is_file() else None

    def reported(self, outline: Outline) -> float | None:
        report = self._output / f"{slug(outline.model)}.json"
        return report.stat().st_mtime if report.is_file() else None
