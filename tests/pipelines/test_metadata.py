from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import replace

import diffusers
import pytest
from PIL import Image, PngImagePlugin

import toca
from tests.helpers import tiny_pixart
from toca.pipelines.config import GenerationConfig
from toca.pipelines.generate import Sample
from toca.pipelines.metadata import JSON_CHUNK, TEXT_CHUNK, Recipe, png_info, read_recipe, read_record
from toca.pipelines.png_text import read_text

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


def changed(tmp_path, change, method=None):
    """A PNG whose recipe has other entries; `None` leaves one out, `config.x` is one of the configuration's."""
    with Image.open(saved(tmp_path, method)) as image:
        data = json.loads(image.text[JSON_CHUNK])
    for name, value in change.items():
        outer, dot, inner = name.partition(".")
        target = data[outer] if dot else data
        target[inner or outer] = value
        if value is None:
            del target[inner or outer]
    return png_with(tmp_path / "other.png", json.dumps(data))


def test_what_the_cache_was_kept_in_is_read_back(tmp_path):
    """And is not written where it was the model's own dtype, so that earlier versions read the rest."""
    narrow = replace(recipe(toca.FORA()), cache_dtype="fp8")
    SAMPLE.image.save(tmp_path / "narrow.png", pnginfo=png_info(narrow, SAMPLE.image.size))
    assert read_recipe(tmp_path / "narrow.png") == narrow
    assert "cache_dtype" not in read_record(saved(tmp_path, toca.FORA())).data


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cache_dtype": "fp4"}, "`cache_dtype` must be 'bf16'"),
        ({"cache_dtype": 8}, "cache_dtype must be str"),
        ({"config.num_images": 0}, "num_images must be at least 1, got 0"),
        ({"config.num_images": 10**12}, "num_images must be at most 1000000, got 1000000000000"),
        ({"config.batch_size": 10**9}, "batch_size must be at most"),
        ({"config.batch_size": 1}, "it is of one batch"),
        ({"config.first_index": -1}, "first_index must be at least 0"),
        ({"config.num_inference_steps": 2.5}, "num_inference_steps must be an integer, got 2.5"),
        ({"config.height": True}, "height must be an integer, got True"),
        ({"config.width": 10**9}, "width must be at most 16384"),
        ({"config.guidance_scale": "4"}, "guidance_scale must be a number, got '4'"),
        ({"config.guidance_scale": 1e300}, "guidance_scale must be between"),
        ({"config.seed": "x"}, "seed must be an integer, got 'x'"),
        ({"config.seed": 2**64}, "has more than 19 digits"),
        ({"config.prompt": ["a"]}, "prompt must be text"),
        ({"config.prompt": "a" * 200_000}, "prompt must have at most 100000 characters, got 200000"),
        ({"config.prompt": "\ud800"}, "half a character"),
        ({"config.gone": 1}, "config has no 'gone'; it has prompt, "),
        ({"config": None}, "it lacks 'config'"),
        ({"config": [1]}, r"config must be dict, got \[1\]"),
        ({"index": 10**9}, "index must be one of its batch, 4 to 7, got 1000000000"),
        ({"index": "5"}, "index must be int, got '5'"),
        ({"model": 7}, "model must be str, got 7"),
        ({"model": "\x1b[2J"}, r"model must be at most 1000 printable characters, got '\\x1b\[2J'"),
        ({"model": "m" * 10_000}, "model must be at most 1000 printable characters, got 'mmm"),
        ({"dtype": "int8"}, "dtype must be one of float32, float16, bfloat16, got 'int8'"),
        ({"device": "cuda; rm"}, "device must be a kind of device"),
        ({"method": "fora"}, "method must be dict or null"),
        ({"method": {}}, "no method None"),
        ({"method": {"plan": 5}}, "its plan must be text, got 5"),
        ({"method": {"plan": "["}}, "not a valid plan"),
        ({"method": {"method": "fora", "fields": {"interval": "x"}}}, "do not fit .*: 'x' is no value of `interval`"),
        ({"method": {"method": "fora", "fields": {"gone": 1}}}, "do not fit .*: there is no field 'gone'"),
        ({"method": {"method": "fora", "fields": [1]}}, r"do not fit .*: `fields` must be a mapping, got \[1\]"),
        ({"method": {"method": "fora", "fields": {}, "run": 1}}, "its name and its fields, and not by 'run'"),
        ({"method": {"method": [1], "fields": {}}}, r"no method \[1\]"),
        ({"method": {"plan": "{}", "method": "fora"}}, r"a plan is recorded alone, and not with \['method'\]"),
        ({"steps": 5}, "steps must be str"),
        ({"flops_speedup": True}, "flops_speedup must be float or int or null"),
        ({"run": "me"}, "there is no entry 'run'; there are format, model"),
    ],
)
def test_a_recipe_is_as_strict_as_a_configuration(tmp_path, change, message):
    with pytest.raises(ValueError, match=f"The recipe in .*other.png cannot be read: .*{message}") as caught:
        read_recipe(changed(tmp_path, change))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 700


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "9" * 400, '{"format": 1, "format": 1}', "NaN"])
def test_a_recipe_that_is_hard_to_read_is_one_sentence(tmp_path, text):
    with pytest.raises(ValueError, match="cannot be read: ") as caught:
        read_recipe(png_with(tmp_path / "picture.png", text))
    assert len(str(caught.value)) < 500


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


HEADER = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
TOCA = JSON_CHUNK.encode() + b"\0"
BOMB = zlib.compress(b"a" * (64 * 2**20), 9)


def png(*chunks: bytes, header: bytes = HEADER) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "text",
    [
        chunk(b"tEXt", TOCA + b"caf\xe9"),
        chunk(b"zTXt", TOCA + b"\0" + zlib.compress(b"caf\xe9")),
        chunk(b"iTXt", TOCA + b"\0\0\0\0" + "café".encode()),
        chunk(b"iTXt", TOCA + b"\1\0de\0Rezept\0" + zlib.compress("café".encode())),
        chunk(b"IDAT", b"pixels") + chunk(b"tEXt", TOCA + b"caf\xe9"),
    ],
    ids=["tEXt", "zTXt", "iTXt", "packed iTXt", "after the pixels"],
)
def test_the_text_of_a_png_in_all_its_forms(tmp_path, text):
    (tmp_path / "picture.png").write_bytes(png(chunk(b"tEXt", b"other\0no"), text))
    assert read_text(tmp_path / "picture.png", JSON_CHUNK) == "café"
    assert read_text(tmp_path / "picture.png", "none") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is no PNG, or damaged"),
        (b"GIF89a" * 10, "it is no PNG, or damaged"),
        (png()[:40], "it is no PNG, or damaged"),
        (png(chunk(b"tEXt", TOCA + b"x", crc=1)), "it is no PNG, or damaged"),
        (png(chunk(b"zTXt", TOCA + b"\0" + BOMB)), "unpacks to more than 8,388,608 bytes"),
        (png(chunk(b"iTXt", TOCA + b"\1\0\0\0" + BOMB)), "unpacks to more than 8,388,608 bytes"),
        (png(chunk(b"zTXt", TOCA + b"\0no")), "it is no PNG, or damaged"),
        (png(chunk(b"iTXt", TOCA + b"\0")), "it is no PNG, or damaged"),
        (png(chunk(b"iTXt", TOCA + b"\0\0\0\0\xff")), "it is no PNG, or damaged"),
        (png(header=struct.pack(">II", 10**9, 10**9) + HEADER[8:]), "1000000000 x 1000000000 pixels"),
        (png(header=b""), "it is no PNG, or damaged"),
        (png(chunk(b"abcd", b"") * 100_001), "more than 100,000 parts"),
    ],
)
def test_a_png_that_is_a_trap_is_one_sentence(tmp_path, data, message):
    (tmp_path / "picture.png").write_bytes(data)
    with pytest.raises(ValueError, match=f"picture.png could not be read as a picture: .*{message}"):
        read_record(tmp_path / "picture.png")


def test_a_file_that_never_ends_is_not_begun(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(10 * 2**30)  # takes no space
    for name in ("pipe.png", "link.png", "folder.png", "huge.png"):
        with pytest.raises(ValueError, match=f"{name} could not be read as a picture: "):
            read_record(tmp_path / name)


class TestFiles:
    """Which files a recipe would have read."""

    def test_those_of_a_method_within_a_method(self, tmp_path):
        inner = {"method": "teacache", "fields": {"calibration": "/etc/passwd"}}
        for method in (inner, {"method": "composed", "fields": {"when": inner, "which": "fora"}}):
            record = read_record(changed(tmp_path, {"method": method}))
            assert record.files() == ["/etc/passwd"]
            assert record.recipe(with_method=False).method is None

    def test_a_routers(self, tmp_path):
        method = {"method": "learned", "fields": {"router": "~/router.safetensors"}}
        assert read_record(changed(tmp_path, {"method": method})).files() == ["~/router.safetensors"]

    def test_those_of_a_plan(self, tmp_path):
        text = json.dumps({"gate": {"method": "teacache", "fields": {"calibration": "../x.json"}}, "fill": None})
        assert read_record(changed(tmp_path, {"method": {"plan": text}})).files() == ["../x.json"]

    def test_what_comes_with_toca_is_no_strangers_and_what_is_reached_from_there_is(self, tmp_path):
        for path, foreign in {"emoji/calibration/teacache.json": False, "../../../etc/passwd": True}.items():
            name = f"toca.pipelines:{path}"
            method = {"method": "teacache", "fields": {"calibration": name}}
            assert read_record(changed(tmp_path, {"method": method})).files() == [name] * foreign

    def test_choices_and_names_of_methods_are_none(self, tmp_path):
        for method in (toca.preset("toca/pixart"), toca.preset("duca/pixart"), toca.FORA().plan(tiny_pixart(), 20)):
            assert read_record(saved(tmp_path, method)).files() == []


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match="could not be read as a picture"):
        read_recipe(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_recipe(tmp_path / "gone.png")
