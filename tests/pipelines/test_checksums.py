from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from toca.pipelines import checksums
from toca.pipelines.registry import models

WEIGHTS = "vae/diffusion_pytorch_model.safetensors"
CONFIG = "transformer/config.json"


@pytest.fixture
def folder(folders, tmp_path):
    """A pipeline with checksums, and with files that belong to no part of it."""
    folder = shutil.copytree(folders["pixart"], tmp_path / "pipeline")
    (folder / "calibration").mkdir()
    for name in ("README.md", "training.json", "calibration/magcache.json"):
        (folder / name).write_text("{}")
    checksums.write(folder)
    return folder


def test_the_index_and_every_file_of_the_parts_have_a_checksum_and_nothing_else(folder):
    sums = json.loads((folder / "checksums.json").read_text())
    parts = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")
    files = [path for part in parts for path in (folder / part).iterdir()]
    assert set(sums) == {"model_index.json", *(path.relative_to(folder).as_posix() for path in files)}
    assert {WEIGHTS, CONFIG} <= set(sums)
    assert sums[WEIGHTS] == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def test_a_second_time_the_same_is_written(folder):
    before = (folder / "checksums.json").read_bytes()
    assert checksums.write(folder).read_bytes() == before


def test_a_whole_folder_passes(folder):
    checksums.check(folder)
    (folder / "README.md").unlink()
    (folder / "training.json").write_text("{ not json")
    checksums.check(folder)


def test_a_file_that_is_cut_off_is_named(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{WEIGHTS} is damaged, .* `git checkout -- {folder / WEIGHTS}` in a clone"):
        checksums.check(folder)


def test_a_missing_file_is_named(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=f"{WEIGHTS} is missing: reinstall toca"):
        checksums.check(folder)


def test_a_changed_json_file_is_named_and_other_line_ends_are_no_change(folder):
    text = (folder / CONFIG).read_bytes()
    (folder / CONFIG).write_bytes(text.replace(b"\n", b"\r\n"))
    checksums.check(folder)
    (folder / CONFIG).write_bytes(text.replace(b"{", b"", 1))
    with pytest.raises(ValueError, match=f"{CONFIG} is damaged"):
        checksums.check(folder)


@pytest.mark.parametrize("text", ["{ not json", "[1, 2]", "7"])
def test_broken_checksums_are_named(folder, text):
    (folder / "checksums.json").write_text(text)
    with pytest.raises(ValueError, match="checksums.json is damaged: reinstall toca"):
        checksums.check(folder)


def test_there_are_no_checksums_of_half_a_pipeline(folder):
    shutil.rmtree(folder / "vae")
    with pytest.raises(FileNotFoundError, match="vae, which model_index.json names, is missing"):
        checksums.write(folder)


@pytest.mark.parametrize("text", ["[]", "7"])
def test_an_index_that_is_none_is_named(folder, text):
    (folder / "model_index.json").write_text(text)
    with pytest.raises(ValueError, match="model_index.json is not the index of a pipeline"):
        checksums.examine(folder)


def test_a_whole_folder_has_nothing_to_find(folders):
    for family in folders.values():
        checksums.examine(family)


@pytest.mark.parametrize("name", [name for name, entry in models().items() if entry.embedded])
def test_the_embedded_models_are_whole(name):
    checksums.check(models()[name].source)
