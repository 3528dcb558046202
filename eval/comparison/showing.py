"""`toca eval compare`."""

from __future__ import annotations

from pathlib import Path

from toca.eval.comparison.pairing import Comparison, compare
from toca.eval.comparison.told import about, aligned, markdown, to_data
from toca.eval.refusal import Refused, refusing
from toca.eval.report import Report, read_report
from toca.files.reading import named
from toca.pipelines.commands.console import output as console
from toca.pipelines.commands.console import print_json


def show(first: Path, second: Path, as_json: bool, as_markdown: bool) -> None:
    """Print how two runs differ.

    Args:
        first, second (`Path`): Folders of runs, or the JSON files of theirs.
        as_json, as_markdown (`bool`): How; as tables for the console unless told.

    Raises:
        Refused: If they cannot be compared; it says why.
    """
    with refusing():
        compared = [compare(ours, theirs) for ours, theirs in _pairs(_reports(first), _reports(second))]
    if as_json:
        print_json([to_data(each) for each in compared])
    elif as_markdown:
        print("\n".join(map(markdown, compared)), end="")
    else:
        for each in compared:
            _print(each)


def _reports(path: Path) -> dict[str, Report]:
    """By the pipeline's name."""
    if not path.exists():
        raise Refused(f"There is neither a folder nor a file {named(path)}: name the --output of a run.")
    paths = [path] if not path.is_dir() else sorted(path.glob("*.json"))
    if not paths:
        raise Refused(f"{named(path)} has no JSON file of a run: name the --output of one whose report is written.")
    reports = [read_report(each) for each in paths]
    return {report.results.model: report for report in reports}


def _pairs(ours: dict[str, Report], theirs: dict[str, Report]) -> list[tuple[Report, Report]]:
    common = [model for model in ours if model in theirs]
    if not common:
        raise Refused(
            f"The runs have no pipeline in common: {', '.join(ours)} in one, {', '.join(theirs)} in another."
        )
    return [(ours[model], theirs[model]) for model in common]


def _print(comparison: Comparison) -> None:
    console.print(comparison.model)
    console.print(about(comparison))
    console.print(aligned(comparison))
    for note in comparison.notes:
        console.print(note)
    console.print()
