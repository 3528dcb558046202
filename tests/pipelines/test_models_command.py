from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.helpers import FRAMES
from toca.pipelines import registry
from toca.pipelines.cli import app
from toca.pipelines.generate import generate
from toca.pipelines.loading import load
from toca.pipelines.registry import find_model, models
from toca.pipelines.request import Request, prepare
from toca.pipelines.running.models import image_tokens, megabytes

FAMILIES = {"emoji": "pixart", "emoji-flux": "flux", "fashion": "dit", "emoji-video": "latte"}
SIZES = {"emoji": 256, "emoji-flux": 32, "fashion": 32, "emoji-video": 32}


@pytest.fixture
def embedded(folders, monkeypatch):
    """Tiny pipelines in the place of the embedded ones, at sizes of their own."""
    entries = {
        name: replace(find_model(name), source=folders[family], height=SIZES[name], width=SIZES[name])
        for name, family in FAMILIES.items()
    }
    monkeypatch.setattr(registry, "_ENTRIES", [*entries.values(), find_model("flux-dev")])
    return entries


def listed() -> str:
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0, result.output
    return result.stdout


def row(name: str) -> list[str]:
    return next(line.split() for line in listed().splitlines() if line.startswith(f"{name} "))


def test_an_embedded_model_is_listed_with_its_size_and_settings(embedded):
    megabytes_of_flux = f"{megabytes(Path(embedded['emoji-flux'].source)):.1f}"
    assert row("emoji-flux")[-6:] == [megabytes_of_flux, "32x32", "64", "20", "0", "toca/flux"]
    assert row("emoji")[-5:] == ["256x256", "64", "20", "4", "toca/pixart"]
    assert row("fashion")[-5:] == ["32x32", "64", "20", "2", "toca/dit-ddim50"]


def test_a_video_has_frames(embedded):
    assert " 8 x 32x32 8 x 64 " in " ".join(row("emoji-video"))


def test_models_of_the_hub_follow(embedded):
    text = listed()
    assert text.index("Embedded") < text.index("emoji-video") < text.index("From the hub") < text.index("flux-dev")
    assert "black-forest-labs/FLUX.1-dev" in text


def test_what_is_not_installed_is_not_listed(embedded, tmp_path, monkeypatch):
    gone = [replace(entry, source=str(tmp_path / name)) for name, entry in embedded.items()]
    monkeypatch.setattr(registry, "_ENTRIES", [gone[0], find_model("flux-dev")])
    assert "emoji" not in listed() and "Embedded" not in listed()


def test_the_size_on_disk_counts_every_file(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "weights").write_bytes(bytes(1_500_000))
    (tmp_path / "index").write_bytes(bytes(500_000))
    assert megabytes(tmp_path) == 2


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_are_those_that_the_transformer_gets(embedded, name):
    entry = replace(embedded[name], num_frames=FRAMES if name == "emoji-video" else None)
    registry._ENTRIES[list(FAMILIES).index(name)] = entry
    job = prepare(Request("goldfish", model=name, steps=2, device="cpu"))
    embedder = getattr(job.pipe.transformer, "x_embedder", None) or job.pipe.transformer.pos_embed
    counts = set()
    embedder.register_forward_hook(lambda _, __, output: counts.add(output.shape[1]))
    generate(job.pipe, job.config)
    assert counts == {image_tokens(entry)}


@pytest.mark.parametrize("name", [name for name, entry in models().items() if entry.embedded])
def test_the_sizes_of_embedded_models_are_their_own(name):
    """A picture of another size than the model was trained for is a bad picture."""
    entry = models()[name]
    pipe = load(name, device="cpu")
    own = getattr(pipe.transformer.config, "sample_size", None)
    scale = 2 ** (len(pipe.vae.config.block_out_channels) - 1)  # not every pipeline has a `vae_scale_factor`
    assert own is None or (entry.height, entry.width) == (own * scale,) * 2
    assert getattr(pipe.transformer.config, "video_length", None) == entry.num_frames
