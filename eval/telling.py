"""What a run says of itself: what it is going to do, what is there already, where it is, and how it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from toca.eval.findings.results import Row
from toca.eval.metrics.fidelity import PSNR
from toca.eval.progress.bars import at_variant
from toca.eval.progress.told import duration
from toca.eval.report import Report
from toca.eval.report.best import best_at, gain_of
from toca.eval.report.columns import NONE, interval_cell
from toca.eval.variants import Variant


@dataclass(frozen=True)
class Begun:
    """How much of a pipeline's part of a run is there as it begins.

    Args:
        made, batches (`int`): Batches of all variants, as far as they are this process's: those that are there, and
            all.
        timed, variants (`int`): Variants whose times are there, and all.
    """

    made: int
    batches: int
    timed: int
    variants: int

    def __str__(self) -> str:
        """A sentence."""
        if not self.made:
            return "Nothing is there yet."
        return f"{self.made} of {self.batches} batches and {self.timed} of {self.variants} times are there already."

    def at_most(self, seconds: float) -> str:
        """How long the samples take at most, where a batch of the full run takes so many seconds."""
        left = self.batches - self.made
        return f"A batch of the full run takes {seconds:.3g} s: the samples take at most {duration(left * seconds)}."


def track(progress: Progress, what: str, variants: Sequence[Variant]) -> Iterator[Variant]:
    """Go through variants, and show which one it is: beside the bar, and in a line of its own where there is none."""
    task = progress.add_task(what, total=len(variants))
    for number, variant in enumerate(variants, 1):
        at_variant(progress, task, what, variant.name, (number, len(variants)))
        yield variant
        progress.advance(task)
    progress.update(task, description=what)


def resumes(output: Path, command: str) -> str:
    """What to say when somebody stops a run."""
    return f"Stopped: what is done is kept in {output}, and the same command goes on from there: {command}"


def short_report(report: Report) -> str:
    """The figures that matter, slowest first, and what is best at each speed; for a terminal. Of a run without methods
    they are those of the runs without a cache."""
    rows = sorted(report.results.methods or report.results.uncached, key=lambda row: row.speedup)
    head = ("speed-up", report.results.metrics[PSNR].text, "gain over fewer steps, dB", "method")
    lines = [head, *map(_line, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head) - 1)]
    table = ["  ".join([*map(str.rjust, line[:-1], widths), line[-1]]) for line in lines]
    best = [found for target in report.speedups if (found := best_at(report.results, target)) is not None]
    return "\n".join(
        [*table, *(f"About {each.speedup:g}x: {each.name}, {each.figure}; {each.gain}." for each in best)]
    )


def _line(row: Row) -> tuple[str, str, str, str]:
    gain = gain_of(row)
    name = f"{row.name} (skipped nothing)" if row.skipped_nothing else row.name
    gained = NONE if gain is None else interval_cell(gain, "+.1f").line
    return f"{row.speedup:.2f}x", interval_cell(row.fidelity[PSNR], ".1f").line, gained, name
