"""Who is faster at equal fidelity, in words."""

from __future__ import annotations

from dataclasses import dataclass

from toca.eval.benchmarks.bench.lines import FEWER, OURS, PEER, TUNED, Found, Line

EQUAL = 0.5
"""Decibels up to which two rows are as near the full run."""


@dataclass(frozen=True)
class Verdict:
    """A row that is not ours, and the fastest of ours that is as near the full run.

    Args:
        theirs (`Line`): A peer's, or a run with fewer steps.
        ours (`Line`, *optional*): `None` if none is as near.
    """

    theirs: Line
    ours: Line | None

    @property
    def gains(self) -> bool:
        """Whether theirs is faster than the full run, and not by chance."""
        return self.theirs.wall_speedup[1] > 1

    @property
    def lost(self) -> bool:
        """Whether theirs is faster, or nearer the full run than any of ours, and the times do not overlap."""
        if not self.gains:
            return False
        return self.ours is None or self.theirs.wall_speedup[1] > self.ours.wall_speedup[2]

    @property
    def tied(self) -> bool:
        """Whether the quartiles of the two overlap."""
        return self.ours is not None and not self.lost and self.ours.wall_speedup[1] <= self.theirs.wall_speedup[2]

    @property
    def text(self) -> str:
        """One sentence, but for its full stop."""
        told = f"{self.theirs.variant}, {_figures(self.theirs)}"
        if not self.gains:
            return f"{told}: no faster than the full run"
        if self.ours is None:
            return f"{told}: nearer the full run than any of ours that skips something"
        than = f"{self.ours.variant}, {_figures(self.ours)}"
        if self.lost:
            return f"{told}: faster than the fastest of ours that is as near the full run, {than}"
        return f"{told}: {'as fast as' if self.tied else 'slower than'} {than}"


def verdicts(found: Found, *kinds: str) -> list[Verdict]:
    """Of every row of these kinds that skips something: peers, or runs with fewer steps."""
    ours = [line for line in found.of_kind(OURS, TUNED) if line.skips]
    return [Verdict(line, _fastest(line, ours)) for line in found.of_kind(*kinds) if line.skips]


def _fastest(theirs: Line, ours: list[Line]) -> Line | None:
    near = [line for line in ours if line.decibels >= theirs.decibels - EQUAL]
    return max(near, key=lambda line: line.wall_speedup[0], default=None)


def summary(found: Found) -> list[str]:
    """What is to be said of a case, a sentence each: where a peer is faster, where fewer steps are, and where none."""
    told = []
    for kind, all_of_them in ((PEER, "no peer"), (FEWER, "no run with fewer steps")):
        judged = verdicts(found, kind)
        lost = [verdict for verdict in judged if verdict.lost]
        told += [f"{verdict.text}." for verdict in lost]
        if judged and not lost:
            told.append(f"At equal fidelity {all_of_them} is faster than ours ({len(judged)} compared).")
    return told


def _figures(line: Line) -> str:
    median, first, third = line.wall_speedup
    quality = "no difference" if line.psnr is None else f"{line.psnr:.1f} dB"
    return f"{median:.2f}x ({first:.2f}-{third:.2f}) at {quality}"
