"""Pipelines by name, by folder or by hub id."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from packaging.version import Version
from transformers import PreTrainedModel

from toca.checks import cleaned, did_you_mean, shown
from toca.files.reading import named
from toca.models.outside import OUTSIDE
from toca.pipelines import checksums
from toca.pipelines.borrowed_models import borrowed_models
from toca.pipelines.calling import fill_defaults
from toca.pipelines.model_code import INDEX
from toca.pipelines.on_meta import model_class, model_of, scheduler_of
from toca.pipelines.registry import embedded_in, find_model, models

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Renamed in diffusers 0.42; the old name warns there, the new one is ignored before.
_DTYPE_ARGUMENT = "dtype" if Version(diffusers.__version__) >= Version("0.42") else "torch_dtype"


def pick_device(device: torch.device | str | None = None) -> torch.device:
    """The device asked for, or the best one here. Raises `ValueError` for one that this machine lacks."""
    if device is None:
        return torch.device(_best_device())
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        name = shown(str(device))
        raise ValueError(f"The device {name} is not available here; `toca env` lists the devices.") from error
    return chosen


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def pick_dtype(dtype: torch.dtype | str | None, model: str, device: torch.device) -> torch.dtype:
    """The precision asked for; else float32 on a CPU and, on an accelerator, the one the model is published in."""
    if dtype is not None:
        name = str(dtype).removeprefix("torch.")
        if name not in DTYPES:
            raise ValueError(f"The dtype {shown(name)} is not one of {', '.join(DTYPES)}.")
        return DTYPES[name]
    if device.type == "cpu":
        return torch.float32
    entry = find_model(model)
    return DTYPES[entry.dtype if entry else "bfloat16"]


def resolve_source(model: str) -> str:
    """The folder or hub id that `model` means.

    Raises:
        ValueError: if `model` is neither a known name, nor a folder, nor shaped like a hub id.
        FileNotFoundError: if it is a path where there is no pipeline, or an embedded model that is not installed.
    """
    if not model.strip():
        raise ValueError(f"The model is {shown(model)}: name one of {', '.join(models())}, a folder, or a hub id.")
    entry = find_model(model)
    if entry and entry.embedded and not entry.offered:
        how = checksums.restore(Path(entry.source))
        raise FileNotFoundError(f"This installation lacks the embedded model {entry.name}: {how}.")
    source = entry.source if entry else model
    folder = Path(os.path.expanduser(source))
    if "\0" not in source and os.path.exists(folder):
        if not (folder / INDEX).is_file():
            raise FileNotFoundError(f"{named(folder)} is not a diffusers pipeline folder: it has no {INDEX}.")
        return str(folder)
    if folder.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise FileNotFoundError(f"There is no folder {cleaned(source)}.")
    if not _HUB_ID.fullmatch(source):
        near = did_you_mean(str(model), models(), "toca models")
        raise ValueError(f"Unknown model {shown(model)}{near}, or give a folder, or a hub id (owner/name).")
    return source


def load(
    model: str | Path,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    pickled_weights: bool = False,
) -> DiffusionPipeline:
    """Load a stock diffusers pipeline, whose plain call makes what `toca generate` makes.

    What suits the model (its size, steps, guidance, and further arguments that `call_defaults` tells) is filled in
    where the caller says nothing; a class may be given by its name. Everything else is the stock pipeline's, of
    classes of diffusers and transformers alone: a folder that brings code, or names any, is refused.

    Args:
        model (`str` or `Path`): a name that `toca models` lists, a folder saved with `save_pretrained`, or a hub id.
        dtype (`torch.dtype`, `str` or `None`): the precision of all weights, "float32", "float16" or "bfloat16"; by
            default float32 on a CPU and, on an accelerator, the one the model is published in.
        device (`torch.device`, `str` or `None`): where the pipeline goes; by default the best device here.
        pickled_weights (`bool`): whether weights may be pickles where there are no safetensors. Only for models whose
            source you trust.

    Raises:
        ValueError: if the model, dtype or device is unknown, a file is damaged or could run code, or diffusers cannot
            build it.
        FileNotFoundError: if the folder, or a part of it, is missing.
        ConnectionError: if the hub cannot be reached and the model is not on this machine.

    Example:
        ```python
        load("emoji")("a red apple").images[0]
        load("fashion")(class_labels="sneaker").images[0]
        ```
    """
    if not isinstance(pickled_weights, bool):  # of which "no" would be as good as True
        raise ValueError(f"pickled_weights must be True or False, got {shown(pickled_weights)}.")
    model = str(model)
    source = resolve_source(model)
    place = pick_device(device)
    chosen = pick_dtype(dtype, model, place)
    arguments: dict[str, Any] = {_DTYPE_ARGUMENT: chosen}
    arguments |= {"use_safetensors": None if pickled_weights else True, "trust_remote_code": False}
    _check_embedded(source)
    if Path(source).exists():
        checksums.examine(source, pickles=pickled_weights)
    else:
        # What is looked at and what is loaded are one revision.
        arguments["revision"] = configs_of(source).name
    try:
        if Path(source).exists():
            model_class(Path(source), "transformer")
        pipe = DiffusionPipeline.from_pretrained(source, **arguments, **borrowed_models(Path(source), chosen))
        _check_weights(pipe, Path(source))
    except ImportError:  # says itself which package is missing
        raise
    except Exception as error:  # libraries that read a broken file raise anything, plain Exception included
        raise explain(source, _fault(source) or error) from error
    return fill_defaults(pipe.to(place))


def _check_weights(pipe: Any, folder: Path) -> None:
    """Raises `ValueError` if a part has got no weights for some of its parameters: diffusers leaves them empty, and
    transformers fills them by chance."""
    for name, part in pipe.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        empty = any(each.is_meta for each in part.parameters())
        if empty or (isinstance(part, PreTrainedModel) and _is_filled_by_chance(part, folder / name)):
            raise ValueError(f"The weights of its {name} are not those of the model that its configuration describes.")


def _is_filled_by_chance(part: Any, folder: Path) -> bool:
    """Whether the files hold fewer numbers than a model has, or no tensor of the names of its modules. More than this
    cannot be told: transformers reads tensors under older names too."""
    shapes = checksums.tensor_shapes(folder)
    if not shapes or getattr(part.config, "quantization_config", None) is not None:
        return False
    if sum(map(math.prod, shapes.values())) < sum(each.numel() for each in part.parameters()):
        return True
    return {_ending(name) for name in shapes}.isdisjoint(_ending(name) for name in part.state_dict())


def _ending(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _fault(source: str) -> Exception | None:
    """What is wrong with a folder's configurations, as whoever reads only these would say it; `None` if nothing is."""
    folder = Path(source)
    try:
        if folder.exists():
            model_of(folder, "transformer"), scheduler_of(folder), model_of(folder, "vae")
    except Exception as error:  # as above
        return error
    return None


def _check_embedded(source: str) -> None:
    if embedded_in(source) and (Path(source) / checksums.NAME).is_file():
        checksums.check(source)


def explain(source: str, error: Exception) -> Exception:
    """diffusers fails in many ways on an odd folder or without a network; say which of the two it is."""
    reason = cleaned(first_sentence(error))
    if Path(source).exists():
        return ValueError(f"{named(source)} could not be loaded as a diffusers pipeline: {reason}")
    return ConnectionError(f"{source} is neither a folder here nor could it be fetched from the hub: {reason}")


def first_sentence(error: BaseException) -> str:
    """An error's text on one line, without what follows the first sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]


def no_transformer(model: str, pipe_class: type, classes: Iterable[str]) -> ValueError:
    """The error for a pipeline that is of no use here.

    Args:
        model (`str`): as the user named it.
        pipe_class (`type`): of the pipeline.
        classes (`Iterable[str]`): of its parts.
    """
    why = next((f": its {name} {OUTSIDE[name]}" for name in classes if name in OUTSIDE), "")
    return ValueError(f"{model} ({pipe_class.__name__}) has no transformer, so there is nothing to cache{why}.")


def configs_of(source: str) -> Path:
    """A folder with the configurations of a pipeline, looked through: what `source` is, or what the hub has."""
    if Path(source).exists():
        checksums.examine(source, weights=False)
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(source, allow_patterns=[INDEX, "*/*config.json"]))
    except Exception as error:  # of whatever library fetches
        raise explain(source, error) from error
    checksums.examine_index(folder)
    for path in folder.glob("*/*config.json"):
        checksums.examine_config(path)
    return folder
