from __future__ import annotations

import errno
import os

import pytest

from toca.pipelines.outputs import choose_paths
from toca.pipelines.writing import prepare_folder
from toca.writing import atomic_path


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


def test_a_full_disk_is_one_clear_sentence(tmp_path):
    target = tmp_path / "picture.png"
    with pytest.raises(OSError, match="no space left on the disk to write .*picture.png"), atomic_path(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_other_errors_name_the_file(tmp_path):
    target = tmp_path / "picture.png"
    with pytest.raises(OSError, match="picture.png could not be written: Input/output error"), atomic_path(target):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_folder_under_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="could not be made"):
        prepare_folder(tmp_path / "file" / "folder")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="not writable"):
        prepare_folder(tmp_path)


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

    def test_other_formats_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"\.png"):
            choose_paths(str(tmp_path / "owl.jpg"), "a red owl", [0])

    def test_the_default_is_the_outputs_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert str(choose_paths(None, "a red owl", [0]).sample(0)) == os.path.join("outputs", "a-red-owl.png")
