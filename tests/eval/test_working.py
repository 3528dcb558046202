"""Two runs into one folder: shards at once, and all else alone."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toca.eval.samples.shards import WHOLE, Shard
from toca.eval.samples.working import MARKS, _meet, working
from toca.eval.store.presence import others, present

FORK = multiprocessing.get_context("fork")


def stay(output: Path, shard: Shard, pipe) -> None:
    """A process that works in a folder until it is killed."""
    with working(output, shard):
        pipe.send(os.getpid())
        time.sleep(600)


@contextmanager
def another(output: Path, shard: Shard = WHOLE):
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=stay, args=(output, shard, theirs))
    process.start()
    try:
        yield mine.recv()
    finally:
        process.kill()
        process.join()


def test_a_second_run_is_refused_by_a_sentence_that_names_the_first(tmp_path):
    with another(tmp_path) as pid:
        with pytest.raises(ValueError, match=f"Another run, process {pid} on .*, works in {tmp_path}: wait until it"):
            with working(tmp_path):
                pass
        with pytest.raises(ValueError, match="Another run"), working(tmp_path, Shard(0, 2)):
            pass
        with working(tmp_path / "other"):
            pass
    with working(tmp_path):  # who was killed is there no more
        pass
    assert not list((tmp_path / MARKS).glob("*@*"))


def test_shards_work_at_once_and_the_same_one_does_not(tmp_path):
    with another(tmp_path, Shard(0, 2)), working(tmp_path, Shard(1, 2)):
        for shard in (Shard(0, 2), Shard(0, 4), WHOLE):
            with pytest.raises(ValueError, match="Another run"), working(tmp_path, shard):
                pass


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_shards_meet_where_a_piece_belongs_to_both(n, m, data):
    one, other = Shard(data.draw(st.integers(0, n - 1)), n), Shard(data.draw(st.integers(0, m - 1)), m)
    assert _meet(one, other) == bool(set(one.own(range(n * m))) & set(other.own(range(n * m))))


def test_of_many_that_come_at_once_one_gets_in(tmp_path):
    barrier = Barrier(6)

    def come(number: int) -> bool:
        barrier.wait()
        try:
            with working(tmp_path):
                time.sleep(1)
                return True
        except ValueError:
            return False

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(come, range(6))).count(True) == 1


def test_those_who_are_there_see_each_other(tmp_path):
    with present(tmp_path, "bench") as one, present(tmp_path, "bench") as two:
        for mine in (one, two):
            [mark] = others(tmp_path, mine)
            assert (mark.what, mark.pid) == ("bench", os.getpid())
    (tmp_path / "bench@gone@1@0.lock").touch()  # of a process that has ended
    (tmp_path / "notes@odd.lock").touch()
    with present(tmp_path, "bench") as mine:
        assert others(tmp_path, mine) == []


def test_a_folder_that_cannot_be_written_to_is_an_error_of_its_own(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="The folder .*file could not be made"), working(tmp_path / "file"):
        pass
