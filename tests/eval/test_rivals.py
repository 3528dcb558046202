"""Who else is busy while times are taken: other programs by the cores they take, and other benches by their marks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from toca.eval.store.presence import present
from toca.eval.timing import rivals
from toca.eval.timing.rivals import Rivals, competition, lookout, together

FORK = multiprocessing.get_context("fork")
SECONDS = 1.5


@pytest.fixture(autouse=True)
def benches(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(rivals, "BENCHES", tmp_path)
    return tmp_path


def work(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def bench(folder: Path, pipe) -> None:
    """A process that takes times and is busy, and is no child of the test's."""
    if os.fork():
        os._exit(0)
    with present(folder, "bench"):
        pipe.send(os.getpid())
        work(60)
    os._exit(0)


@contextmanager
def another(folder: Path) -> Iterator[int]:
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=bench, args=(folder, theirs))
    process.start()
    process.join()
    pid = mine.recv()
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)


def test_another_bench_is_seen_and_what_it_takes_of_the_machine(benches):
    with lookout() as out:
        with another(benches):
            time.sleep(SECONDS)
            found = out.look()
        assert found.benches == 1 and found.compete and found.cores > 0.2
        [said] = competition({"fora": found, "toca": Rivals(1.0, 0.0, 0)})
        assert "another run of toca eval took times here" in said and said.endswith("it concerns fora.")
        time.sleep(0.2)
        out.look()
        assert out.look().benches == 0


def test_what_this_process_and_its_children_do_is_no_competition():
    """By the difference to what all others do meanwhile, which a test cannot know."""
    with lookout() as out:
        before = rivals._own_seconds()
        child = FORK.Process(target=work, args=(SECONDS,))
        child.start()
        work(SECONDS)
        child.join()
        assert rivals._own_seconds() - before > SECONDS * 0.6
        assert out.look().busy >= 0


def test_little_is_not_told():
    assert competition({"fora": Rivals(10.0, 0.0, 0)}) == []
    assert not Rivals(10.0, 0.09 * 10 * (os.cpu_count() or 1), 0).compete
    assert Rivals(10.0, 0.11 * 10 * (os.cpu_count() or 1), 0).compete
    assert together([Rivals(1.0, 0.5, 0), Rivals(3.0, 0.5, 2)]) == Rivals(4.0, 1.0, 2)
    assert together([]).cores == 0
