from __future__ import annotations

import json
from dataclasses import replace

import diffusers
import pytest
from PIL import Image, PngImagePlugin

import toca
from tests.helpers import tiny_pixart
from toca.pipelines.config import GenerationConfig
from toca.pipelines.generate import Sample
from toca.pipelines.metadata import JSON_CHUNK, TEXT_CHUNK, Recipe, png_info, read_recipe

CONFIG = GenerationConfig(
    "a red owl, “сова”", num_inference_steps=20, guidance_scale=4.5, height=64, width=96, seed=7, num_images=9,
    batch_size=4,
)  # fmt: skip
SAMPLE = Sample(index=5, batch=range(4, 8), frames=[Image.new("RGB", (96, 64))])


def recipe(method) -> Recipe:
    return Recipe.of(SAMPLE, CONFIG, model="some/model", method=method, dtype="bfloat16", device="cuda")


def saved(tmp_path, method):
    path = tmp_path / "picture.png"
    SAMPLE.image.save(path, pnginfo=png_info(recipe(method), SAMPLE.image.size, "FttF", 1.5))
    return path


METHODS = [
    None,
    toca.NoCache(),
    toca.preset("toca/pixart"),
    replace(toca.preset("toca/dit-ddim50"), interval=7),
    toca.FORA().plan(tiny_pixart(), 20),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_what_is_written_is_read_back(tmp_path, method):
    again = read_recipe(saved(tmp_path, method))
    assert again == recipe(method)


def test_a_recipe_is_for_the_whole_batch():
    config = recipe(None).config
    assert list(config.batches()) == [range(4, 8)]
    assert config.seed == 7


def test_people_read_the_prompt_and_the_settings(tmp_path):
    with Image.open(saved(tmp_path, toca.preset("toca/pixart"))) as image:
        prompt, line = image.text[TEXT_CHUNK].split("\n")
    assert prompt == CONFIG.prompt
    for part in ("Steps: 20", "CFG scale: 4.5", "Seed: 12", "Size: 96x64", "Method: toca/pixart", "FttF"):
        assert part in line


def test_programs_read_versions_and_what_the_method_saved(tmp_path):
    with Image.open(saved(tmp_path, toca.FORA())) as image:
        data = json.loads(image.text[JSON_CHUNK])
    assert set(data["versions"]) == {"toca", "torch", "diffusers", "transformers", "python"}
    assert data["versions"]["diffusers"] == diffusers.__version__
    assert (data["steps"], data["flops_speedup"]) == ("FttF", 1.5)


def png_with(path, chunk):
    info = PngImagePlugin.PngInfo()
    if chunk is not None:
        info.add_text(JSON_CHUNK, chunk)
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (None, "does not say how it was made"),
        ("not json", "cannot be read"),
        ("[1]", "cannot be read"),
        ('{"format": 2}', "format 2"),
        ('{"format": 1}', "cannot be read"),
    ],
)
def test_a_png_without_a_readable_recipe_is_refused(tmp_path, chunk, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(png_with(tmp_path / "picture.png", chunk))


@pytest.mark.parametrize("change", [{"num_images": 0}, {"seed": "x"}, {"gone": 1}])
def test_a_recipe_with_other_fields_is_refused(tmp_path, change):
    with Image.open(saved(tmp_path, None)) as image:
        data = json.loads(image.text[JSON_CHUNK])
    data["config"].update(change)
    with pytest.raises(ValueError, match="cannot be read"):
        read_recipe(png_with(tmp_path / "other.png", json.dumps(data)))


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match="could not be read as a picture"):
        read_recipe(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_recipe(tmp_path / "gone.png")
