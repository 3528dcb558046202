"""From what to generate to the arguments of a pipeline's call, by the pipeline's signature and never by its name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch

from toca.checks import nearest, shown
from toca.pipelines.config import GenerationConfig
from toca.pipelines.registry import find_model


def call_arguments(pipe: Any, config: GenerationConfig, batch: range) -> dict[str, Any]:
    """The keyword arguments of the pipeline's call, found from its signature, and those that suit its model.

    Raises:
        ValueError: if `config` sets something that the pipeline does not take.
    """
    arguments: dict[str, Any] = {
        "num_inference_steps": config.num_inference_steps,
        "generator": [torch.Generator("cpu").manual_seed(config.seed + index) for index in batch],
    }
    arguments |= _condition(pipe, config, len(batch))
    arguments |= _sizes(pipe, config)
    if config.guidance_scale is not None:
        require_argument(type(pipe), "guidance_scale")
        arguments["guidance_scale"] = config.guidance_scale
    return {**call_defaults(pipe), **arguments}


def call_defaults(pipe: Any) -> dict[str, Any]:
    """What suits a pipeline's model, as arguments of its call: its size, steps and guidance if it has a name, and what
    makes a prompt mean the same everywhere. A pipeline knows what it was loaded from."""
    return call_defaults_of(type(pipe), pipe.name_or_path)


def call_defaults_of(pipeline_class: type, model: str | None) -> dict[str, Any]:
    """The same of a class of pipelines and the name, folder or hub id of a model."""
    accepted = _parameters(pipeline_class)
    entry = find_model(model) if model else None
    # The size asked for is the size made: binning would change it, or refuse a size it has no bin for, and is the
    # identity on the sizes it does have. Cleaning depends on which optional packages are installed; the same prompt
    # must give the same image.
    suits: dict[str, Any] = {"use_resolution_binning": False, "clean_caption": False}
    if entry is not None:
        suits |= {"num_inference_steps": entry.steps, "guidance_scale": entry.guidance_scale}
        suits |= {"height": entry.height, "width": entry.width, _frames_argument(accepted): entry.num_frames}
        suits |= entry.call
    return {name: value for name, value in suits.items() if name in accepted and value is not None}


def _condition(pipe: Any, config: GenerationConfig, count: int) -> dict[str, Any]:
    if "class_labels" in _parameters(type(pipe)):
        return {"class_labels": [class_id(pipe, config.class_label or config.prompt)] * count}
    if config.class_label is not None:
        raise ValueError(f"{type(pipe).__name__} takes a prompt, not a class label.")
    if not config.prompt:
        raise ValueError(f"{type(pipe).__name__} needs a prompt.")
    return {"prompt": [config.prompt] * count}


def class_id(pipe: Any, label: str) -> int:
    """The number of a class given by number or by name, in any case, singular or plural.

    Raises:
        ValueError: if there is no such class, or several are meant; the message names similar ones.
    """
    rows = pipe.transformer.config.num_embeds_ada_norm
    # A folder may name classes that its transformer has no row for.
    names = {name: number for name, number in getattr(pipe, "labels", {}).items() if number in range(rows)}
    if label in names:
        return names[label]
    alike = {number for name, number in names.items() if not _forms(name).isdisjoint(_forms(label))}
    if len(alike) == 1:
        return alike.pop()
    # The table of DiTPipeline's transformers has a thousand rows, however few of them were trained.
    numbers = sorted(set(names.values())) or range(rows)
    if label.isdecimal() and len(label) < 10 and int(label) in numbers:
        return int(label)
    given = f"has no class {shown(label)}" if label else "needs a class label"
    ways = f"give a number from {numbers[0]} to {numbers[-1]} or a class name{_hint(label, names)}"
    raise ValueError(f"{type(pipe).__name__} {given}: {ways}.")


def _forms(name: str) -> set[str]:
    """What a name may be called: in lower case with single blanks, and that in the singular."""
    plain = " ".join(re.split(r"[\s_-]+", name.lower().strip()))
    endings = {"ies": "y", "es": "", "s": ""}
    singular = {plain.removesuffix(end) + one for end, one in endings.items() if plain.endswith(end)}
    return ({plain} | singular) - {""}


def _hint(label: str, names: Mapping[str, int]) -> str:
    """All names of classes if they are few, else those that come near."""
    if 0 < len(names) <= 20:
        return f": {', '.join(sorted(names, key=lambda name: names[name]))}"
    near = nearest(label, names, 0.6)
    return f"; names that come near: {', '.join(near)}" if near else ""


def _sizes(pipe: Any, config: GenerationConfig) -> dict[str, int]:
    names = ("height", "width", "num_frames")
    sizes = {name: size for name in names if (size := getattr(config, name)) is not None}
    for name, size in sizes.items():
        require_argument(type(pipe), name)
        if name == "num_frames":
            _check_frames(pipe, size)
        else:
            _check_multiple(pipe, name, size)
    if "num_frames" in sizes:
        sizes[_frames_argument(_parameters(type(pipe)))] = sizes.pop("num_frames")
    return sizes


def _frames_argument(accepted: Mapping[str, Any]) -> str:
    """Latte's pipeline calls its number of frames video_length, all later ones num_frames."""
    return "video_length" if "video_length" in accepted else "num_frames"


def require_argument(pipeline_class: type, name: str) -> None:
    """Raise `ValueError`, which names the option, if a pipeline's call does not take an argument."""
    if not takes_argument(pipeline_class, name):
        raise ValueError(f"{pipeline_class.__name__} does not take --{name.replace('_', '-')}.")


def takes_argument(pipeline_class: type, name: str) -> bool:
    """Whether a pipeline's call takes an argument, by our name for it."""
    return makes_video(pipeline_class) if name == "num_frames" else name in _parameters(pipeline_class)


def makes_video(pipeline_class: type) -> bool:
    """Whether a class of pipelines makes videos."""
    return not {"num_frames", "video_length"}.isdisjoint(_parameters(pipeline_class))


def _parameters(pipeline_class: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(pipeline_class.__call__).parameters


def _check_frames(pipe: Any, frames: int) -> None:
    """Latte has learned a place for each frame of a video, and needs none for a single frame."""
    own = getattr(pipe.transformer.config, "video_length", None)
    if own is not None and frames not in (1, own):
        raise ValueError(f"This model makes videos of {own} frames, got {frames}.")


def _check_multiple(pipe: Any, name: str, size: int) -> None:
    unit = size_unit(pipe)
    if size % unit:
        raise ValueError(f"The {name} must be a multiple of {unit} for this model, got {size}.")


def size_unit(pipe: Any) -> int:
    """The number of pixels that height and width must be multiples of: those of one token's side."""
    patch = getattr(pipe.transformer.config, "patch_size", 1)
    side = getattr(pipe, "vae_scale_factor", 1) * (patch if isinstance(patch, int) else patch[-1])
    # FLUX packs 2 x 2 latents outside its transformer, and tells so only through its image processor.
    processor = getattr(pipe, "image_processor", None)
    return max(side, processor.config.vae_scale_factor if processor else 1)
