"""`toca tune`: a search on a model, and what it found."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from toca.checks import checked
from toca.files.figures import figure_format
from toca.pipelines.calibration import read_prompts
from toca.pipelines.commands.console import errors, output
from toca.pipelines.loading import resolve_source
from toca.pipelines.method_options import find_method
from toca.pipelines.prompts import known_prompts
from toca.pipelines.registry import DEFAULT_MODEL
from toca.pipelines.request import PreparedGeneration, Request, prepare
from toca.pipelines.running.fronts import print_front
from toca.pipelines.tuning import (
    PROMPTS,
    TOO_FEW,
    add_rules,
    budgets_with,
    conditions,
    searched,
    state_path,
    took,
)
from toca.pipelines.writing import prepare_folder
from toca.plan.bounds import Budget
from toca.plan.front import Front
from toca.tuning.prompts import spread
from toca.tuning.rule import with_knob
from toca.tuning.saved import find_front, keep


@dataclass(frozen=True)
class Wishes:
    """The options of `toca tune` that are no other command's; `None` is one that was not given."""

    speedup: float | None = None
    prompts: int | None = None
    prompts_file: Path | None = None
    methods: tuple[str, ...] = ()
    output: Path | None = None
    draw: Path | None = None


def run(request: Request, wishes: Wishes) -> None:
    """Search a model for the best plan at every speed.

    Args:
        request (`Request`): The model, and how it is called.
        wishes (`Wishes`): On what, for what, and where to.

    Raises:
        ValueError, OSError: For anything that cannot be done; one sentence each.
    """
    speedup, model = wishes.speedup, str(request.model)
    checked(speedup, Budget | None, "speedup")
    methods = with_knob([find_method(name) for name in wishes.methods])
    texts = _texts(model, wishes.prompts, wishes.prompts_file)
    _check_files(wishes.output, wishes.draw)
    request = replace(request, prompt=texts[0] if texts else "to be chosen")
    with errors.status("Loading the model"):
        prepared = prepare(request)
    taken = conditions(prepared.pipe, texts, wishes.prompts or PROMPTS, model)
    prepared = replace(prepared, config=replace(prepared.config, prompt=str(taken[0])))
    state = state_path(wishes.output, model, _told(prepared, taken, methods))
    front = _with_thresholds(prepared, methods, taken) if methods else None
    if front is None:
        front = _search(prepared, methods, taken, state)
    _save(front, prepared, wishes.output)
    state.unlink(missing_ok=True)
    _tell(front, prepared, taken, speedup, "" if request.steps is None else f" --steps {request.steps}")
    fastest = front.entries[-1].speedup
    if wishes.draw is not None:
        front.draw(wishes.draw, **({} if speedup is None or speedup > fastest else {"speedup": speedup}))
        output.print(f"Saved {wishes.draw}")
    if speedup is not None:
        # What nothing meets is refused with the nearest that does; the front is saved for other speeds.
        front.at(speedup=speedup)


def _texts(model: str, count: int | None, file: Path | None) -> list[str]:
    """The prompts of a file, or some of the model's own; none where it has no list of them."""
    if count is not None and file is not None:
        raise ValueError("Give --prompts or --prompts-file, not both.")
    if count is not None and count < 2:
        raise ValueError(f"{TOO_FEW}: got --prompts {count}.")
    if file is None:
        return spread(known_prompts(resolve_source(model)), count or PROMPTS)
    texts = list(dict.fromkeys(read_prompts(file)))
    if len(texts) < 2:
        raise ValueError(f"{TOO_FEW}: {file} holds {texts[0]!r} alone.")
    return texts


def _check_files(path: Path | None, draw: Path | None) -> None:
    """Find out before the search, and not after it, what cannot be written."""
    if path is not None and path.suffix != ".json":
        raise ValueError(f"A front is saved as .json, got {path.name!r}.")
    for written in filter(None, (path, draw)):
        prepare_folder(written.parent)
    if draw is not None:
        figure_format(draw)


def _told(prepared: PreparedGeneration, taken: list[Any], methods: list[Any]) -> dict[str, Any]:
    """What makes one search another: a search that was stopped is found by it."""
    config = prepared.config
    return {**vars(config), "prompt": taken, "methods": [str(method) for method in methods], "dtype": prepared.dtype}


def _with_thresholds(prepared: PreparedGeneration, methods: list[Any], taken: list[Any]) -> Front | None:
    """The front that is at hand, with the thresholds of some methods; `None` where none is."""
    try:
        front = find_front(prepared.pipe, prepared.config.num_inference_steps, for_thresholds=True).front
    except ValueError:
        return None
    with errors.status("Looking for thresholds") as status:

        def told(name: str, made: int) -> None:
            status.update(f"Looking for thresholds: {name} is found, {made} samples made")

        return add_rules(front, prepared.pipe, methods, taken, prepared.config, told)


def _search(prepared: PreparedGeneration, methods: list[Any], taken: list[Any], state: Path) -> Front:
    """The search, with a bar; what it has measured is kept until it is at its end."""
    prepare_folder(state.parent)
    if state.is_file():
        errors.print(f"Going on with the search in {state}.")
    try:
        with _bar(f"Tuning {prepared.model}") as progress:
            front = searched(prepared.pipe, taken, prepared.config, methods, state, progress)
    except KeyboardInterrupt:
        errors.print("The same command goes on from here.")
        raise
    return front


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Callable[[float, str], None]]:
    """A bar with an estimate of the time that is left, on a terminal; what it gives is told the share that is done."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("elapsed,"), TimeRemainingColumn(), TextColumn("left  {task.fields[what]}"),
    )  # fmt: skip
    bar = Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal, speed_estimate_period=120)
    with bar:
        task = bar.add_task(title, total=1.0, what="")
        yield lambda share, what: bar.update(task, completed=share, what=what)


def _save(front: Front, prepared: PreparedGeneration, path: Path | None) -> None:
    """Keep the front where `--speedup` finds it, and where it was asked for; then the search is at its end."""
    if path is not None:
        front.save(path)
        output.print(f"Saved {path}")
    try:
        kept = keep(front, prepared.pipe)
    except OSError as error:
        if path is None:
            raise
        errors.print(f"Note: --speedup will not find this front: {error}", style="yellow")
        return
    if path is None:
        output.print(f"Saved {kept}")


def _tell(front: Front, prepared: PreparedGeneration, taken: list[Any], speedup: float | None, more: str) -> None:
    output.print(str(front))
    print_front(front, budgets_with(speedup))
    if told := took(front):
        output.print(told)
    where = "" if prepared.model == DEFAULT_MODEL else f" --model {shlex.quote(prepared.model)}"
    output.print(f"Use it: toca generate {shlex.quote(str(taken[0]))}{where} --speedup {speedup or 2:g}{more}")
