"""Pictures made by many processes, killed and gone on with, are those of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import toca
from tests.eval.test_study import subject
from toca.eval.samples import pictures
from toca.eval.samples.pictures import Gallery
from toca.eval.samples.prompts import items_of
from toca.eval.samples.shards import Shard
from toca.eval.store.store import Store
from toca.eval.variants import BASELINE, Variant

TEACACHE = Variant("teacache", "teacache", toca.TeaCache(threshold=0.3, per_sample=False))
"""Decides for a whole batch: its pictures depend on who is in it."""


def gallery(folder: Path, samples: int = 2) -> Gallery:
    made = subject()
    return Gallery(made, items_of(made.prompts, samples), 0, 2, Store(folder), "code")


def contents(folder: Path) -> dict[str, bytes]:
    """Every picture, by its place below the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("p*.png"))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for variant in (BASELINE, TEACACHE):
        gallery(folder).make(variant)
    return folder


@pytest.mark.parametrize("world", [2, 3])
def test_any_number_of_processes_makes_the_same_pictures(whole, tmp_path, world):
    for rank in reversed(range(world)):
        for variant in (BASELINE, TEACACHE):
            gallery(tmp_path).make(variant, Shard(rank, world))
    assert contents(tmp_path) == contents(whole)
    for variant in (BASELINE, TEACACHE):
        alone, many = gallery(whole).facts(variant), gallery(tmp_path).facts(variant)
        assert {**alone, "taken_at": 0} == {**many, "taken_at": 0}


def test_pictures_that_lack_are_counted_and_made_by_another_number_of_processes(whole, tmp_path):
    gallery(tmp_path).make(BASELINE, Shard(1, 3))
    with pytest.raises(ValueError, match="'full' lacks 3 of 5 batches of pictures: run the stage `generate`"):
        gallery(tmp_path).facts(BASELINE)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    for rank in range(2):
        gallery(tmp_path).make(BASELINE, Shard(rank, 2))
    assert {path: path.stat().st_mtime_ns for path in before} == before, "nothing is done twice"
    assert contents(tmp_path).items() <= contents(whole).items()
    assert gallery(tmp_path).facts(BASELINE)["steps"] == {"": 5}


def test_a_damaged_picture_is_named_and_made_again(whole, tmp_path):
    gallery(tmp_path).make(BASELINE)
    path = sorted(tmp_path.rglob("*.png"))[3]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"{path.name} is damaged or gone: run the stage `generate` again"):
        gallery(tmp_path).facts(BASELINE)
    gallery(tmp_path).make(BASELINE)
    assert contents(tmp_path).items() <= contents(whole).items()


def test_a_changed_run_never_meets_old_pictures(tmp_path):
    first = gallery(tmp_path)
    first.make(BASELINE)
    for other in (replace(first, seed=1), replace(first, code="other"), replace(first, items=first.items[:2])):
        with pytest.raises(ValueError, match="lacks"):
            other.facts(BASELINE)


def test_a_full_disk_is_said_and_nothing_is_noted(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures.Image.Image, "save", full)
    with pytest.raises(OSError, match="no space left on the disk to write .*p000000-s000-f0000.png"):
        gallery(tmp_path).make(BASELINE)
    assert not list(tmp_path.rglob("*.jsonl")) and not list(tmp_path.rglob("*part*"))


WORKER = """
import sys
from pathlib import Path
from tests.eval.test_pictures import TEACACHE, gallery
from toca.eval.samples.shards import launched_shard
gallery(Path(sys.argv[1])).make(TEACACHE, launched_shard())
"""


def start(folder: Path, rank: int) -> subprocess.Popen:
    """One of two processes, as torchrun starts them."""
    environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", WORKER, str(folder)], env=environment, cwd=root)


@pytest.mark.matrix  # half a minute; test_run.py kills two processes of a launcher
def test_two_processes_killed_at_any_moment_go_on(whole, tmp_path):
    workers = [start(tmp_path, rank) for rank in range(2)]
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("p*.png")) and time.monotonic() < deadline:
        time.sleep(0.01)
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert 0 < len(list(tmp_path.rglob("p*.png"))) <= 10
    again = [start(tmp_path, rank) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in again] == [0, 0]
    assert contents(tmp_path).items() <= contents(whole).items()
    assert gallery(tmp_path).facts(TEACACHE)["steps"] == gallery(whole).facts(TEACACHE)["steps"]
