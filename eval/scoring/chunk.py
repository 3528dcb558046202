"""Pictures a chunk at a time, so that a run of any size fits into memory, and each once for all that look at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from toca.eval.samples.pictures import Gallery
from toca.eval.variants import BASELINE, Variant

CHUNK = 64
"""Samples at a time. It is a multiple of every network's batch, whether of 64 or 16 pictures or of 8 videos: a network
may see a picture differently in the last bit in a batch of another size, and figures must not depend on chunks."""


@dataclass(frozen=True)
class Chunk:
    """Some of a variant's samples; nothing is read before it is looked at.

    Args:
        gallery (`Gallery`): The pictures.
        variant (`Variant`): Whose.
        place (`slice`): Which of the run's samples.
    """

    gallery: Gallery
    variant: Variant
    place: slice

    @cached_property
    def samples(self) -> np.ndarray:
        """(n, frames, height, width, 3), uint8."""
        return self.gallery.load(self.variant, self.place)

    @cached_property
    def references(self) -> np.ndarray:
        """The same samples of the full run."""
        return self.samples if self.variant == BASELINE else self.gallery.load(BASELINE, self.place)

    def floats(self, chosen: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Some of the samples, by their places in the chunk, before they were rounded, and the same of the full run.

        They are four times as large as the others: whoever looks at them takes a few at a time.
        """
        ours = self.gallery.load_floats(self.variant, self.place, chosen)
        if self.variant == BASELINE:
            return ours, ours
        return ours, self.gallery.load_floats(BASELINE, self.place, chosen)

    @property
    def count(self) -> int:
        """Of the samples."""
        return len(self.gallery.items[self.place])


Looked = TypeVar("Looked")


@dataclass(frozen=True)
class Task(Generic[Looked]):
    """Something to find of a variant's samples.

    Args:
        look (`Callable`): A chunk to what is found of it, which must not hold on to the pictures.
        keep (`Callable`): Takes what was found of all chunks, in their order, and saves what follows from it.
    """

    look: Callable[[Chunk], Looked]
    keep: Callable[[Sequence[Looked]], None]


def carry_out(
    tasks: Sequence[Task[Any]], gallery: Gallery, variant: Variant, looked: Callable[[int, bool], None] | None = None
) -> None:
    """Do all tasks in one go through the samples; without a task nothing is read.

    Args:
        tasks (`Sequence[Task]`): What is to be found.
        gallery (`Gallery`), variant (`Variant`): Of whose samples.
        looked (`Callable`, *optional*): Is told of how many samples more have been looked at, and whether anew.

    Raises:
        ValueError, OSError: If pictures cannot be read, or a task raises.
    """
    if not tasks:
        if looked is not None:
            looked(len(gallery.items), False)
        return
    found = []
    for place in gallery.chunks(CHUNK):
        # It reads its pictures when it is looked at; by then the one before is gone.
        chunk = Chunk(gallery, variant, place)
        found.append([task.look(chunk) for task in tasks])
        if looked is not None:
            looked(chunk.count, True)
    for task, parts in zip(tasks, zip(*found, strict=True), strict=True):
        task.keep(parts)
