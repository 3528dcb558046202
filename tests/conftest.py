"""What every test relies on: one thread, a fixed seed, and no pictures on a screen."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
# Said before torch is imported, and so to the programs that tests start as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What the user of this machine has tuned is nothing to the tests.
CACHE = tempfile.TemporaryDirectory(prefix="toca-cache-")
os.environ["TOCA_CACHE"] = CACHE.name

import torch  # noqa: E402

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """What was imported and collected, a million objects, lives as long as the process: from here on no pass of the
    garbage collector goes over it, which takes a third of a second each time, and some tests ask for dozens."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Libraries look at the end whether all was let go of."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The global generator starts every test in the same state and is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def quiet_libraries() -> Iterator[None]:
    """Libraries are as quiet as in a process of the command line; put back afterwards."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    from toca.pipelines.cli import hush_libraries

    levels = [(library, library.get_verbosity()) for library in (of_diffusers, of_transformers)]
    hush_libraries()
    yield
    for library, level in levels:
        library.set_verbosity(level)
        library.enable_progress_bar()
