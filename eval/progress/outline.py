"""What a study is made of and where each part of it will lie. It is told before a run and as one begins, and written
then for whoever looks on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from toca.checks import counted
from toca.eval.samples.pictures import Gallery
from toca.eval.scoring.stage import Scoring
from toca.eval.store.naming import names_uncached
from toca.eval.store.sealed import write_json
from toca.eval.timing.speed import Stopwatch
from toca.eval.variants import Variant
from toca.files.reading import named, parse_json, read_text

FILE = "outline.json"


@dataclass(frozen=True)
class Parts:
    """Where what is found of a variant lies, in the folder of its study.

    Args:
        name (`str`): The variant's.
        steps (`int`): Denoising steps of a sample.
        pictures (`str`): A folder; as all places empty where the pipeline is not loaded, whose weights are part of
            them.
        times (`str`): A file.
        turns (`str`): What it is called in the file of rounds.
        scores (`list[str]`): Files, one a figure.
    """

    name: str
    steps: int
    pictures: str = ""
    times: str = ""
    turns: str = ""
    scores: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outline:
    """A study.

    Args:
        model (`str`): The pipeline.
        command (`str`): What was typed.
        samples, batch_size (`int`): Of each variant, and how many of them are made at a time.
        timed, turns (`int`): Samples of a timed batch, and rounds of times, those that warm up included.
        rounds (`str`): The file of rounds whose variants have no times yet.
        variants (`list[Parts]`): In the order in which they are made, the full run first.
    """

    model: str
    command: str
    samples: int
    batch_size: int
    timed: int
    turns: int
    rounds: str
    variants: list[Parts]

    @property
    def steps(self) -> int:
        """Denoising steps of the full run."""
        return self.variants[0].steps

    @property
    def uncached(self) -> list[str]:
        """The runs without a cache, the full one first."""
        return [parts.name for parts in self.variants if names_uncached(parts.name)]

    @property
    def methods(self) -> list[str]:
        """All other variants."""
        return [parts.name for parts in self.variants if not names_uncached(parts.name)]

    @property
    def summary(self) -> str:
        """All of it in a line: what a dry run, a run and its status begin with."""
        fewer = counted(len(self.uncached) - 1, "run")
        samples = counted(self.samples, "sample")
        return f"{counted(len(self.methods), 'method')}, {fewer} with fewer steps and the full one, {samples} each"

    def batches(self) -> range:
        """The numbers of the batches of samples."""
        return range(-(-self.samples // self.batch_size))

    def batch(self, number: int) -> int:
        """How many samples a batch is of."""
        return min(self.batch_size, self.samples - number * self.batch_size)

    def write(self, folder: Path) -> None:
        """Keep it in the folder of its study.

        Raises:
            OSError: If it cannot be written; one sentence.
        """
        write_json(folder / FILE, asdict(self))


def outline_of(
    gallery: Gallery, stopwatch: Stopwatch, scoring: Scoring, variants: Sequence[Variant], command: str
) -> Outline:
    """The outline of a study that these make, time and score."""
    folder, steps = gallery.store.folder, gallery.subject.steps

    def place(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    return Outline(
        model=gallery.subject.name,
        command=command,
        samples=len(gallery.items),
        batch_size=gallery.batch_size,
        timed=len(stopwatch.items),
        turns=stopwatch.repeats + stopwatch.warmups,
        rounds=place(stopwatch.rounds.path),
        variants=[
            Parts(
                name=variant.name,
                steps=variant.steps or steps,
                pictures=place(gallery.folder(variant)),
                times=place(stopwatch.file(variant)),
                turns=stopwatch.turns_of(variant),
                scores=[place(path) for path in scoring.files(variant)],
            )
            for variant in variants
        ],
    )


def read_outline(folder: Path) -> Outline:
    """The outline in the folder of a study.

    Raises:
        ValueError: If there is none, or it is damaged; it says so.
        OSError: If it cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{named(folder)} has no {FILE}: the run that began it was another version's; run it again.")
    return parse_outline(read_text(path), named(path))


def parse_outline(text: str, name: str) -> Outline:
    """The outline in a file of this name. Raises `ValueError` if it is damaged; it says so."""
    try:
        data = parse_json(text)
        variants = [Parts(**_known(each, Parts)) for each in data["variants"]]
        return Outline(**{**_known(data, Outline), "variants": variants})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{name} is damaged ({error}): the run that goes on writes it anew.") from error


def _known(data: dict[str, Any], kind: type) -> dict[str, Any]:
    """What this version knows of it."""
    return {each.name: data[each.name] for each in fields(kind)}
