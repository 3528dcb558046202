"""Which process makes what, and the notes of what is done."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toca.eval.samples.manifest import Entry, Manifest, sha256
from toca.eval.samples.shards import WHOLE, Shard, launched_shard, parse_shard


@settings(deadline=None)
@given(pieces=st.integers(0, 40), world=st.integers(1, 9))
def test_every_piece_belongs_to_one_process(pieces, world):
    parts = [Shard(rank, world).own(range(pieces)) for rank in range(world)]
    assert sorted(piece for part in parts for piece in part) == list(range(pieces))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(piece % world == rank for rank, part in enumerate(parts) for piece in part)


def test_shards_are_named_from_one():
    assert parse_shard("1/8") == Shard(0, 8)
    assert parse_shard(" 8/8 ") == Shard(7, 8)
    assert parse_shard("1/1") == WHOLE and WHOLE.leads and not Shard(1, 2).leads


@pytest.mark.parametrize("text", ["0/8", "9/8", "8", "a/b", "", "1/0", "-1/8", "1/8/2"])
def test_what_is_no_shard_is_refused_by_its_text(text):
    with pytest.raises(ValueError, match="for example 1/8, got"):
        parse_shard(text)


def test_a_launcher_says_which_process_this_is(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert launched_shard() == WHOLE
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launched_shard() == Shard(3, 4)


def entry(number: int, moment: str = "2026-01-01T00:00:00", **files: str) -> Entry:
    return Entry(number, files, {"calls": 2}, moment)


def test_notes_of_all_processes_are_read(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.append(0, entry(0))
    manifest.append(1, entry(1))
    manifest.append(0, entry(2))
    assert manifest.entries() == {0: entry(0), 1: entry(1), 2: entry(2)}


def test_a_note_cut_short_counts_for_nothing_and_spoils_no_other(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.append(0, entry(0))
    manifest.append(0, entry(1))
    path = tmp_path / "manifest-00000.jsonl"
    whole = path.read_bytes()
    for length in range(len(whole) // 2 + 1, len(whole) - 1):  # as a kill leaves it, at any byte of the second line
        path.write_bytes(whole[:length])
        assert manifest.entries() == {0: entry(0)}
        manifest.append(0, entry(2))
        assert manifest.entries() == {0: entry(0), 2: entry(2)}


@pytest.mark.parametrize(
    "line",
    [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"batch": 0}', "batch", "files", "facts", "taken_at",
     "folder"],
)  # fmt: skip
def test_a_damaged_note_counts_for_nothing_and_is_named(tmp_path, line, capsys):
    manifest = Manifest(tmp_path)
    if isinstance(line, str):  # of another type in one field
        wrong = {"batch": "0", "files": ["a.png"], "facts": {"calls": "2"}, "taken_at": "yesterday",
                 "folder": {"../a.png": "0"}}[line]  # fmt: skip
        line = json.dumps(dataclasses.asdict(entry(0)) | {"files" if line == "folder" else line: wrong}).encode()
    path = tmp_path / "manifest-00000.jsonl"
    path.write_bytes(line + b"\n")
    manifest.append(0, entry(1))
    assert manifest.entries() == manifest.entries() == {1: entry(1)}
    assert capsys.readouterr().err.count(f"{path}: line 1 is damaged") == 1


def test_of_two_notes_the_later_counts(tmp_path):
    manifest = Manifest(tmp_path)
    later = entry(0, "2026-01-02T00:00:00", a="x")
    manifest.append(0, later)
    manifest.append(1, entry(0))
    assert manifest.entries() == {0: later}


def test_damaged_and_missing_files_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "b.png").write_bytes(b"b")
    files = {name: str(sha256(tmp_path / name)) for name in ("a.png", "b.png")}
    note = dataclasses.replace(entry(0), files=files)
    manifest = Manifest(tmp_path)
    assert manifest.faults(note) == []
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").unlink()
    assert manifest.faults(note) == ["a.png", "b.png"]
