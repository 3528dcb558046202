"""The loop of both recipes: rounds until there were enough iterations, a bar, a log, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from toca.files.writing import atomic_path

from .recipe import Recipe

SAVE_SECONDS = 60.0
PARTS = 20
"""A run is logged, and its router put aside, so often."""
ROUNDS = 1_000_003
"""A round draws from seed * ROUNDS + its number, so that a run that was stopped goes on as if it had not been."""


def train(
    recipe: Recipe,
    iterations: int,
    work: Path,
    made_with: dict[str, Any],
    put_aside: Callable[[int], None],
) -> None:
    """Train until `recipe` has had at least so many iterations.

    Args:
        recipe (`Recipe`): What to train; goes on from the checkpoint if there is one.
        iterations (`int`): Iterations from the start, those of the checkpoint included.
        work (`Path`): Folder of `checkpoint.pt`, written every minute and at the end, and of `log.txt`, to which a
            line every twentieth of the iterations is appended; it is printed too.
        made_with (`dict`): What a checkpoint must have been made with.
        put_aside (`Callable`): Called with the number of iterations as often as a line is written.

    Raises:
        ValueError: If the checkpoint was made with something else.
    """
    checkpoint = work / "checkpoint.pt"
    number = _restore(recipe, checkpoint, made_with)
    saved, logged, start = time.monotonic(), recipe.iteration, time.monotonic()
    with _progress() as progress:
        bar = progress.add_task(recipe.name, total=iterations, completed=recipe.iteration, said="")
        while recipe.iteration < iterations:
            recipe.round(torch.Generator().manual_seed(recipe.settings.seed * ROUNDS + number))
            number += 1
            progress.update(bar, completed=recipe.iteration, said=f"loss {recipe.losses[-1][0]:.3g}")
            if recipe.iteration - logged >= iterations // PARTS or recipe.iteration >= iterations:
                _log(recipe, work / "log.txt", logged, time.monotonic() - start, progress)
                put_aside(recipe.iteration)
                logged = recipe.iteration
            if time.monotonic() - saved > SAVE_SECONDS or recipe.iteration >= iterations:
                _save(recipe, checkpoint, number, made_with)
                saved = time.monotonic()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    return Progress(*columns, TextColumn("{task.fields[said]}"), TimeElapsedColumn(), TimeRemainingColumn())


def mean_losses(losses: list[tuple[float, float]], parts: int = PARTS) -> list[tuple[int, float, float]]:
    """Of each part of the iterations: the last one's number, the mean loss, the mean error."""
    ends = sorted({round(len(losses) * (i + 1) / parts) for i in range(parts)} - {0})
    starts = [0, *ends[:-1]]
    return [(end, *_means(losses[start:end])) for start, end in zip(starts, ends, strict=True)]


def _means(losses: list[tuple[float, float]]) -> tuple[float, float]:
    loss, error = torch.tensor(losses, dtype=torch.float64).mean(0).tolist()
    return float(f"{loss:.4g}"), float(f"{error:.4g}")


def _log(recipe: Recipe, path: Path, since: int, seconds: float, progress: Progress) -> None:
    loss, error = _means(recipe.losses[since:])
    share = recipe.logits.share(recipe.settings.threshold)
    line = f"{seconds:.0f} s, iteration {recipe.iteration}: loss {loss:.4g}, error {error:.4g}, computed {share:.1%}"
    progress.console.print(line, highlight=False)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def _save(recipe: Recipe, checkpoint: Path, number: int, made_with: dict[str, Any]) -> None:
    with atomic_path(checkpoint) as temporary:
        torch.save({"recipe": recipe.state(), "round": number, "made_with": made_with}, temporary)


def _restore(recipe: Recipe, checkpoint: Path, made_with: dict[str, Any]) -> int:
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, map_location=recipe.denoiser.device, weights_only=True)
    changed = {key: state["made_with"].get(key) for key in made_with if state["made_with"].get(key) != made_with[key]}
    if changed:
        now = {key: made_with[key] for key in changed}
        raise ValueError(f"{checkpoint} was made with {changed}, not with {now}: delete it, or choose another --work.")
    recipe.restore(state["recipe"])
    return state["round"]
