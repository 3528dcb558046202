from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from toca.files.writing import STALE_SECONDS, append_line, atomic_path, place, set_aside, sweep
from toca.pipelines.outputs import RESERVED, check_output, choose_paths
from toca.pipelines.writing import check_folder, prepare_folder

FORK = multiprocessing.get_context("fork")


def test_a_file_appears_whole_and_its_folder_with_it(tmp_path):
    target = tmp_path / "new" / "picture.png"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "picture.png"
    target.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_of_two_writers_in_one_process_the_last_wins(tmp_path):
    target = tmp_path / "picture.png"
    with atomic_path(target) as one, atomic_path(target) as other:
        assert one != other
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert target.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [target]


def test_a_name_as_long_as_names_can_be(tmp_path):
    target = tmp_path / ("n" * 251 + ".png")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    acts = []
    monkeypatch.setattr(os, "fsync", lambda _: acts.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: acts.append("replace") or replace(*paths))
    with atomic_path(tmp_path / "picture.png") as temporary:
        temporary.write_bytes(b"whole")
    assert acts == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("links", [True, False])
def test_files_are_named_all_together_or_not_at_all(tmp_path, monkeypatch, links):
    if not links:  # as on FAT
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    files = {tmp_path / f"new.{kind}": tmp_path / f"owl.{kind}" for kind in ("mp4", "png")}
    for path in files:
        path.write_bytes(b"new")
    (tmp_path / "owl.png").write_bytes(b"somebody's")
    assert not place(files)
    assert not (tmp_path / "owl.mp4").exists()
    assert (tmp_path / "owl.png").read_bytes() == b"somebody's"


def test_of_many_that_want_one_name_at_once_one_gets_it(tmp_path):
    barrier = threading.Barrier(8)

    def race(number: int) -> bool:
        mine = tmp_path / f"{number}.part"
        mine.write_text(str(number))
        barrier.wait()
        return place({mine: tmp_path / "owl.png"})

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))
    assert won.count(True) == 1
    assert (tmp_path / "owl.png").read_text() == str(won.index(True))


def test_a_full_disk_is_one_clear_sentence(tmp_path):
    target = tmp_path / "picture.png"
    with pytest.raises(OSError, match="no space left on the disk to write .*picture.png"), atomic_path(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_other_errors_name_the_file(tmp_path):
    target = tmp_path / "picture.png"
    with pytest.raises(OSError, match="picture.png could not be written: Input/output error"), atomic_path(target):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_it_counts(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    name_of = "/proc/self/fd/{}".format
    monkeypatch.setattr(os, "fsync", lambda number: (done.append(os.readlink(name_of(number))), fsync(number)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("named"), replace(*paths)))
    with atomic_path(tmp_path / "picture.png") as temporary:
        temporary.write_bytes(b"whole")
    assert done == [str(temporary), "named", str(tmp_path)]


def writes(target, letter, count):
    """A process that writes a file again and again, each time full of one letter."""
    for _ in range(count):
        with atomic_path(target) as temporary:
            temporary.write_bytes(letter * 200_000)


def test_two_writers_of_one_file_never_tear_it(tmp_path):
    target = tmp_path / "file.json"
    writers = [FORK.Process(target=writes, args=(target, letter, 40)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if target.is_file():
            found = target.read_bytes()
            assert found in (b"a" * 200_000, b"b" * 200_000)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [target]


def test_one_process_may_write_a_file_within_itself(tmp_path):
    target = tmp_path / "file.json"
    with atomic_path(target) as outer, atomic_path(target) as inner:
        assert outer != inner
        outer.write_bytes(b"outer")
        inner.write_bytes(b"inner")
    assert target.read_bytes() == b"outer"


def half(target, pipe):
    """A process that stays in the middle of writing a file; it tells the temporary path."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        pipe.send(temporary)
        time.sleep(60)


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    mine, theirs = FORK.Pipe()
    killed, living = (FORK.Process(target=half, args=(tmp_path / "picture.png", theirs)) for _ in range(2))
    killed.start()
    left = mine.recv()
    living.start()
    kept = mine.recv()
    try:
        killed.kill()
        killed.join()
        sweep(tmp_path)
        assert not left.exists() and kept.exists()
        long_ago = time.time() - STALE_SECONDS - 60
        os.utime(kept, (long_ago, long_ago))
        (tmp_path / ".notes.part.png").touch()  # another program's
        sweep(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".notes.part.png"]
    finally:
        living.kill()
        living.join()


def test_a_name_that_is_nearly_too_long_is_no_fault(tmp_path):
    target = tmp_path / f"{'n' * 250}.png"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    with pytest.raises(OSError, match="n could not be written: File name too long"):
        with atomic_path(tmp_path / ("n" * 300)) as temporary:
            temporary.write_bytes(b"whole")
    assert list(tmp_path.iterdir()) == [target]


def test_lines_are_appended_whole_and_after_a_line_cut_short(tmp_path):
    path = tmp_path / "lines"
    append_line(path, b"one")
    append_line(path, b"two")
    path.write_bytes(path.read_bytes()[:-2])
    append_line(path, b"three")
    assert path.read_bytes() == b"one\ntw\nthree\n"
    with pytest.raises(OSError, match="nowhere.lines could not be written: No such file"):
        append_line(tmp_path / "nowhere" / "lines", b"one")


def test_what_is_damaged_is_set_aside_under_names_of_its_own(tmp_path):
    path = tmp_path / "file.json"
    asides = []
    for content in (b"{", b""):
        path.write_bytes(content)
        asides.append(set_aside(path))
    assert [aside.read_bytes() for aside in asides] == [b"{", b""] and not path.exists()
    assert all(aside.name.startswith("file.json.damaged-") for aside in asides)
    set_aside(path)  # another process was quicker


def fills(folder, pipe):
    """A process that may write 1000 bytes to a file, and tells its errors."""
    append_line(folder / "lines", b"x" * 900)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    for write in (lambda: append_line(folder / "lines", b"y" * 900), lambda: once(folder / "file", b"z" * 2000)):
        try:
            write()
        except OSError as error:
            pipe.send(str(error))


def once(target, content):
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def test_where_no_more_can_be_written_nothing_is_torn(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=fills, args=(tmp_path, theirs))
    process.start()
    process.join()
    assert mine.recv() == f"There is no space left on the disk to write {tmp_path / 'lines'}."
    assert mine.recv() == f"{tmp_path / 'file'} could not be written: File too large."
    assert (tmp_path / "file").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "lines"]
    assert (tmp_path / "lines").read_bytes().startswith(b"x" * 900 + b"\n")


def test_a_folder_under_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="could not be made"):
        prepare_folder(tmp_path / "file" / "folder")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    for check in (prepare_folder, check_folder):
        with pytest.raises(OSError, match="not writable"):
            check(tmp_path)


def test_a_folder_that_takes_no_file_after_all_is_named(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("toca.pipelines.writing.tempfile.TemporaryFile", full)
    with pytest.raises(OSError, match="is not writable: Read-only file system"):
        prepare_folder(tmp_path)


def test_looking_whether_a_folder_can_be_made_makes_none(tmp_path):
    (tmp_path / "file").touch()
    check_output(str(tmp_path / "a" / "b" / "owl.png"))
    for output in ("file", "file/below/owl.png"):
        with pytest.raises(OSError, match="could not be made: .*file is no folder"):
            check_output(str(tmp_path / output))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class TestChoosePaths:
    def test_a_file_is_taken_as_it_is(self, tmp_path):
        paths = choose_paths(str(tmp_path / "deep" / "owl.png"), "a red owl", [0])
        assert paths.sample(0) == tmp_path / "deep" / "owl.png"
        assert paths.baseline(0) == tmp_path / "deep" / "owl-baseline.png"
        assert paths.comparison == tmp_path / "deep" / "owl-compare.png"

    def test_several_images_are_numbered(self, tmp_path):
        paths = choose_paths(str(tmp_path / "owl.png"), "a red owl", [4, 5])
        assert [paths.sample(index).name for index in (4, 5)] == ["owl-4.png", "owl-5.png"]

    def test_in_a_folder_nothing_is_overwritten(self, tmp_path):
        for name in ("a-red-owl", "a-red-owl-2", "a-red-owl-3"):
            path = choose_paths(str(tmp_path), "A red  owl!", [0]).sample(0)
            assert path == tmp_path / f"{name}.png"
            path.touch()

    def test_a_text_without_letters_and_a_long_one(self, tmp_path):
        assert choose_paths(str(tmp_path), "!?", [0]).sample(0).name == "image.png"
        assert len(choose_paths(str(tmp_path), "owl " * 100, [0]).sample(0).name) < 70

    @pytest.mark.parametrize(
        "text",
        ["owl " * 2500, "\N{OWL}" * 10_000, "!" * 10_000, "../../../etc/passwd", "a\0b", "鳥" * 9999, "\udcff", "CON",
         *sorted(RESERVED), "\x1b[31mred", ".hidden", "a\nb"],
    )  # fmt: skip
    def test_whatever_the_prompt_the_name_is_short_and_plain(self, tmp_path, text):
        paths = choose_paths(str(tmp_path), text, range(999_998, 1_000_000))
        for path in paths.all([999_999]):
            assert len(os.fsencode(path.name)) <= 120
            assert path.parent == tmp_path
            assert path.name.isprintable() and not set("/\\:.") & set(path.stem)
            assert path.stem not in RESERVED
            path.touch()

    def test_a_name_given_by_hand_that_is_too_long_is_refused_beforehand(self, tmp_path):
        choose_paths(str(tmp_path / f"{'n' * 230}.png"), "", [0])
        for length in (251, 300):
            with pytest.raises(ValueError, match="too long for a file: 255 bytes"):
                choose_paths(str(tmp_path / f"{'n' * length}.png"), "", [0])
        (tmp_path / "owl.gif").mkdir()
        with pytest.raises(ValueError, match="owl.gif is a folder"):
            choose_paths(str(tmp_path / "owl.png"), "", [0])

    def test_a_video_of_that_name_is_not_overwritten_either(self, tmp_path):
        (tmp_path / "a-red-owl.gif").touch()
        assert choose_paths(str(tmp_path), "a red owl", [0]).stem == "a-red-owl-2"

    def test_who_comes_second_goes_on_to_the_next_name(self, tmp_path):
        one, other = (choose_paths(str(tmp_path), "a red owl", range(2)) for _ in range(2))
        assert one.stem == other.stem
        saved = [
            paths.save(partial(paths.sample, index), {".png": partial(Path.write_text, data=text)})[0].name
            for paths, index, text in ((one, 0, "one"), (other, 0, "other"), (one, 1, "one"), (other, 1, "other"))
        ]
        assert saved == ["a-red-owl-0.png", "a-red-owl-2-0.png", "a-red-owl-1.png", "a-red-owl-2-1.png"]
        assert (tmp_path / "a-red-owl-0.png").read_text() == "one"

    def test_other_formats_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"\.png"):
            choose_paths(str(tmp_path / "owl.jpg"), "a red owl", [0])

    def test_the_default_is_the_outputs_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert str(choose_paths(None, "a red owl", [0]).sample(0)) == os.path.join("outputs", "a-red-owl.png")
