"""Paired differences of two runs of one pipeline, or why there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toca.checks import shown
from toca.eval.findings.results import Quartiles, Results, Row
from toca.eval.metrics.bootstrap import Interval, differences, mean_interval
from toca.eval.metrics.fidelity import PERCEPTUAL
from toca.eval.metrics.metric import Heading
from toca.eval.refusal import Refused
from toca.eval.report.content import Report

SAME = {
    "weights": "weights", "dtype": "precision", "config": "steps, guidance or size", "seed": "seed",
}  # fmt: skip
"""What two runs must share for one sample of theirs to be the same sample, and what people call it."""


@dataclass(frozen=True)
class Pair:
    """A variant in two runs.

    Args:
        variant (`str`): Its name.
        speedups (`tuple[Quartiles, Quartiles]`): Of the denoising loop, each run's over its own full run.
        gains (`dict[str, Interval | None]`): For each metric of fidelity, by how much the second run is better.
        scores (`dict[str, tuple[float, float]]`): For each metric of quality, its figure in both.
    """

    variant: str
    speedups: tuple[Quartiles, Quartiles]
    gains: dict[str, Interval | None]
    scores: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Comparison:
    """Two runs of one pipeline.

    Args:
        model (`str`): The pipeline.
        samples (`int`): Those that both have.
        metrics (`dict[str, Heading]`): Of fidelity, those that both have of such samples.
        pairs (`list[Pair]`): The variants that both have, in the order of the first run.
        notes (`list[str]`): What is left out, and what else differs; a sentence each.
    """

    model: str
    samples: int
    metrics: dict[str, Heading]
    pairs: list[Pair]
    notes: list[str]


def compare(first: Report, second: Report) -> Comparison:
    """The second run against the first, sample by sample.

    Raises:
        Refused: If no sample of one is a sample of the other; it says what differs.
    """
    ours, theirs = first.results, second.results
    _check_same(ours, theirs)
    places = _common(ours, theirs)
    metrics, notes = _metrics(ours, theirs)
    prompts = [ours.config["items"][place][0] for place, _ in places]
    quality, unlike = _quality(first, second)
    known = {row.name: row for row in second.rows}
    rows = [(row, known[row.name]) for row in first.rows if row.name in known]
    pairs = [
        Pair(
            variant=row.name,
            speedups=(row.loop_speedup, other.loop_speedup),
            gains={name: _gain(row, other, name, heading, places, prompts) for name, heading in metrics.items()},
            scores={label: of[row.name] for label, of in quality.items() if row.name in of},
        )
        for row, other in rows
        if row.method == other.method
    ]
    changed = [row.name for row, other in rows if row.method != other.method]
    notes += [*unlike, *_missing(first, second), *_counted(ours, theirs, len(places)), *_elsewhere(first, second)]
    notes += [f"Not of one setting in both, though of one name: {', '.join(changed)}."] if changed else []
    if not pairs:
        raise Refused("The two runs have no variant of one name and setting: there is nothing to compare.")
    return Comparison(ours.model, len(places), metrics, pairs, notes)


def _check_same(ours: Results, theirs: Results) -> None:
    for key, what in SAME.items():
        one, other = ours.config.get(key), theirs.config.get(key)
        if one != other:
            raise Refused(
                f"The runs differ in their {what} ({_differing(one, other)}): their samples are not of the same noise "
                "and call, and no difference between them is paired."
            )


def _differing(one: Any, other: Any) -> str:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return f"{shown(one)} and {shown(other)}"
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return ", ".join(f"{name}: {shown(one.get(name))} and {shown(other.get(name))}" for name in names)


def _common(ours: Results, theirs: Results) -> list[tuple[int, int]]:
    """The places of each common sample in both."""
    texts = {(prompt, sample): (place, text) for place, (prompt, sample, text) in enumerate(theirs.config["items"])}
    found = []
    for place, (prompt, sample, text) in enumerate(ours.config["items"]):
        other, same = texts.get((prompt, sample), (None, text))
        if same != text:
            raise Refused(
                f"The runs are of two lists of prompts: number {prompt} is {shown(text)} in one and {shown(same)} in "
                "the other."
            )
        if other is not None:
            found.append((place, other))
    if not found:
        raise Refused("The runs have no sample in common: take the same prompts and samples in both.")
    return found


def _metrics(ours: Results, theirs: Results) -> tuple[dict[str, Heading], list[str]]:
    """The metrics of fidelity that mean the same in both, and why others are left out."""
    metrics, notes = {}, []
    for name, heading in ours.metrics.items():
        other = theirs.metrics.get(name)
        if other is None:
            continue
        if heading.text != other.text:
            notes.append(f"{heading.text} and {other.text} are not compared: they are of other pictures or networks.")
        elif name == PERCEPTUAL and ours.config.get(PERCEPTUAL) != theirs.config.get(PERCEPTUAL):
            notes.append(f"{heading.text} is not compared: its weights differ.")
        else:
            metrics[name] = heading
    return metrics, notes


def _gain(
    row: Row, other: Row, name: str, heading: Heading, places: Sequence[tuple[int, int]], prompts: Sequence[int]
) -> Interval | None:
    """By how much the second run is better; `None` where no pair has values, as of identical samples."""
    if name not in row.samples or name not in other.samples:
        return None
    before = [row.samples[name][place] for place, _ in places]
    after = [other.samples[name][place] for _, place in places]
    return mean_interval(differences(after, before, heading.sign), prompts)


def _quality(first: Report, second: Report) -> tuple[dict[str, dict[str, tuple[float, float]]], list[str]]:
    """The figures of quality, by label and variant, of what was computed alike; and what was not."""
    others = {column.label: column for column in second.scores}
    found, notes = {}, []
    for column in first.scores:
        other = others.get(column.label)
        if other is None or not (column.scores and other.scores):
            continue
        if column.tag != other.tag:
            notes.append(f"{column.label} is not compared: {column.tag} in one run, and {other.tag} in the other.")
            continue
        both = column.scores.keys() & other.scores.keys()
        found[column.label] = {name: (column.scores[name].value, other.scores[name].value) for name in both}
    return found, notes


def _missing(first: Report, second: Report) -> list[str]:
    ours, theirs = [row.name for row in first.rows], [row.name for row in second.rows]
    only = ([name for name in ours if name not in theirs], [name for name in theirs if name not in ours])
    return [
        f"Only in the {which} run: {', '.join(names)}."
        for which, names in zip(("first", "second"), only, strict=True)
        if names
    ]


def _counted(ours: Results, theirs: Results, common: int) -> list[str]:
    counts = len(ours.config["items"]), len(theirs.config["items"])
    if counts == (common, common):
        return []
    return [f"{common:,} samples are in both runs, which have {counts[0]:,} and {counts[1]:,}."]


def _elsewhere(first: Report, second: Report) -> list[str]:
    """Each run's fidelity is to its own full run, and its speed-ups over it."""
    names = ("device", "threads", "torch", "git")
    pairs = [(name, first.environment.get(name), second.environment.get(name)) for name in names]
    return [f"The runs differ in {name}: {one} and {other}." for name, one, other in pairs if one != other]
