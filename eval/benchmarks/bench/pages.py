"""The files of a bench: JSON a case, and one page and one CSV file of all cases in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toca.eval.benchmarks.bench.cases import CASES
from toca.eval.benchmarks.bench.lines import FEWER, PEER, Found, Line
from toca.eval.benchmarks.bench.verdicts import EQUAL, summary, verdicts
from toca.eval.report.columns import NONE, mib
from toca.eval.report.comma_separated import as_csv
from toca.eval.report.markdown import plain, table
from toca.eval.store.sealed import write_json
from toca.files.reading import named, read_json
from toca.files.writing import atomic_path
from toca.pipelines.commands.console import errors

ABOUT = (
    "Made by `toca eval bench`. All rows of a case took turns in one run on one machine: seconds are of the denoising "
    "loop for one sample, speed-ups are ratios to the full run turn by turn, both medians (quartiles). FLOPs are "
    "counted, of the denoiser, two a multiply-add. *Wall / FLOPs* is 1 where a skipped operation saves its time. "
    "Cache is the most that a method was seen to keep for one call. Steps: F full, t some tokens, y forecast, a "
    "blocks or the whole stack left out, r all reused, m mixed.\n\n"
    f"Two rows are equally near the full run within {EQUAL:g} dB. Of random weights the PSNR says only how far a "
    "method strays from what that model would have made: nothing was learned, so it puts no method above another on "
    "the real model. A model that was made smaller has less to compute in each operation, and what stands around the "
    "operations weighs more: its *wall / FLOPs* is lower than the whole model's."
)

COLUMNS: dict[str, Callable[[Line], str]] = {
    "variant": lambda line: plain(line.variant),
    "kind": lambda line: line.kind,
    "s a sample": lambda line: _quartiles(line.seconds, 3),
    "wall": lambda line: _quartiles(line.wall_speedup, 2),
    "FLOPs": lambda line: f"{line.flops_speedup:.2f}",
    "wall / FLOPs": lambda line: f"{line.wall_over_flops:.2f}",
    "PSNR, dB": lambda line: "equal" if line.psnr is None else f"{line.psnr:.1f}",
    "cache, MiB": lambda line: mib(line.cache_bytes),
    "steps": lambda line: line.steps or NONE,
}
"""Of the tables, on the page and on the console."""


def _quartiles(values: tuple[float, float, float], digits: int) -> str:
    median, first, third = values
    return f"{median:.{digits}f} ({first:.{digits}f}-{third:.{digits}f})"


def ordered(found: Found) -> list[Line]:
    """The full run, and then the slowest first."""
    return sorted(found.lines, key=lambda line: line.wall_speedup[0] if line is not found.lines[0] else 0)


def cells(line: Line) -> list[str]:
    """A row of the table."""
    return [cell(line) for cell in COLUMNS.values()]


def save(found: Found, folder: Path) -> list[Path]:
    """Write a case, and with what the folder holds of other cases the page and the CSV file.

    Returns:
        `list[Path]`: The files.

    Raises:
        OSError: If one cannot be written.
    """
    own = folder / f"{found.case}.json"
    write_json(own, found.record())
    every = read(folder)
    lines = [_csv_line(each, line) for each in every for line in each.lines]
    texts = {"bench.md": page(every), "bench.csv": as_csv(lines)}
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(text.encode())
    return [own, *(folder / name for name in texts)]


def read(folder: Path) -> list[Found]:
    """The cases that a folder holds, in the order of the bench; a file that is none is named, and passed over."""
    found = []
    for name in CASES:
        path = folder / f"{name}.json"
        if path.is_file():
            try:
                found.append(Found.of(read_json(path)))
            except ValueError as error:
                errors.print(f"{named(path)} is left out of the page: {error}")
    return found


def _csv_line(found: Found, line: Line) -> dict[str, Any]:
    flat: dict[str, Any] = {"case": found.case}
    for name, value in line.record().items():
        quartiles = dict(zip((name, f"{name}_q1", f"{name}_q3"), value, strict=True)) if _is_quartiles(value) else {}
        flat |= quartiles or {name: value}
    return flat


def _is_quartiles(value: Any) -> bool:
    return isinstance(value, (tuple, list))


def page(every: Sequence[Found]) -> str:
    """All cases as Markdown."""
    parts = ["# Against the peers, by the clock", ABOUT, "## In words", _in_words(every)]
    for found in every:
        parts += [f"## {plain(found.case)}", _about(found)]
        parts += [table(list(COLUMNS), [cells(line) for line in ordered(found)])]
        parts += [found.floor.text] if found.floor else []
        parts += [_beside(found)] if verdicts(found, PEER, FEWER) else []
        parts += [_refused(found)] if found.refused else []
        parts += ["\n".join(f"- {plain(note)}" for note in found.notes)] if found.notes else []
    return "\n\n".join(parts) + "\n"


def _in_words(every: Sequence[Found]) -> str:
    lines = [f"- **{plain(found.case)}**: {plain(sentence)}" for found in every for sentence in summary(found)]
    return "\n".join(lines) or "- There is nothing to compare."


def _about(found: Found) -> str:
    told = found.environment
    where = f"{told['device']}, {told['threads']} threads, torch {told['torch']}, {told['dtype']}"
    code, count = told["git"] or "no checkout", found.lines[0].rounds
    rounds = "1 round" if count == 1 else f"{count} rounds"
    return f"{found.about}. PSNR is of {found.compared}. {rounds}. {plain(where)}, {code}. `{plain(found.command)}`"


def _beside(found: Found) -> str:
    """Each row that is not ours beside the fastest of ours that is as near the full run."""
    lines = [f"- {plain(verdict.text)}." for verdict in verdicts(found, PEER, FEWER)]
    return "\n".join(["At equal fidelity:", "", *lines])


def _refused(found: Found) -> str:
    lines = [f"- {plain(name)}: {plain(why)}" for name, why in found.refused.items()]
    return "\n".join(["Cannot run here:", "", *lines])
