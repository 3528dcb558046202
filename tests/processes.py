"""Processes of this machine that talk to each other by gloo, in the place of devices."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

forked = pytest.mark.skipif(not hasattr(os, "fork"), reason="interpreters that import all anew take too long")
LONGEST = datetime.timedelta(seconds=20)
"""Beyond which none waits for another."""


def in_processes(count: int, work: Callable[[int], None], folder: Path, backend: str = "gloo") -> None:
    """Do something in so many processes, each with one thread, which are ranks of one group.

    Args:
        count (`int`): How many.
        work (`Callable`): Is called in each with its rank.
        folder (`Path`): An empty one, where they meet.
        backend (`str`, defaults to `"gloo"`): As `torch.distributed` names it.

    Raises:
        ProcessRaisedException: What one of them raised.
        AssertionError: If one ended before its work did.
    """
    multiprocessing.start_processes(_one, (count, work, folder, backend), nprocs=count, start_method="fork")
    assert [rank for rank in range(count) if not _done(folder, rank).exists()] == []


def _one(rank: int, count: int, work: Callable[[int], None], folder: Path, backend: str) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=count, timeout=LONGEST)
    work(rank)
    _done(folder, rank).touch()
    dist.destroy_process_group()


def _done(folder: Path, rank: int) -> Path:
    return folder / f"done-{rank}"
