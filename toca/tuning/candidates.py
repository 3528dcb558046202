"""The graph of a generation's steps with measured segments, and the drafts that its best paths are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .graph import Edge, Path, best_paths
from .labels import Draft, Label
from .notes import Notes
from .objectives import Leximin, Objective, PowerSum
from .rehearsal import FullRun, PastTheCache, Rehearsal
from .segments import Deviations, block_deviations, output_deviations, sensitivity

Tell = Callable[[str, float], None]

BLOCK_LOOK_BACK, LOOK_BACK = 4, {"output": 0, "tokens": 2}
"""How far before a full step the one before it may lie, of labels for which the model must run to tell: few, for the
model takes long, and longest where some tokens run in filled steps too; as far as a segment is long for 0."""


def longest_segment(steps: int) -> int:
    """Steps from a full one to the next, at most: published tables for 50 steps have 8, and short schedules need as
    many to be fast."""
    return max(3, min(8, steps // 2))


@dataclass
class Graph:
    """The segments of a generation, measured.

    Args:
        rehearsal (`Rehearsal`): The pipeline.
        full (`FullRun`): Its full run.
        labels (`Sequence[Label]`): What may fill a segment.
        seconds_full (`float`): Of a full step.
        seconds_filled (`Sequence[float]`): Of a step filled by each label.
        notes (`Notes`): What has been measured before.
        tell (`Callable[[str, float], None]`): Is told of each measurement, and how many calls it takes.
    """

    rehearsal: Rehearsal
    full: FullRun
    labels: Sequence[Label]
    seconds_full: float
    seconds_filled: Sequence[float]
    notes: Notes
    tell: Tell

    def edges(self) -> list[Edge]:
        """All segments that a path may be made of."""
        steps = self.full.steps
        plain = [Edge(step, step + 1, None, 0.0, self.seconds_full) for step in range(steps)]
        return plain + [edge for number in range(len(self.labels)) for edge in self._edges_of(number)]

    def _edges_of(self, number: int) -> list[Edge]:
        label, steps, forced = self.labels[number], self.full.steps, self.full.must_be_full
        found = []
        for start in range(steps - 1):
            for before in self._befores(label, start):
                for stop, deviation in self.deviations(number, before, start).items():
                    error = deviation * self._sensitivity(label, stop)
                    if math.isfinite(error) and not forced & set(range(start + 1, stop)):
                        time = self.seconds_full + (stop - start - 1) * self.seconds_filled[number]
                        found.append(Edge(start, stop, number, error, time, before))
        return found

    def _befores(self, label: Label, start: int) -> list[int | None]:
        """The full steps before `start` for which an error is told: one for each, where it makes a difference."""
        if label.looks_back < 2:
            return [None]
        farthest = LOOK_BACK.get(label.scope, BLOCK_LOOK_BACK) or longest_segment(self.full.steps)
        return list(range(max(0, start - farthest), start))

    def deviations(self, number: int, before: int | None, start: int) -> Deviations:
        """By the step that it ends at: how far a segment takes the latents astray."""
        label = self.labels[number]
        last = min(start + longest_segment(self.full.steps), self.full.steps)
        if label.scope == "output":
            return output_deviations(self.full, label, before, start, last)
        name = f"deviation {self.full.steps} {label.name} {before} {start}"

        def measure() -> dict[str, float]:
            self.tell("how far segments go astray", label.looks_back)
            try:
                strayed = block_deviations(self.rehearsal, self.full, label, before, start, last)
            except PastTheCache:
                return {}
            return {str(stop): value for stop, value in strayed.items()}

        return {int(stop): value for stop, value in self.notes.get(name, measure).items()}

    def _sensitivity(self, label: Label, stop: int) -> float:
        """Of the end to a deviation one step after a segment; measured at every second step, and in between the
        geometric mean of its neighbours'."""
        steps = self.full.steps
        if stop >= steps - 1:
            return 1.0
        if stop % 2 or stop + 1 >= steps - 1:
            return self._measured(label, stop)
        lower = max(3, stop - 1)
        return math.sqrt(self._measured(label, lower) * self._measured(label, stop + 1))

    def _measured(self, label: Label, stop: int) -> float:
        number = next(n for n, other in enumerate(self.labels) if other.kind == label.kind)
        speaker = self.labels[number]

        def measure() -> float:
            self.tell("what a deviation does to the end", self.full.steps - stop)
            return sensitivity(
                self.rehearsal,
                self.full,
                speaker,
                stop,
                lambda before, start, at: self.deviations(number, before, start)[at],
            )

        return self.notes.get(f"sensitivity {self.full.steps} {speaker.name} {stop}", measure)


OBJECTIVES: tuple[Objective, ...] = (Leximin(), PowerSum(1.0), PowerSum(2.0), PowerSum(4.0))


def drafts(edges: Sequence[Edge], labels: Sequence[Label], steps: int, seconds_full: float) -> dict[int, list[Draft]]:
    """By the number of full steps: the best paths for every objective over all labels, and those of each label alone.

    Several, for a graph adds up what segments do apart, and only a whole run tells what they do together.
    """
    unit = seconds_full / 10
    found: dict[int, dict[Draft, None]] = {}
    for objective in OBJECTIVES:
        for path in best_paths(steps, edges, objective, unit):
            found.setdefault(len(path.edges), {}).setdefault(_draft_of(path))
    for label in range(len(labels)):
        for count, draft in single_label(edges, label, steps, seconds_full).items():
            found.setdefault(count, {}).setdefault(draft)
    return {count: list(found[count]) for count in sorted(found)}


def single_label(edges: Sequence[Edge], label: int, steps: int, seconds_full: float) -> dict[int, Draft]:
    """By the number of full steps: the best path that one label alone fills."""
    those = [edge for edge in edges if edge.label in (None, label)]
    # From the fastest to the best: of as many full steps the last is the best.
    return {len(path.edges): _draft_of(path) for path in best_paths(steps, those, Leximin(), seconds_full / 10)}


def _draft_of(path: Path) -> Draft:
    return Draft(path.full_steps, tuple(edge.label or 0 for edge in path.edges))
