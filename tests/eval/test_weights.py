"""Which weights a pipeline has: large files are hashed once and in pieces, those of the hub not at all."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import huggingface_hub
import pytest

from tests.pipelines.folders import save_tiny
from toca.eval.config.settings import Settings
from toca.eval.samples import weights
from toca.eval.samples.subject import load_subject
from toca.eval.samples.weights import LARGE, weights_of
from toca.eval.store.store import Store
from toca.pipelines.registry import EMBEDDED

BORROWED = "vae/diffusion_pytorch_model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The names of the files that are hashed, in order."""
    names: list[str] = []
    digest = weights.file_digest
    monkeypatch.setattr(weights, "file_digest", lambda path: names.append(path.name) or digest(path))
    return names


def write(path: Path, letter: bytes, size: int = LARGE, age: float = 3600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(letter * size)
    os.utime(path, (time.time() - age,) * 2)


def test_large_files_are_hashed_once(tmp_path, hashed):
    folder, store = tmp_path / "model", Store(tmp_path / "stages")
    write(folder / "transformer" / "weights.safetensors", b"a")
    write(folder / "model_index.json", b"b", 10)
    first = weights_of(str(folder), None, store)
    assert hashed == ["model_index.json", "weights.safetensors"]
    assert weights_of(str(folder), None, Store(tmp_path / "stages")) == first
    assert hashed[2:] == ["model_index.json"]


@pytest.mark.parametrize("change", ["content", "size", "place", "name"])
def test_other_weights_are_told_apart(tmp_path, change):
    folder, store = tmp_path / "model", Store(tmp_path / "stages")
    file = folder / "transformer" / "weights.safetensors"
    write(file, b"a")
    before = weights_of(str(folder), None, store)
    if change == "content":
        write(file, b"b", age=1800)
    elif change == "size":
        write(file, b"a", LARGE + 1)
    elif change == "place":
        (folder / "vae").mkdir()
        file.rename(folder / "vae" / file.name)
    else:
        file.rename(file.with_name("other.safetensors"))
    assert weights_of(str(folder), None, store) != before


@pytest.mark.parametrize("name", ["emoji-flux", "emoji-video"])
def test_borrowed_weights_count_as_a_folder_s_own(name, tmp_path):
    folder, store = EMBEDDED.with_name(name), Store(tmp_path / "stages")
    copy = Path(shutil.copytree(folder, tmp_path / name))
    assert weights_of(str(folder), None, store) != weights_of(str(copy), None, store)
    shutil.copy(EMBEDDED / BORROWED, copy / BORROWED)
    assert weights_of(str(folder), None, store) == weights_of(str(copy), None, store)


def test_a_file_that_has_just_changed_is_not_taken_by_its_time(tmp_path):
    folder, store = tmp_path / "model", Store(tmp_path / "stages")
    file = folder / "weights.safetensors"
    write(file, b"a", age=0)
    moment = file.stat().st_mtime_ns
    before = weights_of(str(folder), None, store)
    write(file, b"b")
    os.utime(file, ns=(moment, moment))  # as on a file system that knows seconds only
    assert weights_of(str(folder), None, store) != before


def test_a_damaged_hash_is_made_anew(tmp_path, hashed, capsys):
    folder, store = tmp_path / "model", Store(tmp_path / "stages")
    write(folder / "weights.safetensors", b"a")
    before = weights_of(str(folder), None, store)
    [kept] = (tmp_path / "stages").rglob("*.json")
    kept.write_text(kept.read_text().replace('"sha256": "', '"sha256": "0', 1))
    assert weights_of(str(folder), None, store) == before and len(hashed) == 2
    assert f"{kept} is damaged" in capsys.readouterr().err


def test_a_pipeline_of_the_hub_is_known_by_its_revision(tmp_path, monkeypatch, hashed):
    repository = tmp_path / "models--owner--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    made = save_tiny("pixart", repository / "snapshots" / COMMIT)
    (made / "prompts.txt").write_text("a red owl\n")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    settings = Settings(prompts_file=str(made / "prompts.txt"), steps=3, device="cpu")
    subject = load_subject("owner/tiny", settings, Store(tmp_path / "stages"))
    assert subject.weights == f"owner/tiny@{COMMIT}"
    assert hashed == [] and not (tmp_path / "stages").exists()
