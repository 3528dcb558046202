"""Which part of the work is this process's: by launcher, or by hand for job arrays."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

PATIENCE = timedelta(days=30)
"""How long a process that is done waits for the slowest one."""

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


def launched_device() -> str | None:
    """The GPU of a process that a launcher started beside others; `None` where there is nothing to choose."""
    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if rank is not None and torch.cuda.is_available() else None


def wait_for_all(shard: Shard) -> None:
    """Return when every process of a launcher has come here. They meet this once, and exchange nothing."""
    if shard.world == 1:
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    dist.barrier()
    dist.destroy_process_group()
