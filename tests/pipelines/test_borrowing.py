"""An embedded model that has the weights of a part from another one: they are stored once, and nobody sees it."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from toca.pipelines import checksums, registry
from toca.pipelines.borrowing import borrowed, files_of, lenders, weights_in
from toca.pipelines.loading import load
from toca.pipelines.registry import EMBEDDED, embedded_in, models
from toca.pipelines.running.models import megabytes

PIPELINES = EMBEDDED.parent
WEIGHTS = Path("vae", "diffusion_pytorch_model.safetensors")
BORROWERS = [name for name, entry in models().items() if entry.borrows]


@pytest.fixture
def two(folders, tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Tiny pipelines in the places of two embedded models, of which the second borrows its VAE of the first."""
    lender = Path(shutil.copytree(folders["pixart"], tmp_path / "models" / "emoji"))
    borrower = Path(shutil.copytree(folders["pixart"], tmp_path / "models" / "emoji-flux"))
    (borrower / WEIGHTS).unlink()
    places = {"emoji": lender, "emoji-flux": borrower}
    entries = [replace(entry, source=str(places.get(entry.name, entry.source))) for entry in registry._ENTRIES]
    monkeypatch.setattr(registry, "_ENTRIES", entries)
    for folder in (lender, borrower):
        checksums.write(folder)
    return lender, borrower


def whole(name: str, place: Path) -> Path:
    """A copy of an embedded model's folder with the weights that it borrows in it."""
    for path, source in files_of(PIPELINES / name).items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place / path)
    return place


def picture(pipe: Any) -> np.ndarray:
    names = {"output_type": "np", "generator": torch.Generator().manual_seed(0), "height": 64, "width": 64}
    frames = {"video_length": 8} if "Latte" in type(pipe).__name__ else {"max_sequence_length": 16}
    made = pipe("a red apple", num_inference_steps=1, guidance_scale=1.0, **names, **frames)
    return np.asarray(made[0])


def test_the_registry_lends_what_is_there_and_whole():
    assert BORROWERS == ["emoji-flux", "emoji-video"]
    for name in BORROWERS:
        assert list(models()[name].borrows) == list(lenders(PIPELINES / name)) == list(borrowed(PIPELINES / name))
        for lender in lenders(PIPELINES / name).values():
            assert list(lender.glob("*.safetensors")) and not borrowed(lender.parent)


def test_no_weights_are_stored_twice():
    weights = [path for path in PIPELINES.rglob("*") if path.suffix in (".safetensors", ".pt")]
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in weights]
    assert len(weights) > 8 and len(set(sums)) == len(sums)


@pytest.mark.parametrize("name", BORROWERS)
def test_it_is_the_pipeline_that_stock_diffusers_loads_from_a_whole_folder(name, tmp_path):
    folder = whole(name, tmp_path / name)
    index = json.loads((folder / "model_index.json").read_text())
    stock = getattr(diffusers, index["_class_name"]).from_pretrained(folder)
    pipe = load(name, device="cpu")
    assert dict(pipe.vae.config) == {**stock.vae.config, "_name_or_path": str(PIPELINES / name / "vae")}
    assert not pipe.vae.training
    for (key, found), expected in zip(pipe.vae.named_parameters(), stock.vae.parameters(), strict=True):
        assert torch.equal(found, expected) and found.requires_grad == expected.requires_grad, key
    assert np.array_equal(picture(pipe), picture(stock))


@pytest.mark.parametrize("name", BORROWERS)
def test_what_it_saves_is_whole_for_stock_diffusers(name, tmp_path):
    pipe = load(name, device="cpu")
    pipe.save_pretrained(tmp_path)
    stock = diffusers.DiffusionPipeline.from_pretrained(tmp_path)
    assert np.array_equal(picture(pipe), picture(stock))


def test_nothing_is_said_about_it(two, caplog, recwarn):
    load("emoji-flux", device="cpu")
    assert not caplog.records and not recwarn.list


@pytest.mark.parametrize("model", ["emoji-flux", "models/emoji-flux", "./models/../models/emoji-flux/"])
def test_it_is_loaded_by_its_name_and_by_any_path(two, tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    pipe = load(model, "bfloat16", "cpu")
    expected = load_file(two[0] / WEIGHTS)
    assert all(torch.equal(tensor, expected[key].bfloat16()) for key, tensor in pipe.vae.state_dict().items())


def test_a_lender_s_file_that_is_damaged_or_missing_is_named(two):
    lender, borrower = two
    path = lender / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"^{path} is damaged, .*: reinstall toca, or run `git checkout -- {path}`"):
        load("emoji-flux", device="cpu")
    path.unlink()
    for model in ("emoji-flux", borrower):
        with pytest.raises(FileNotFoundError, match=f"^{path} is missing: reinstall toca, or run `git checkout"):
            load(model, device="cpu")


def test_weights_of_another_model_are_refused(two):
    lender, borrower = two
    save_file({"conv.weight": torch.zeros(1)}, lender / WEIGHTS)
    checksums.write(borrower)
    with pytest.raises(ValueError, match="emoji-flux could not be loaded as a diffusers pipeline: .*AutoencoderKL"):
        load("emoji-flux", device="cpu")


def test_only_weights_are_borrowed(two):
    (two[1] / "vae" / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="emoji-flux/vae/config.json is missing"):
        load("emoji-flux", device="cpu")


def test_weights_of_its_own_come_first(two):
    lender, borrower = two
    tensors = {key: tensor + 1 for key, tensor in load_file(lender / WEIGHTS).items()}
    save_file(tensors, borrower / WEIGHTS, metadata={"format": "pt"})
    checksums.write(borrower)
    assert not borrowed(borrower) and weights_in(borrower / "vae") == [borrower / WEIGHTS]
    state = load("emoji-flux", device="cpu").vae.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in tensors.items())


@pytest.mark.parametrize("place", ["models/mine", "emoji-flux"])
def test_a_folder_of_a_user_s_borrows_nothing(two, tmp_path, monkeypatch, place):
    """Not beside a lender, not under the name of a borrower, and not by what its files say."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(two[1], place)
    config = Path(place, "vae", "config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "_name_or_path": "../emoji/vae"}))
    for name in ("borrows.json", "shared.json"):
        Path(place, name).write_text(json.dumps({"vae": "emoji"}))
    with pytest.raises(FileNotFoundError, match="vae lacks its weights, .*: save or download the pipeline again"):
        load(f"./{place}", device="cpu")
    assert embedded_in(place) is None and not lenders(Path(place)) and not weights_in(Path(place, "vae"))


def test_a_folder_counts_and_sums_up_what_it_borrows(two):
    lender, borrower = two
    size, sums = megabytes(borrower), json.loads((borrower / "checksums.json").read_text())
    assert sums == json.loads((lender / "checksums.json").read_text())
    shutil.copy(lender / WEIGHTS, borrower / WEIGHTS)
    assert megabytes(borrower) == size
    assert list(files_of(borrower)) == sorted(files_of(borrower)) == sorted(files_of(lender))
