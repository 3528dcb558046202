from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers import TINY_PIPELINES
from toca.pipelines import checksums, loading, registry
from toca.pipelines.loading import first_sentence, load, pick_device, pick_dtype
from toca.pipelines.skeleton import load_skeleton

CPU = torch.device("cpu")
WEIGHTS, VAE = (f"{part}/diffusion_pytorch_model.safetensors" for part in ("transformer", "vae"))


@pytest.fixture
def broken(folders, tmp_path):
    """A copy of a pipeline's folder, to break."""
    return shutil.copytree(folders["pixart"], tmp_path / "broken")


@pytest.fixture
def embedded(folders, tmp_path, monkeypatch):
    """A copy of a pipeline's folder in the place of the embedded model."""
    folder = shutil.copytree(folders["pixart"], tmp_path / "embedded")
    entries = [replace(entry, source=str(folder)) if entry.name == "emoji" else entry for entry in registry._ENTRIES]
    monkeypatch.setattr(registry, "_ENTRIES", entries)
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16"])
def test_a_folder_is_loaded_in_the_dtype_and_on_the_device_asked_for(folders, dtype):
    pipe = load(folders["pixart"], dtype, "cpu")
    assert type(pipe).__name__ == "PixArtAlphaPipeline"
    assert pipe.transformer.dtype == pipe.text_encoder.dtype == pipe.vae.dtype == torch.bfloat16
    assert pipe.device == CPU


def test_dtype_and_device_are_what_suits_where_nothing_is_said(folders, monkeypatch):
    monkeypatch.setattr(loading, "_best_device", lambda: "cpu")
    pipe = load(Path(folders["pixart"]))
    assert (pipe.device, pipe.dtype) == (CPU, torch.float32)


def test_load_is_public_and_costs_nothing_until_it_is_used():
    import toca.pipelines

    assert toca.pipelines.load is load
    assert toca.pipelines.__all__ == ["load"]
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        toca.pipelines.lode  # noqa: B018
    program = "import sys, toca.pipelines; print('toca.pipelines.loading' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"


def test_an_unknown_name_is_told_the_nearest_and_who_lists_all():
    with pytest.raises(ValueError, match="did you mean emoji or .*`toca models` lists all names"):
        load("emojy")


@pytest.mark.parametrize("model", ["./gone", "/gone/folder", "~/gone", "a/b/c"])
def test_a_missing_folder_is_named(model):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        load(model)


def test_a_folder_that_is_no_pipeline(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model_index\.json"):
        load(tmp_path)


def test_an_embedded_model_that_is_not_installed_says_so_and_is_not_offered(embedded):
    shutil.rmtree(embedded)
    with pytest.raises(FileNotFoundError, match="lacks the embedded model emoji: reinstall toca, or run `git"):
        load("emoji")
    with pytest.raises(ValueError) as error:
        load("emojy")
    assert "one of emoji," not in str(error.value)


@pytest.mark.parametrize("path", ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"])
def test_a_broken_json_file_is_named(broken, path):
    (broken / path).write_text("{ not json")
    with pytest.raises(ValueError, match=f"{path} could not be read as JSON: save or download the pipeline again"):
        load(broken, device="cpu")


@pytest.mark.parametrize("path", [WEIGHTS, VAE, "text_encoder/model.safetensors"])
def test_weights_that_are_cut_off_or_missing_are_named(broken, path):
    cut(broken / path)
    with pytest.raises(ValueError, match=f"{path} is damaged, .* save or download the pipeline again"):
        load(broken, device="cpu")
    (broken / path).unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.split('/')[0]} lacks its weights, .* save or download"):
        load(broken, device="cpu")


@pytest.mark.parametrize("path", ["transformer/config.json", "text_encoder/config.json", "tokenizer/tokenizer.json"])
def test_a_missing_file_of_a_part_is_named(broken, path):
    (broken / path).unlink()
    part, name = path.split("/")
    with pytest.raises(FileNotFoundError, match=f"{part} lacks its {name}: save or download the pipeline again"):
        load(broken, device="cpu")


@pytest.mark.parametrize("part", ["transformer", "vae", "scheduler", "tokenizer", "text_encoder"])
def test_a_missing_part_is_named(broken, part):
    shutil.rmtree(broken / part)
    with pytest.raises(FileNotFoundError, match=f"The folder .*{part}, which model_index.json names, is missing"):
        load(broken, device="cpu")


def test_an_empty_part_is_named(broken):
    (broken / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="scheduler lacks its files: save or download the pipeline again"):
        load(broken, device="cpu")


def test_a_missing_piece_of_weights_in_several_files_is_named(broken):
    (broken / WEIGHTS).unlink()
    index = {"metadata": {}, "weight_map": {"proj_out.bias": "model-00001-of-00002.safetensors"}}
    (broken / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    with pytest.raises(FileNotFoundError, match="transformer/model-00001-of-00002.safetensors is missing"):
        load(broken, device="cpu")


@pytest.mark.parametrize("other", ["vae", "text_encoder"])
def test_weights_of_another_model_are_said(broken, other):
    shutil.copy(next((broken / other).glob("*.safetensors")), broken / WEIGHTS)
    with pytest.raises(ValueError, match="weights of its transformer are not those of the model that its config"):
        load(broken, device="cpu")


def test_a_text_encoder_is_not_filled_by_chance(broken):
    path = broken / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    for others in (load_file(broken / VAE), dict(list(tensors.items())[:-1])):
        save_file(others, path, metadata={"format": "pt"})
        with pytest.raises(ValueError, match="weights of its text_encoder are not those of the model that its config"):
            load(broken, device="cpu")


@pytest.mark.parametrize("value", ["no", 0, None])
def test_whether_pickles_are_trusted_is_true_or_false(broken, value):
    with pytest.raises(ValueError, match=f"pickled_weights must be True or False, got {value!r}"):
        load(broken, device="cpu", pickled_weights=value)


def test_the_old_names_of_dit_and_pixart_are_no_others(broken):
    config, index = broken / "transformer" / "config.json", broken / "model_index.json"
    index.write_text(index.read_text().replace("PixArtTransformer2DModel", "Transformer2DModel"))
    config.write_text(json.dumps({**json.loads(config.read_text()), "norm_type": "ada_norm_single"}))
    assert type(load_skeleton(str(broken)).transformer).__name__ == "PixArtTransformer2DModel"
    assert type(load(broken, device="cpu").transformer).__name__ == "PixArtTransformer2DModel"


def test_a_whole_folder_that_diffusers_cannot_build_says_why(broken):
    index = broken / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "NoSuchPipeline"}))
    with pytest.raises(ValueError, match="could not be loaded as a diffusers pipeline: .*NoSuchPipeline"):
        load(broken)


def test_the_files_of_an_embedded_model_are_compared_with_their_checksums(embedded):
    checksums.write(embedded)
    assert type(load("emoji", device="cpu")).__name__ == "PixArtAlphaPipeline"
    path = embedded / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # as long as before, and readable
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{WEIGHTS} is damaged, .* reinstall toca, or run `git checkout -- "):
        load("emoji", device="cpu")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{WEIGHTS} is missing: reinstall toca"):
        load(embedded, device="cpu")


def test_checksums_hold_for_embedded_models_alone(broken):
    checksums.write(broken).write_text(json.dumps({WEIGHTS: "another"}))
    assert load(broken, device="cpu").transformer is not None


def test_without_a_network_a_hub_id_says_so(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("We could not connect. Check the\n connection.")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(ConnectionError, match=r"some/model is neither a folder here .* hub: We could not connect\.$"):
        load("some/model")


def test_the_first_sentence_is_on_one_line():
    assert first_sentence(OSError("One\n thing. Another.")) == "One thing."
    assert first_sentence(KeyError()) == "KeyError"


def test_devices_and_dtypes():
    assert pick_device("cpu") == CPU
    assert pick_device(CPU) == CPU
    assert pick_device().type in ("cpu", "cuda", "mps")
    assert pick_dtype("float16", "emoji", CPU) == torch.float16
    assert pick_dtype(torch.float16, "emoji", CPU) == torch.float16
    assert pick_dtype(None, "flux-dev", CPU) == torch.float32
    assert pick_dtype(None, "flux-dev", torch.device("cuda")) == torch.bfloat16
    assert pick_dtype(None, "dit-xl-2-256", torch.device("cuda")) == torch.float16
    assert pick_dtype(None, "./folder", torch.device("cuda")) == torch.bfloat16


@pytest.mark.parametrize("device", ["warp", "cuda:99", torch.device("cuda:99")])
def test_an_absent_device_is_named(device):
    with pytest.raises(ValueError, match=f"'{device}' is not available"):
        pick_device(device)


@pytest.mark.parametrize("dtype", ["int8", torch.int8])
def test_an_unknown_dtype_lists_the_dtypes(dtype):
    with pytest.raises(ValueError, match="'int8' is not one of float32, float16, bfloat16"):
        pick_dtype(dtype, "emoji", CPU)


@pytest.mark.parametrize("family", ["dit", "pixart", "flux", "latte"])
def test_a_skeleton_has_no_weights(folders, family):
    skeleton = load_skeleton(folders[family])
    assert skeleton.pipeline_class.__name__.lower().startswith(family)
    assert {parameter.device.type for parameter in skeleton.transformer.parameters()} == {"meta"}
    assert skeleton.vae["latent_channels"] == 4
    assert type(skeleton.scheduler) is type(TINY_PIPELINES[family]().scheduler)


@pytest.mark.parametrize(("family", "norm"), [("dit", "ada_norm_zero"), ("pixart", "ada_norm_single")])
def test_a_skeleton_knows_the_old_name_of_dit_and_pixart(folders, tmp_path, family, norm):
    shutil.copytree(folders[family], tmp_path / "old")
    path = tmp_path / "old" / "transformer" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "_class_name": "Transformer2DModel", "norm_type": norm}))
    assert type(load_skeleton(str(tmp_path / "old")).transformer).__name__ == config["_class_name"]


def test_a_skeleton_needs_a_transformer(folders, tmp_path):
    shutil.copytree(folders["pixart"], tmp_path / "unet")
    shutil.rmtree(tmp_path / "unet" / "transformer")
    with pytest.raises(FileNotFoundError, match="transformer, which model_index.json names, is missing"):
        load_skeleton(str(tmp_path / "unet"))
    index = tmp_path / "unet" / "model_index.json"
    index.write_text(json.dumps({k: v for k, v in json.loads(index.read_text()).items() if k != "transformer"}))
    with pytest.raises(ValueError, match="has no transformer"):
        load_skeleton(str(tmp_path / "unet"))
