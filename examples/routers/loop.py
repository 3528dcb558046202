"""The loop of both recipes: rounds until there were enough iterations, a log, checkpoints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from toca.files.writing import atomic_path

from .recipe import Recipe

SAVE_SECONDS = 60.0
ROUNDS = 1_000_003
"""A round draws from seed * ROUNDS + its number, so that a run that was stopped goes on as if it had not been."""


def train(recipe: Recipe, iterations: int, checkpoint: Path, log: Path, made_with: dict[str, Any]) -> None:
    """Train until `recipe` has had at least so many iterations.

    Args:
        recipe (`Recipe`): What to train; goes on from `checkpoint` if that is there.
        iterations (`int`): Iterations from the start, those of the checkpoint included.
        checkpoint (`Path`): Written every minute and at the end.
        log (`Path`): A line every twentieth of the iterations is appended to it, and printed.
        made_with (`dict`): What a checkpoint must have been made with.

    Raises:
        ValueError: If the checkpoint was made with something else.
    """
    number = _restore(recipe, checkpoint, made_with)
    saved, logged, start = time.monotonic(), recipe.iteration, time.monotonic()
    while recipe.iteration < iterations:
        recipe.round(torch.Generator().manual_seed(recipe.settings.seed * ROUNDS + number))
        number += 1
        if recipe.iteration - logged >= iterations // 20 or recipe.iteration >= iterations:
            _log(recipe, log, logged, time.monotonic() - start)
            logged = recipe.iteration
        if time.monotonic() - saved > SAVE_SECONDS or recipe.iteration >= iterations:
            _save(recipe, checkpoint, number, made_with)
            saved = time.monotonic()


def mean_losses(losses: list[tuple[float, float]], parts: int = 20) -> list[tuple[int, float, float]]:
    """Of each part of the iterations: the last one's number, the mean loss, the mean error."""
    ends = sorted({round(len(losses) * (i + 1) / parts) for i in range(parts)} - {0})
    starts = [0, *ends[:-1]]
    return [(end, *_means(losses[start:end])) for start, end in zip(starts, ends, strict=True)]


def _means(losses: list[tuple[float, float]]) -> tuple[float, float]:
    loss, error = torch.tensor(losses, dtype=torch.float64).mean(0).tolist()
    return float(f"{loss:.4g}"), float(f"{error:.4g}")


def _log(recipe: Recipe, path: Path, since: int, seconds: float) -> None:
    loss, error = _means(recipe.losses[since:])
    share = recipe.logits.share(recipe.settings.threshold)
    line = f"{seconds:.0f} s, iteration {recipe.iteration}: loss {loss:.4g}, error {error:.4g}, computed {share:.1%}"
    print(line, flush=True)
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
