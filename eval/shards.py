"""Which part of the work is this process's: by launcher, or by hand for job arrays."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Work = TypeVar("Work")


@dataclass(frozen=True)
class Shard:
    """Process `rank` of `world`. No process waits for another while samples are made.

    Args:
        rank (`int`): From 0.
        world (`int`): How many there are.
    """

    rank: int = 0
    world: int = 1

    def own(self, work: Sequence[Work]) -> list[Work]:
        """Piece i belongs to rank i mod world."""
        return list(work[self.rank :: self.world])

    @property
    def leads(self) -> bool:
        """Whether this process does what is done once."""
        return self.rank == 0


WHOLE = Shard()
"""All of the work, in one process."""


def parse_shard(text: str) -> Shard:
    """The shard that `i/n` names, i from 1 to n.

    Raises:
        ValueError: If it is not such a text.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    number, world = (int(part) for part in match.groups()) if match else (0, 0)
    if not 1 <= number <= world:
        raise ValueError(f"A shard is i/n with i from 1 to n, for example 1/8, got {text!r}.")
    return Shard(number - 1, world)


def launched_shard() -> Shard:
    """The shard of a process that `accelerate launch` or `torchrun` started; else all of the work.

    Both tell a process its rank by the environment; to read it needs no connection between processes.
    """
    return Shard(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
