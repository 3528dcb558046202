"""A model's folder from a stranger runs no code, and is refused before diffusers sees it."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

from toca.pipelines import loading
from toca.pipelines.loading import load
from toca.pipelines.model_code import check_index
from toca.pipelines.registry import models
from toca.pipelines.skeleton import load_skeleton

EVIL = "open({!r}, 'w').close()\nclass Evil: pass\n"


@pytest.fixture
def folder(folders, tmp_path, monkeypatch):
    """A copy of a pipeline's folder, to put traps into; diffusers never gets it."""
    monkeypatch.setattr(loading.DiffusionPipeline, "from_pretrained", None)
    return shutil.copytree(folders["pixart"], tmp_path / "model")


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def index(**values):
    return lambda folder: change(folder / "model_index.json", **values)


def config(part, **values):
    return lambda folder: change(folder / part, **values)


def text(path, words):
    return lambda folder: (folder / path).write_text(words)


def program(name):
    return lambda folder: (folder / name).write_text(EVIL.format(str(folder / "ran")))


def fifo(name):
    def replace(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return replace


TRAPS = {
    "a pipeline in a file beside": [program("evil.py"), index(_class_name=["evil", "Evil"])],
    "a pipeline in a file that is not there": [index(_class_name=["evil", "Evil"])],
    "a name that diffusers looks for when there is none": [program("None.py")],
    "a part in a file beside": [program("transformer/evil.py"), index(transformer=["evil", "Evil"])],
    "a program in a part": [program("vae/anything.py")],
    "a module that is installed": [index(transformer=["antigravity", "Evil"])],
    "a function": [index(transformer=["os", "system"])],
    "a module of diffusers that is no pipeline's": [index(transformer=["..utils", "import_utils"])],
    "a pipeline as a part": [index(transformer=["diffusers", "DiffusionPipeline"])],
    "a class that reads its class from a file": [index(transformer=["diffusers", "AutoModel"])],
    "a tokenizer that reads its class from a file": [index(tokenizer=["transformers", "AutoTokenizer"])],
    "no pipeline": [index(_class_name="ModelMixin")],
    "a pipeline of what a README names": [index(_class_name="StableCascadePipeline")],
    "classes in files": [config("tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})],
    "classes in files of a repository": [config("text_encoder/config.json", auto_map={"AutoModel": "some/repo--e.E"})],
    "trust": [config("text_encoder/config.json", trust_remote_code=True)],
    "pipelines in files": [config("transformer/config.json", custom_pipelines={"x": {"impl": "evil.py"}})],
    "a quantizer that reads pickles": [
        config("transformer/config.json", quantization_config={"quant_method": "modelopt"})
    ],
    "attention from the hub": [config("text_encoder/config.json", _attn_implementation="some/kernel")],
    "a part outside": [lambda folder: index(**{"../secrets": ["diffusers", "AutoencoderKL"]})(folder)],
    "a pipeline in general": [index(_class_name="DiffusionPipeline")],
    "a pipeline of other parts": [index(_class_name="FluxPipeline")],
    "no part": [index(transformer=[None, None])],
    "a part of one word": [index(vae="diffusers")],
    "a part of three words": [index(vae=["diffusers", "AutoencoderKL", "x"])],
    "a scheduler that is none": [index(scheduler=["diffusers", "AutoencoderKL"])],
    "a scheduler without end": [config("scheduler/scheduler_config.json", num_train_timesteps=10**12)],
    "a scheduler of nothing": [config("scheduler/scheduler_config.json", num_train_timesteps=0)],
    "two classes of one transformer": [index(transformer=["diffusers", "FluxTransformer2DModel"])],
    "names of classes in a list": [index(id2label=["owl"])],
    "a class that is no number": [index(id2label={"a": "owl"})],
    "a class below none": [index(id2label={"-1": "owl"})],
    "a class without a name": [index(id2label={"1": 5})],
    "layers without end": [config("transformer/config.json", num_layers=10**9)],
    "layers of text without end": [config("text_encoder/config.json", num_layers=10**9)],
    "fewer layers than none": [config("transformer/config.json", num_layers=-1)],
    "a width without end": [config("vae/config.json", latent_channels=10**15)],
    "a VAE of nothing": [config("vae/config.json", block_out_channels=[])],
    "a VAE of letters": [config("vae/config.json", block_out_channels="x")],
    "a list as a transformer": [text("transformer/config.json", "[]")],
    "a list as a VAE": [text("vae/config.json", "[]")],
    "a list as a text encoder": [text("text_encoder/config.json", "[1]")],
    "a list as a scheduler": [text("scheduler/scheduler_config.json", "[1]")],
    "a list as a tokenizer": [text("tokenizer/tokenizer.json", "[]")],
    "a list as a tokenizer's configuration": [text("tokenizer/tokenizer_config.json", "[]")],
    "a byte order mark": [text("model_index.json", "\ufeff{}")],
    "a transformer without its configuration": [lambda folder: (folder / "transformer" / "config.json").unlink()],
    "weights that are cut off": [text("transformer/diffusion_pytorch_model.safetensors", "x" * 50)],
    "a pipe as weights": [fifo("vae/diffusion_pytorch_model.safetensors")],
    "a pipe as an index": [fifo("transformer/config.json")],
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_one_sentence_in_generate_and_in_plan(folder, trap):
    for step in TRAPS[trap]:
        step(folder)
    said = []
    for command in (lambda: load(folder, device="cpu"), lambda: load_skeleton(str(folder))):
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            command()
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "\n" not in said[0] and len(said[0]) < 500 and said[0].endswith(".")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("path", ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"])
@pytest.mark.parametrize("text", ["{ not json", "[" * 100_000, "\x00"])
def test_plan_says_of_a_broken_file_what_generate_says(folder, path, text):
    (folder / path).write_text(text)
    for command in (lambda: load(folder, device="cpu"), lambda: load_skeleton(str(folder))):
        with pytest.raises(ValueError, match=f"{path} could not be read as JSON: save or download"):
            command()


def test_plan_says_that_a_part_is_missing(folder):
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(FileNotFoundError, match="The folder .*tokenizer, which model_index.json names, is missing"):
        load_skeleton(str(folder))


@pytest.mark.parametrize(
    "values", [{"num_layers": "x"}, {"num_attention_heads": None}, {"_class_name": 5}, {"_class_name": "ModelMixin"}]
)
def test_a_transformer_that_cannot_be_built_is_one_sentence(folder, values):
    change(folder / "transformer" / "config.json", **values)
    with pytest.raises(ValueError, match="could not be loaded as a diffusers pipeline: "):
        load_skeleton(str(folder))


def test_pickled_weights_are_read_only_where_the_user_says_so(folder, monkeypatch, tmp_path):
    monkeypatch.undo()
    path = folder / "text_encoder" / "model.safetensors"
    from safetensors.torch import load_file

    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    load(folder, device="cpu")  # the safetensors are taken
    path.unlink()
    with pytest.raises(ValueError, match="weights only as a pickle, .* --pickled-weights"):
        load(folder, device="cpu")
    assert load(folder, device="cpu", pickled_weights=True).text_encoder is not None


def test_every_named_model_that_is_here_passes():
    for entry in models().values():
        if entry.embedded:
            load_skeleton(entry.name)


def test_older_names_of_tokenizers_and_processors_are_known(tmp_path):
    check_index(
        {"_class_name": "StableDiffusion3Pipeline", "tokenizer": ["transformers", "CLIPTokenizerFast"],
         "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
         "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "image_encoder": [None, None],
         "sizes": [1, 2]},
        tmp_path / "model_index.json",
    )  # fmt: skip


@pytest.mark.parametrize("model", ["\0", "a\0b", "~nobody-here/x", "x" * 5000, "", "\x1b[31m/red", "no such/model"])
def test_what_can_be_no_model_is_one_sentence(model):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load(model)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 700
