"""The trained parts as a standard diffusers folder."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, DiTPipeline, DPMSolverMultistepScheduler
from safetensors.torch import load_file, save_file

PREFIX = "text_model."


def scheduler() -> DPMSolverMultistepScheduler:
    """DPM-Solver++ on the straight paths of rectified flow."""
    return DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0)


def save(folder: Path, pipeline: DiffusionPipeline, **texts: list[str]) -> None:
    """Writes a pipeline in fp16, and lists of texts beside it as `<name>.json`."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.to("cpu", torch.float16)
    pipeline.save_pretrained(folder)
    load_in_single_precision(folder)
    name_tokenizer_class(folder)
    name_text_weights(folder)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)  # the library leaves them to their owner alone
    for name, values in texts.items():
        (folder / f"{name}.json").write_text(json.dumps(values, indent=0, ensure_ascii=False) + "\n")


def load_in_single_precision(folder: Path) -> None:
    """Without a dtype transformers loads what the configuration names, diffusers fp32: let them agree."""
    for path in folder.glob("text_encoder*/config.json"):
        config = {name: value for name, value in json.loads(path.read_text()).items() if name != "torch_dtype"}
        path.write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n")


def name_tokenizer_class(folder: Path) -> None:
    """Writes the tokenizers' class as every version of transformers reads it; version 5 writes another."""
    name = "PreTrainedTokenizerFast"
    index = json.loads((folder / "model_index.json").read_text())
    for part in [part for part in index if part.startswith("tokenizer")]:
        index[part] = ["transformers", name]
        path = folder / part / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": name}, indent=2) + "\n")
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def name_text_weights(folder: Path) -> None:
    """Names CLIP's weights as every version of transformers reads them. Version 5 writes them without their prefix;
    version 4 then takes none of them, and goes on with random ones."""
    for path in folder.glob("text_encoder*/model.safetensors"):
        is_clip = json.loads((path.parent / "config.json").read_text())["architectures"] == ["CLIPTextModel"]
        weights = load_file(path)
        if is_clip and not any(name.startswith(PREFIX) for name in weights):
            save_file({PREFIX + name: weight for name, weight in weights.items()}, path, {"format": "pt"})


def save_class_conditional(folder: Path, vae: AutoencoderKL, transformer, classes: tuple[str, ...]) -> None:
    """Writes a DiTPipeline whose classes have names; diffusers reads these from the index, and does not write them."""
    save(folder, DiTPipeline(transformer=transformer, vae=vae, scheduler=scheduler()))
    index = json.loads((folder / "model_index.json").read_text())
    index["id2label"] = {str(i): name for i, name in enumerate(classes)}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_training(folder: Path, stages: dict[str, dict]) -> None:
    """Writes training.json: steps, batch, loss, seconds and device of every stage."""
    text = json.dumps(stages, indent=2) + "\n"
    (folder / "training.json").write_text(text)
    print(text)
