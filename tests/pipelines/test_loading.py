from __future__ import annotations

import json
import shutil

import pytest
import torch

from toca.pipelines import loading, registry
from toca.pipelines.loading import first_sentence, load_pipeline, load_skeleton, pick_device, pick_dtype

CPU = torch.device("cpu")


def test_a_folder_is_loaded_in_the_dtype_asked_for(folders):
    pipe = load_pipeline(folders["pixart"], dtype=torch.bfloat16)
    assert type(pipe).__name__ == "PixArtAlphaPipeline"
    assert pipe.transformer.dtype == pipe.text_encoder.dtype == pipe.vae.dtype == torch.bfloat16


def test_an_unknown_name_lists_the_names():
    with pytest.raises(ValueError) as error:
        load_pipeline("emojy")
    assert all(name in str(error.value) for name in registry.models())


@pytest.mark.parametrize("model", ["./gone", "/gone/folder", "~/gone", "a/b/c"])
def test_a_missing_folder_is_named(model):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        load_pipeline(model)


def test_a_folder_that_is_no_pipeline(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model_index\.json"):
        load_pipeline(str(tmp_path))


def test_a_missing_embedded_model_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "EMBEDDED", tmp_path / "emoji")
    entry = registry.ModelEntry("emoji", str(tmp_path / "emoji"), "", "toca/pixart", 20, 4.0)
    monkeypatch.setattr(loading, "find_model", lambda model: entry)
    with pytest.raises(FileNotFoundError, match="embedded model is missing"):
        load_pipeline("emoji")


@pytest.mark.parametrize("damage", ["index", "weights", "class"])
def test_a_broken_folder_is_one_clear_error(folders, tmp_path, damage):
    folder = tmp_path / "broken"
    shutil.copytree(folders["pixart"], folder)
    index = folder / "model_index.json"
    if damage == "index":
        index.write_text("{ not json")
    elif damage == "class":
        index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "NoSuchPipeline"}))
    else:
        (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match="could not be loaded as a diffusers pipeline"):
        load_pipeline(str(folder))


def test_without_a_network_a_hub_id_says_so(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("We could not connect. Check the\n connection.")

    monkeypatch.setattr(loading.DiffusionPipeline, "from_pretrained", unreachable)
    with pytest.raises(ConnectionError, match=r"some/model is neither a folder here .* hub: We could not connect\.$"):
        load_pipeline("some/model")


def test_the_first_sentence_is_on_one_line():
    assert first_sentence(OSError("One\n thing. Another.")) == "One thing."
    assert first_sentence(KeyError()) == "KeyError"


def test_devices_and_dtypes():
    assert pick_device("cpu") == CPU
    assert pick_device().type in ("cpu", "cuda", "mps")
    assert pick_dtype("float16", "emoji", CPU) == torch.float16
    assert pick_dtype(None, "flux-dev", CPU) == torch.float32
    assert pick_dtype(None, "flux-dev", torch.device("cuda")) == torch.bfloat16
    assert pick_dtype(None, "dit-xl-2-256", torch.device("cuda")) == torch.float16
    assert pick_dtype(None, "./folder", torch.device("cuda")) == torch.bfloat16


@pytest.mark.parametrize("device", ["warp", "cuda:99"])
def test_an_absent_device_is_named(device):
    with pytest.raises(ValueError, match=f"'{device}' is not available"):
        pick_device(device)


def test_an_unknown_dtype_lists_the_dtypes():
    with pytest.raises(ValueError, match="'int8' is not one of float32, float16, bfloat16"):
        pick_dtype("int8", "emoji", CPU)


@pytest.mark.parametrize("family", ["dit", "pixart", "flux", "latte"])
def test_a_skeleton_has_no_weights(folders, family):
    pipeline_class, transformer, vae = load_skeleton(folders[family])
    assert pipeline_class.__name__.lower().startswith(family)
    assert {parameter.device.type for parameter in transformer.parameters()} == {"meta"}
    assert vae["latent_channels"] == 4


@pytest.mark.parametrize(("family", "norm"), [("dit", "ada_norm_zero"), ("pixart", "ada_norm_single")])
def test_a_skeleton_knows_the_old_name_of_dit_and_pixart(folders, tmp_path, family, norm):
    shutil.copytree(folders[family], tmp_path / "old")
    path = tmp_path / "old" / "transformer" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "_class_name": "Transformer2DModel", "norm_type": norm}))
    assert type(load_skeleton(str(tmp_path / "old"))[1]).__name__ == config["_class_name"]


def test_a_skeleton_needs_a_transformer(folders, tmp_path):
    shutil.copytree(folders["pixart"], tmp_path / "unet")
    shutil.rmtree(tmp_path / "unet" / "transformer")
    with pytest.raises(ValueError, match="has no transformer"):
        load_skeleton(str(tmp_path / "unet"))
