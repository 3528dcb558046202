"""Which prompts a run is over."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toca.eval.samples.noise import noise_seed
from toca.eval.samples.prompt_lists import NAMED, named_list, read_list
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


def find_prompts(
    model: str, pipe: Any, file: Path | str | None = None, sha256: str | None = None, expected: int | None = None
) -> list[Prompt]:
    """The prompts of a list; else those that the model's folder lists; else the numbers of its classes.

    Args:
        model (`str`): A name, a folder or a hub id.
        pipe: Its pipeline.
        file (`Path` or `str`, *optional*): A file that `toca.eval.samples.prompt_lists.read_list` reads, or the name
            of a list that comes with toca, such as "toca-200".
        sha256 (`str`, *optional*): What that file must be.
        expected (`int`, *optional*): How many prompts it must hold.

    Raises:
        ValueError: If there are none, or the list is not what it must be.
        OSError: If the file cannot be read.
    """
    texts = _own(model, pipe, sha256, expected) if file is None else _listed(file, sha256, expected)
    return [Prompt(i, text) for i, text in enumerate(texts)]


def _listed(file: Path | str, sha256: str | None, expected: int | None) -> list[str]:
    if str(file) in NAMED:
        return named_list(str(file), sha256, expected)
    return read_list(Path(file), sha256, expected)


def _own(model: str, pipe: Any, sha256: str | None, expected: int | None) -> list[str]:
    if sha256 is not None or expected is not None:
        raise ValueError(
            f"A published list is asked for ({expected or 'any number of'} prompts, SHA-256 {sha256 or 'any'}): name "
            "its file with --prompts-file."
        )
    texts = known_prompts(resolve_source(model)) or _classes(pipe)
    if not texts:
        raise ValueError(f"There are no prompts for {model}: name a file with --prompts-file, one prompt a line.")
    return texts


def _classes(pipe: Any) -> list[str]:
    """All classes of a class-conditional pipeline, each once, so that every one gets the same number of samples."""
    if "class_labels" not in inspect.signature(type(pipe).__call__).parameters:
        return []
    named = sorted(set(getattr(pipe, "labels", {}).values()))
    return [str(label) for label in named or range(pipe.transformer.config.num_embeds_ada_norm)]


def choose(prompts: list[Prompt], count: int | None, seed: int) -> list[Prompt]:
    """`count` of the prompts by chance; all for `None`. A larger count of one seed holds those of a smaller one."""
    return sorted(prompts, key=lambda prompt: noise_seed(seed, prompt.id, -1))[:count]


MOST_SAMPLES = 10_000_000


def items_of(prompts: list[Prompt], samples: int) -> list[Item]:
    """Every sample of every prompt; the first of each prompt come first.

    Raises:
        ValueError: If they are more than `MOST_SAMPLES`, which no memory holds the list of.
    """
    if samples * len(prompts) > MOST_SAMPLES:
        raise ValueError(f"`samples`: {samples:,} of each of {len(prompts):,} prompts are more than {MOST_SAMPLES:,}.")
    return [Item(prompt, sample) for sample in range(samples) for prompt in prompts]
