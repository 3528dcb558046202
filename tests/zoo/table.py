"""Writes `docs/families.md`: every family with its sites, its pipelines, and which promises were seen to hold.

python -m tests.zoo.table            # all families: every cell is run
python -m tests.zoo.table Wan Qwen   # classes whose name holds one of these; what the page says of others stays
python -m tests.zoo.table --jobs 2
"""

from __future__ import annotations

import argparse
import inspect
import logging
import re
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import diffusers
import torch

from toca.models.outside import OUTSIDE

from ..conformance.common import CACHING
from .page import Result, overview_row, page, read, section
from .promises import PROMISES, Cell, broken, check_refusal
from .subject import family_of_entry, supported
from .tiny import EVERY, ZOO

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
APART = "samples are apart"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write docs/families.md.")
    parser.add_argument("words", nargs="*", help="run the classes whose name holds one of these; all by default")
    parser.add_argument("--jobs", type=int, default=1, help="processes that run at the same time")
    given = parser.parse_args()
    names = [name for name in classes() if not given.words or any(word in name for word in given.words)]
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        ran = dict(zip(names, pool.map(results_of, names), strict=True))
    write(ran)


def classes() -> tuple[str, ...]:
    """The classes that have a family."""
    return tuple(name for name in supported() if name in ZOO)


def results_of(name: str) -> list[Result]:
    """Run every cell of a class and of its variants."""
    _be_quiet()
    started = time.perf_counter()
    entries = [entry for entry in EVERY if entry.partition("/")[0] == name]
    results = [result(entry, method) for entry in entries for method in CACHING]
    wrong = sum(bool(found.broken) for found in results)
    print(f"{name}: {len(results)} cells, {wrong} not as promised, {time.perf_counter() - started:.0f} s", flush=True)
    return results


def result(entry: str, method: str) -> Result:
    """Run one cell."""
    unasked = () if EVERY[entry].batches else (APART,)
    try:
        cell = Cell(entry, method)
        if not cell.refusal:
            return Result(entry, method, broken=broken(cell), unasked=unasked)
        check_refusal(cell)
    except Exception as error:  # noqa: BLE001 (the page tells it, and of the other cells too)
        return Result(entry, method, broken={"is run or refused": f"{type(error).__name__}: {error}"}, unasked=unasked)
    return Result(entry, method, cell.refusal)


def write(ran: dict[str, list[Result]]) -> None:
    """Put the sections of what ran into the page; those of classes that have no family any more go."""
    sections, rows = read(PAGE.read_text(encoding="utf-8")) if PAGE.is_file() else ({}, {})
    pipelines = pipelines_of(ran)
    for name, results in ran.items():
        spec = family_of_entry(ZOO[name])
        assert spec is not None
        sections[name] = section(spec, results, tuple(PROMISES), pipelines[name])
        rows[name] = overview_row(name, spec, results)
    known = set(classes())
    sections = {name: text for name, text in sections.items() if name in known}
    rows = {name: text for name, text in rows.items() if name in known}
    promises = {name: _first_sentence(check.__doc__) for name, check in PROMISES.items()}
    PAGE.write_text(page(sections, rows, promises, CACHING, ZOO, OUTSIDE), encoding="utf-8")


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def pipelines_of(names: Iterable[str]) -> dict[str, set[str]]:
    """For each model class the pipelines of diffusers that take one."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for pipeline in dir(diffusers):
        if pipeline.endswith("Pipeline") and pipeline != "DiffusionPipeline":
            for word in _annotated(getattr(diffusers, pipeline)):
                found.get(word, set()).add(pipeline)
    return found


def _annotated(pipeline: type) -> set[str]:
    """The class names in the annotations of a pipeline's components."""
    types = (parameter.annotation for parameter in inspect.signature(pipeline.__init__).parameters.values())
    return {word for kind in types for word in re.findall(r"\w+", getattr(kind, "__name__", "") + f" {kind}")}


def _be_quiet() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("toca", "diffusers"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    main()
