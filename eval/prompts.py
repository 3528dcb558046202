"""Which prompts a run is over."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toca.eval.noise import noise_seed
from toca.pipelines.calibration import read_prompts
from toca.pipelines.loading import resolve_source
from toca.pipelines.prompts import known_prompts


@dataclass(frozen=True)
class Prompt:
    """A prompt, or the class of a class-conditional pipeline, with its number in the list it comes from."""

    id: int
    text: str


@dataclass(frozen=True)
class Item:
    """One sample to make: the `sample`-th of a prompt."""

    prompt: Prompt
    sample: int

    @property
    def key(self) -> tuple[int, int]:
        """(prompt id, sample index): what its noise and its files are named by."""
        return self.prompt.id, self.sample


def find_prompts(model: str, pipe: Any, file: Path | None = None) -> list[Prompt]:
    """The prompts of a file, one a line; else those that the model's folder lists; else the numbers of its classes.

    Raises:
        ValueError: If there are none.
        OSError: If the file cannot be read.
    """
    texts = read_prompts(file) if file is not None else known_prompts(resolve_source(model)) or _classes(pipe)
    if not texts:
        raise ValueError(f"There are no prompts for {model}: name a file with --prompts-file, one prompt a line.")
    return [Prompt(i, text) for i, text in enumerate(texts)]


def _classes(pipe: Any) -> list[str]:
    if "class_labels" not in inspect.signature(type(pipe).__call__).parameters:
        return []
    named = sorted(set(getattr(pipe, "labels", {}).values()))
    return [str(label) for label in named or range(pipe.transformer.config.num_embeds_ada_norm)]


def choose(prompts: list[Prompt], count: int, seed: int) -> list[Prompt]:
    """`count` of the prompts by chance. A larger count of the same seed holds those of a smaller one."""
    return sorted(prompts, key=lambda prompt: noise_seed(seed, prompt.id, -1))[:count]


def items_of(prompts: list[Prompt], samples: int) -> list[Item]:
    """Every sample of every prompt; the first of each prompt come first."""
    return [Item(prompt, sample) for sample in range(samples) for prompt in prompts]
