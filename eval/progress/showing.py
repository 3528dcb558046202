"""`toca eval status`."""

from __future__ import annotations

from pathlib import Path

from toca.eval.progress.status import Status, status_of
from toca.eval.progress.there import status_there
from toca.eval.progress.told import lines, table, to_data
from toca.eval.refusal import refusing
from toca.eval.store.remote import Remote
from toca.files.reading import named
from toca.pipelines.commands.console import output as console
from toca.pipelines.commands.console import print_json

OUTPUT = Path("outputs/eval")


def show(folder: Path | None, as_json: bool, verify: bool, remote: str | None = None) -> None:
    """Print how far the run in a folder is, or of a URL.

    Raises:
        Refused: If there is none, or both are named.
    """
    with refusing():
        status = _status(folder, verify, remote)
    if as_json:
        print_json(to_data(status))
        return
    for study in status.studies:
        console.print(f"{study.outline.model}: {study.outline.summary}")
        console.print(table(study))
        for line in lines(study, bool(status.working)):
            console.print(line)
        console.print()
    console.print(_at_work(status.working) if remote is None else "Who is at work there cannot be told.")


def _status(folder: Path | None, verify: bool, remote: str | None) -> Status:
    if remote is None:
        return status_of(folder or OUTPUT, verify)
    if folder is not None or verify:
        other = "--verify, which reads the pictures of a folder" if folder is None else f"the folder {named(folder)}"
        raise ValueError(f"--remote tells of what lies there: leave out {other}.")
    return status_there(Remote(remote))


def _at_work(working: list[str] | None) -> str:
    if working is None:
        return "Who is at work here cannot be told: the folder is not yours to write to."
    return "At work: " + "; ".join(working) if working else "Nobody is at work here."
