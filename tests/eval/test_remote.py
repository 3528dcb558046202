"""An evaluation by machines without a common disk: what one has made the others take from an object store."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import patch

import fsspec
import pytest
from rich.progress import Progress
from typer.testing import CliRunner

from tests.eval import simulated
from tests.eval.buckets import BUCKET, Buckets
from tests.helpers import tiny_pixart_pipeline
from tests.pipelines.folders import save_tiny
from toca.eval.command import app
from toca.eval.config.settings import Settings
from toca.eval.progress.outline import FILE
from toca.eval.run import STAGES, run
from toca.eval.samples import pictures
from toca.eval.samples.elsewhere import NOTES, Note
from toca.eval.samples.manifest import Entry
from toca.eval.samples.prompts import Prompt
from toca.eval.samples.shards import WHOLE, Shard
from toca.eval.samples.subject import Subject
from toca.eval.store import remote as remotes
from toca.eval.store.environment import command_line
from toca.eval.store.masking import masked
from toca.eval.store.mirror import Mirror
from toca.eval.store.remote import Remote
from toca.eval.store.sealed import digest
from toca.eval.store.store import Store
from toca.eval.study import Study
from toca.eval.variants import BASELINE, Variant, parse_variant
from toca.pipelines.config import GenerationConfig

URL = f"bucket://{BUCKET}/run"
SETTINGS = Settings(batch_size=2, bench_batch_size=1, repeats=1, warmups=1, fewer_steps=(3,), float_pictures=False)
SAMPLES = 7
VARIANTS = 3


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """An empty store, nobody who waits, and a denoiser that costs nothing."""
    Buckets.reset()
    fsspec.filesystem("memory").store.clear()
    monkeypatch.setattr(remotes, "WAITS", (0.0, 0.0))
    # As `simulated.simulated` does it, and by what the tests patch with: else theirs would be undone last.
    monkeypatch.setattr(pictures, "run_items", simulated.denoise)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def subject() -> Subject:
    config = GenerationConfig(num_inference_steps=6, guidance_scale=4.0, height=64, width=64)
    prompts = [Prompt(i, f"the number {i}") for i in range(SAMPLES)]
    return Subject("tiny/pixart", tiny_pixart_pipeline(), config, prompts, "weights", "float32")


@pytest.fixture
def machine(subject, tmp_path):
    """A machine's study in a folder of its own; without a URL it stays there."""

    def made(name: str, url: str | None = URL) -> Study:
        output = tmp_path / name
        mirror = None if url is None else Mirror(Remote(url), output)
        store = Store(output / "stages" / "tiny_pixart", mirror)
        study = Study(subject, parse_variant("fora:interval=2"), SETTINGS, store, Progress(disable=True))
        study.outline("toca eval generate --shard 1/2").write(store.folder)
        if mirror is not None:
            mirror.keep(store.folder / FILE)
        return study

    return made


@pytest.fixture
def batches(monkeypatch):
    """The batches that are made from here on."""
    found: list[tuple[str, int]] = []

    def denoise(subject: Subject, variant: Variant, items: list, seed: int, floats: bool = False):
        found.append((variant.name, items[0].prompt.id))
        return simulated.denoise(subject, variant, items, seed, floats)

    monkeypatch.setattr(pictures, "run_items", denoise)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("p*.png"))}


def scores(study: Study) -> dict:
    return study._scores.fidelity


def objects(ending: str) -> list[str]:
    return sorted(path for path in Buckets.objects if path.endswith(ending))


def notes() -> list[str]:
    return sorted(path for path in Buckets.objects if f"/{NOTES}/" in path)


@pytest.mark.parametrize("kind", ["bucket", "memory", "file"])
def test_two_machines_make_the_samples_and_a_third_scores_them(machine, batches, tmp_path, kind):
    (tmp_path / "mounted").mkdir()
    url = {"bucket": URL, "memory": "memory://run/a b", "file": f"file://{tmp_path}/mounted/run"}[kind]
    alone = machine("alone", None)
    alone.generate()
    for rank in range(2):
        study = machine(f"machine{rank}", url)
        study.take(Shard(rank, 2))
        study.generate(Shard(rank, 2))
    del batches[:]
    third = machine("third", url)
    third.take()
    assert str(third.begun()).startswith("12 of 12 batches")
    assert third.failures == [] and batches == []
    assert contents(tmp_path / "third") == contents(tmp_path / "alone") != {}
    if kind == "bucket":
        third.score()
        assert scores(third) == scores(alone) and batches == []


def test_a_machine_takes_its_own_share_of_the_pictures_alone(machine, tmp_path):
    machine("first").generate()
    machine("second").take(Shard(1, 2))
    taken = contents(tmp_path / "second")
    assert taken.items() < contents(tmp_path / "first").items()
    assert len(taken) == VARIANTS * 3  # of four batches the second and the last, which is of one sample


def test_no_note_ever_names_what_is_not_there(machine):
    def write(self: Remote, contents: dict[str, bytes]) -> None:
        whole(self, contents)
        for note in notes():
            folder = note.partition(f"/{NOTES}/")[0]
            assert all(f"{folder}/{name}" in Buckets.objects for name in json.loads(Buckets.objects[note])["files"])

    whole = Remote.write
    with patch.object(Remote, "write", write):
        machine("first").generate()
    assert len(notes()) == VARIANTS * 4 and len(objects(".png")) == VARIANTS * SAMPLES


def make_until_killed(study: Study, last: Callable[[str], bool]) -> None:
    """Make samples on a machine that is taken away as it is about to write an object of such a name."""
    whole = Remote.write

    def write(self: Remote, contents: dict[str, bytes]) -> None:
        for name, content in contents.items():
            if last(name):
                raise KeyboardInterrupt
            whole(self, {name: content})

    with patch.object(Remote, "write", write), pytest.raises(KeyboardInterrupt):
        study.generate()


@pytest.mark.parametrize(("at", "there"), [(f"/{NOTES}/", 2), ("p000001", 1)])
def test_killed_before_the_note_of_a_batch_it_is_made_by_another_machine(machine, batches, tmp_path, at, there):
    make_until_killed(machine("spot"), lambda name: at in name)
    assert notes() == [] and len(objects(".png")) == there and len(batches) == 1
    other = machine("other")
    other.take()
    assert contents(tmp_path / "other") == {}
    other.generate()
    assert len(batches) == 1 + VARIANTS * 4 and len(notes()) == VARIANTS * 4


def test_a_machine_that_is_gone_loses_no_batch_but_the_one_it_was_at(machine, batches, tmp_path):
    make_until_killed(machine("spot"), lambda name: len(notes()) == 5)
    del batches[:]
    other = machine("other")
    other.take()
    other.generate()
    assert len(batches) == VARIANTS * 4 - 5
    machine("alone", None).generate()
    assert contents(tmp_path / "other") == contents(tmp_path / "alone")


def test_what_could_not_be_put_there_is_put_by_the_next_run_and_not_made_anew(machine, batches):
    def refuse(what: str, path: str) -> None:
        if what == "write" and path.endswith(".png"):
            raise ConnectionError("the line is dead")

    Buckets.asked = staticmethod(refuse)
    with pytest.raises(OSError, match=r"bucket://ours/run cannot be written to \(ConnectionError: the line is dead\)"):
        machine("first").generate()
    Buckets.asked = staticmethod(lambda what, path: None)
    assert len(batches) == 1
    study = machine("first")
    study.take()
    study.generate()
    assert len(batches) == VARIANTS * 4 == len(notes())


def test_a_run_that_began_without_a_url_is_put_there_by_one_that_has_it(machine, batches, tmp_path):
    first = machine("first", None)
    first.generate()
    first.score()
    del batches[:]
    again = machine("first")
    again.take()
    again.generate()
    again.score()
    third = machine("third")
    third.take()
    with patch("toca.eval.scoring.stage.carry_out", lambda tasks, *others: tasks and pytest.fail("it was scored")):
        third.score()
    assert batches == []
    assert contents(tmp_path / "third") == contents(tmp_path / "first")


@pytest.mark.parametrize("damage", [lambda content: content[:-1], None])
def test_a_picture_that_comes_damaged_is_said_and_made_anew(machine, batches, tmp_path, capsys, damage):
    machine("first").generate()
    path = objects("p000002-s000-f0000.png")[0]
    whole = Buckets.objects.pop(path)
    if damage is not None:
        Buckets.objects[path] = damage(whole)
    del batches[:]
    second = machine("second")
    second.take()
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("batch 1 in bucket://ours/run/stages/tiny_pixart/pictures/") == 1 and "made again" in said
    with pytest.raises(ValueError, match="lacks 1 of 4 batches"):
        second.score()
    second = machine("second")
    second.generate()
    assert len(batches) == 1
    machine("third").take()
    assert Buckets.objects[path] == whole and len(batches) == 1
    assert contents(tmp_path / "third") == contents(tmp_path / "first")


def test_notes_that_are_damaged_say_nothing(machine, batches):
    machine("first").generate()
    line = Buckets.objects[notes()[-1]]
    damaged = [b"", b"{}", b"\xff", b"[" * 9999, line[:-9], line]  # the last is whole, and another's
    for path, content in zip(notes(), damaged, strict=False):
        Buckets.objects[path] = content
    said = json.loads(told("--json"))["studies"][0]["damaged"]
    assert len(said) == len(damaged) and all("the note 00000-" in each for each in said)
    del batches[:]
    second = machine("second")
    second.take()
    second.generate()
    assert len(batches) == len(damaged)


def test_a_score_that_comes_damaged_is_set_aside_once_and_computed_anew(machine, tmp_path, capsys):
    first = machine("first")
    first.generate()
    first.score()
    path = next(path for path in objects(".json") if "/fidelity/fora" in path)
    whole, Buckets.objects[path] = json.loads(Buckets.objects[path]), Buckets.objects[path][:-20]
    second = machine("second")
    second.take()
    second.score()
    assert scores(second) == scores(first)
    assert capsys.readouterr().err.count("is damaged") == 1
    assert len(list((tmp_path / "second").rglob("*.damaged-*"))) == 1
    assert json.loads(Buckets.objects[path])["result"]["values"] == whole["result"]["values"]


EVIL = ["../../../evil.png", "/evil.png", "..", "a/../../evil.png", "C:\\evil.png", "manifest-00000.jsonl", "a\0.png"]


def test_notes_that_name_files_outside_the_folder_say_nothing(machine, batches, tmp_path):
    machine("first").generate()
    for path, name in zip(notes(), EVIL, strict=False):
        entry = Entry(**json.loads(Buckets.objects.pop(path)))
        bad = replace(entry, files={**entry.files, name: hashlib.sha256(b"evil").hexdigest()})
        folder, note = path.partition(f"/{NOTES}/")[0], Note(0, entry.batch, digest(asdict(bad))[:16])
        Buckets.objects[f"{folder}/{NOTES}/{note}"] = bad.line()
        Buckets.objects[f"{folder}/{name}"] = b"evil"
    before = set(tmp_path.rglob("*"))
    del batches[:]
    second = machine("second")
    second.take()
    second.generate()
    assert len(batches) == len(EVIL)
    new = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "second") for path in new)
    assert not any(path.is_file() and path.read_bytes() == b"evil" for path in new)


def test_a_listing_of_names_outside_the_folder_is_not_followed(machine, tmp_path):
    machine("first").generate()
    whole = set(Buckets.objects)
    Buckets.listed += ["../../evil", "/etc/passwd", f"{BUCKET}/run/..", "..", ".", "", "00000-0-../../../evil.json",
                       f"../00000-000000-{'0' * 16}.json", "a\nb", "\x1b[2J"]  # fmt: skip
    before = set(tmp_path.rglob("*"))
    machine("second").take()
    new = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "second") for path in new)
    assert set(Buckets.objects) == whole
    assert contents(tmp_path / "second") == contents(tmp_path / "first")


def test_a_transfer_that_fails_is_tried_again(machine):
    failing = {"ls": 2, "read": 2, "write": 2}

    def look(what: str, path: str) -> None:
        if failing[what]:
            failing[what] -= 1
            raise ConnectionResetError("by peer")

    Buckets.asked = staticmethod(look)
    first = machine("first")
    first.take()
    first.generate()
    assert failing == {"ls": 0, "read": 0, "write": 0} and len(notes()) == VARIANTS * 4


def test_what_is_forbidden_is_not_tried_again_and_said_in_a_sentence(tmp_path):
    tried = []

    def look(what: str, path: str) -> None:
        tried.append(what)
        raise PermissionError("Access Denied")

    Buckets.asked = staticmethod(look)
    with pytest.raises(OSError) as raised:
        Remote(URL).names("")
    assert tried == ["ls"]
    assert str(raised.value) == (
        "bucket://ours/run cannot be listed (PermissionError: Access Denied): nothing that is made here is lost."
    )
    assert raised.value.__cause__ is None


def test_a_bucket_is_never_made(tmp_path):
    remote = Remote("bucket://mistyped/run")
    assert remote.names("") == set()
    with pytest.raises(OSError, match="bucket://mistyped/run cannot be written to .*specified bucket does not exist"):
        remote.write({"stages/a": b""})
    with pytest.raises(OSError, match="bucket does not exist"):
        Remote("bucket://mistyped").write({"stages/a": b""})
    assert Buckets.buckets == {BUCKET}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("lacking://bucket/run", "lacking://bucket/run needs a package that is not here: .*Install no-such-package"),
        ("nosuch://bucket/run", "nosuch://bucket/run cannot be opened: .*nosuch"),
        ("/shared/run", "--remote takes a URL, .* got '/shared/run': name a folder by --output"),
        ("", "--remote takes a URL"),
        ("ftp://me:secret@[", r"ftp://\*\*\*@\[ cannot be opened"),
    ],
)
def test_a_url_that_cannot_be_opened_is_refused_by_its_name(url, said):
    fsspec.register_implementation("lacking", "no_such_package.Files", errtxt="Install no-such-package", clobber=True)
    with pytest.raises(ValueError, match=said) as raised:
        Remote(url)
    assert "secret" not in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/run", "s3://bucket/run"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("ftp://me:secret@host/run", "ftp://***@host/run"),
        ("ftp://me:sec/ret@host/run", "ftp://***@host/run"),
        ("ftp://me:s@cret@host:21/run", "ftp://***@host:21/run"),
        ("sftp://secret@host/run", "sftp://***@host/run"),
        ("--remote=simplecache::ftp://me:secret@host/run", "--remote=simplecache::ftp://***@host/run"),
        ("https://host/run?sig=secret&x=1", "https://host/run?***"),
        ("toca:interval=2", "toca:interval=2"),
    ],
)
def test_credentials_of_a_url_are_never_shown(url, shown):
    assert masked(url) == shown


def test_credentials_are_neither_printed_nor_kept(monkeypatch):
    url = "bucket://me:sec%2Fret@ours/run?token=hidden"

    def look(what: str, path: str) -> None:
        raise ValueError(f"no such host in {url}, password sec/ret, hidden")

    Buckets.asked = staticmethod(look)
    with pytest.raises(OSError) as raised:
        Remote(url).names("")
    told = [str(raised.value), repr(Remote(url))]
    monkeypatch.setattr("sys.argv", ["toca", "eval", "run", "--remote", url, "--output", "a b"])
    told.append(command_line())
    assert shlex.split(told[-1]) == ["toca", "eval", "run", "--remote", "bucket://***@ours/run?***", "--output", "a b"]
    assert not re.search("sec.*ret|hidden", " ".join(told))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = save_tiny("pixart", tmp_path_factory.mktemp("pipelines") / "tiny")
    (made / "prompts.json").write_text(json.dumps(["a red owl", "a blue cat", "a star"]))
    return made


FLAGS = {
    "methods": ["fora:interval=2"], "peers": False, "fewer_steps": [2], "steps": 3, "guidance_scale": 1.0,
    "batch_size": 1, "repeats": 1, "warmups": 1, "device": "cpu", "float_pictures": False,
}  # fmt: skip


def start(folder: Path, output: Path, *stages: str, shard: str | None = None, url: str = URL) -> None:
    command = f"toca eval {stages[0]} --remote {url}" + (f" --shard {shard}" if shard else "")
    run(stages, None, [str(folder)], FLAGS, output, shard, command, remote=url)


def told(*flags: str) -> str:
    return CliRunner().invoke(app, ["status", "--remote", URL, *flags], catch_exceptions=False).output


def test_a_run_by_many_machines_from_its_first_sample_to_its_report(folder, tmp_path, batches, without_plots):
    start(folder, tmp_path / "one", "generate", shard="2/2")
    [found] = json.loads(told("--json"))["studies"]
    assert [variant["samples"] for variant in found["variants"]] == [1, 1, 1]
    assert found["goes_on_by"] == f"toca eval run --remote {URL}" and found["reported"] is None
    start(folder, tmp_path / "two", "generate", shard="1/2")
    assert len(batches) == 9
    start(folder, tmp_path / "three", "time", "score", "report")
    assert len(batches) == 9
    [found] = json.loads(told("--json"))["studies"]
    for variant in found["variants"]:
        assert variant["samples"] == 3 and variant["rounds"] == 2 and variant["scores"] == variant["scores_of"] > 0
    assert found["reported"] is not None and found["damaged"] == []
    assert "samples: 9 of 9" in told() and "Who is at work there cannot be told." in told()
    [page] = objects("tiny.html")
    assert len(objects("/index.html")) == 3
    Buckets.objects.pop(page)
    start(folder, tmp_path / "four", "report")
    assert page in Buckets.objects and len(batches) == 9


def test_a_status_of_nothing_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["status", "--remote", URL])
    assert "No run has begun in bucket://ours/run" in str(result.exception)
    for others, what in ((["x"], "the folder x"), (["--verify"], "--verify")):
        result = CliRunner().invoke(app, ["status", "--remote", URL, *others])
        assert f"leave out {what}" in str(result.exception)


def test_a_url_that_leads_nowhere_is_refused_before_anything_is_made(folder, tmp_path, batches):
    def look(what: str, path: str) -> None:
        raise ConnectionError("no route")

    Buckets.asked = staticmethod(look)
    with pytest.raises(ValueError, match="bucket://ours/run cannot be listed .*no route"):
        start(folder, tmp_path / "one", *STAGES)
    assert batches == [] and not (tmp_path / "one").exists()


def test_a_failure_is_known_to_the_machine_that_reports(machine, monkeypatch):
    def denoise(subject: Subject, variant: Variant, items: list, seed: int, floats: bool = False):
        if variant.method is not None:
            raise RuntimeError("out of memory")
        return simulated.denoise(subject, variant, items, seed, floats)

    monkeypatch.setattr(pictures, "run_items", denoise)
    machine("first").generate()
    other = machine("other")
    other.take(WHOLE)
    [failure] = other.failures
    assert (failure.variant, failure.reason) == ("fora interval=2", "RuntimeError: out of memory")
    other.score()
    assert BASELINE.name in scores(other)
    assert "fora interval=2 failed: RuntimeError: out of memory" in " ".join(told().split())
