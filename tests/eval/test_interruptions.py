"""A study that is killed, or whose disk is full, at any place: nothing is lost, nothing torn, and the end is the same.

What runs is `toca eval run` without its command line, on a tiny random pipeline, in processes of their own.
"""

from __future__ import annotations

import errno
import importlib
import json
import multiprocessing
import os
import random
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.folders import save_tiny
from toca.eval.run import STAGES, run

FORK = multiprocessing.get_context("fork")
FLAGS = {
    "methods": ["fora:interval=2"], "peers": False, "fewer_steps": [2], "steps": 3, "guidance_scale": 1.0,
    "prompts": 3, "batch_size": 1, "repeats": 3, "warmups": 1, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def without_plots() -> Iterator[None]:
    """Neither the undisturbed study nor any other draws the page's plots, no part of the claim: the moments at which a
    study is killed are drawn from the time that the undisturbed one took."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("toca.eval.report.page"), "plots", lambda report: [])
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = save_tiny("pixart", tmp_path_factory.mktemp("pipelines") / "tiny")
    (made / "prompts.json").write_text(json.dumps(["a red owl", "a blue cat", "a star"]))
    return made


def study(folder: Path, output: Path) -> None:
    run(STAGES, None, [str(folder)], FLAGS, output, None, "toca eval run")


def pictures(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("p*.png"))}


def scores(output: Path) -> list:
    """All that does not depend on the clock."""
    [path] = output.glob("*.json")
    found = json.loads(path.read_text())
    return [(row["name"], row["samples"], row["flops_speedup"]) for row in found["methods"] + found["uncached"]]


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory) -> tuple[Path, float]:
    """A study that nothing disturbed, and how long it took."""
    output, begun = tmp_path_factory.mktemp("whole"), time.monotonic()
    study(folder, output)
    return output, time.monotonic() - begun


def check(output: Path, whole: Path) -> None:
    """It ended as if nothing had been."""
    assert pictures(output) == pictures(whole)
    assert scores(output) == scores(whole)
    kinds = ("*.part*", "*.damaged-*", "rounds-*", "*@*.lock")
    assert [path for kind in kinds for path in output.rglob(kind)] == []


def kill_often(folder: Path, output: Path, whole: tuple[Path, float], seed: int, times: int) -> None:
    moments = random.Random(seed)
    for _ in range(times):
        process = FORK.Process(target=study, args=(folder, output))
        process.start()
        process.join(moments.uniform(0, whole[1]))
        process.kill()
        process.join()
        assert process.exitcode in (0, -9)
    study(folder, output)
    check(output, whole[0])


def test_killed_at_any_moment_it_goes_on(folder, whole, tmp_path):
    kill_often(folder, tmp_path, whole, seed=0, times=2)


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(1, 11))
def test_killed_at_ten_moments_it_goes_on(folder, whole, tmp_path, seed):
    kill_often(folder, tmp_path, whole, seed, times=10)


class Disk:
    """A disk that takes so many files and lines, and then no more, until it is emptied."""

    def __init__(self, monkeypatch, room: int) -> None:
        self.room, self._sync = room, os.fsync
        monkeypatch.setattr(os, "fsync", self._take)

    def _take(self, descriptor: int) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sync(descriptor)


def fill(folder: Path, output: Path, whole: tuple[Path, float], monkeypatch, rooms: list[int]) -> None:
    disk = Disk(monkeypatch, 0)
    for disk.room in rooms:
        before = pictures(output)
        with pytest.raises(OSError, match="There is no space left on the disk to write ") as raised:
            study(folder, output)
        assert "\n" not in str(raised.value) and str(output) in str(raised.value)
        assert before.items() <= pictures(output).items() <= pictures(whole[0]).items()
    disk.room = 10_000
    study(folder, output)
    check(output, whole[0])


def test_a_disk_that_is_full_is_said_in_one_sentence_and_nothing_is_lost(folder, whole, monkeypatch, tmp_path):
    fill(folder, tmp_path, whole, monkeypatch, [0, 1, 5, 20])


@pytest.mark.matrix
def test_a_disk_that_is_full_at_any_file(folder, whole, monkeypatch, tmp_path):
    fill(folder, tmp_path, whole, monkeypatch, [1] * 20 + [2] * 10)


def limited(folder: Path, output: Path, limit: int, pipe) -> None:
    """A process that may write files of so many bytes; it tells how it ended."""
    sys.stderr = open(os.devnull, "w")  # what catches it for the test is a file too
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        study(folder, output)
    except OSError as error:
        pipe.send(str(error))


def test_files_that_may_not_grow_are_said_and_not_torn(folder, whole, tmp_path):
    for limit in (100, 3000):
        mine, theirs = FORK.Pipe()
        process = FORK.Process(target=limited, args=(folder, tmp_path, limit, theirs))
        process.start()
        process.join()
        said = mine.recv()
        assert re.fullmatch(f"(There is no space left on the disk to write )?{tmp_path}.*[.]", said)
        assert all(path.stat().st_size <= limit for path in tmp_path.rglob("*") if path.is_file())
        assert pictures(tmp_path).items() <= pictures(whole[0]).items()
    study(folder, tmp_path)
    check(tmp_path, whole[0])
