"""`toca eval status`."""

from __future__ import annotations

from pathlib import Path

from toca.eval.progress.status import status_of
from toca.eval.progress.told import lines, table, to_data
from toca.eval.refusal import refusing
from toca.pipelines.commands.console import output as console
from toca.pipelines.commands.console import print_json


def show(folder: Path, as_json: bool, verify: bool) -> None:
    """Print how far the run in a folder is.

    Raises:
        Refused: If there is none.
    """
    with refusing():
        status = status_of(folder, verify)
    if as_json:
        print_json(to_data(status))
        return
    for study in status.studies:
        console.print(f"{study.outline.model}: {study.outline.summary}")
        console.print(table(study))
        for line in lines(study, bool(status.working)):
            console.print(line)
        console.print()
    console.print(_at_work(status.working))


def _at_work(working: list[str] | None) -> str:
    if working is None:
        return "Who is at work here cannot be told: the folder is not yours to write to."
    return "At work: " + "; ".join(working) if working else "Nobody is at work here."
