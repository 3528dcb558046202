"""Whether a pipeline's folder could run code of its own when it is loaded.

diffusers and transformers look in a folder for more than weights: classes in Python files beside them, classes of any
module that is installed, quantizers that read pickles, attention kernels that are fetched. What they ask before they
run these differs from release to release. So nothing of it is loaded here, whatever the release.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch

from toca.checks import cleaned, shown
from toca.files.reading import named

INDEX = "model_index.json"
AGAIN = "save or download the pipeline again"

_SAFE_QUANTIZERS = frozenset({"bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit"})
"""Those whose weights are plain tensors."""

_RUNS = {
    "auto_map": "names classes in files of its own",
    "custom_pipelines": "names pipelines in files of its own",
    "trust_remote_code": "asks for its own code to be trusted",
}
"""Keys of a configuration, and what each does."""

_BASES = (
    ("diffusers", "ModelMixin"),
    ("diffusers", "SchedulerMixin"),
    ("transformers", "PreTrainedModel"),
    ("transformers", "PreTrainedTokenizerBase"),
    ("transformers", "FeatureExtractionMixin"),
    ("transformers", "ImageProcessingMixin"),
    ("transformers", "ProcessorMixin"),
)
"""What a part of a pipeline can be: none of these runs what lies in its folder."""


def check_index(index: Any, where: Path) -> None:
    """Look at what a model_index.json wants to be made.

    Args:
        index: its data.
        where (`Path`): the file.

    Raises:
        ValueError: if it is no such index, or names a class that is no pipeline of diffusers', or no part of one.
    """
    if not isinstance(index, dict):
        raise ValueError(f"{named(where)} is not the index of a pipeline: {AGAIN}.")
    _check_keys(index, where)
    pipeline_class(index, where)
    _check_labels(index.get("id2label"), where)
    for part, value in index.items():
        if isinstance(value, list) and not _is_part_name(part):
            raise ValueError(f"{named(where)} names a part {shown(part)}, which is no name of a folder.")
        if isinstance(value, list) and value != [None, None] and not _is_option(value):
            _check_part(value, f"{named(where)}: {cleaned(part)} is {shown(value)}")


def _check_labels(labels: Any, where: Path) -> None:
    """Names of classes by their numbers, which JSON has as text."""
    if labels is None:
        return
    if not isinstance(labels, dict):
        raise ValueError(f"{named(where)}: id2label is {shown(labels)}, and no mapping of numbers to names: {AGAIN}.")
    for number, name in labels.items():
        if not (number.isascii() and number.isdecimal() and len(number) < 10 and isinstance(name, str)):
            raise ValueError(f"{named(where)}: id2label has no names of classes at {shown(number)}: {AGAIN}.")


def pipeline_class(index: Mapping[str, Any], where: Path) -> type:
    """The class of diffusers that an index names.

    Raises:
        ValueError: if it names none, or one that loads further models that nobody asked for.
    """
    name = index.get("_class_name")
    if isinstance(name, list):
        raise ValueError(f"{named(where)} names a pipeline in a file of its own, {shown(name)}: {_REFUSED}.")
    found = getattr(diffusers, name, None) if isinstance(name, str) else None
    pipelines = diffusers.DiffusionPipeline
    if not (inspect.isclass(found) and issubclass(found, pipelines) and found is not pipelines):
        raise ValueError(
            f"{named(where.parent)} could not be loaded as a diffusers pipeline: {INDEX} names {shown(name)}, which "
            f"diffusers {diffusers.__version__} does not have."
        )
    if getattr(found, "_load_connected_pipes", False):
        raise ValueError(f"{found.__name__} loads further models that the folder's README names: {_REFUSED}.")
    return found


def check_needed(index: Mapping[str, Any], where: Path) -> None:
    """Look whether an index names every part that its pipeline cannot be made without.

    Args:
        index (`Mapping[str, Any]`): its data, as `check_index` has found them good.
        where (`Path`): the file.

    Raises:
        ValueError: for the first part that it does not name, or not as a library and a class.
    """
    found: Any = pipeline_class(index, where)
    for name, parameter in inspect.signature(found.__init__).parameters.items():
        optional = parameter.default is not parameter.empty or name in found._optional_components
        if name == "self" or (optional and index.get(name) in (None, [None, None])):
            continue
        if name not in index or index[name] == [None, None]:
            raise ValueError(f"{named(where)} has no {name}, and a {found.__name__} needs one: {AGAIN}.")
        if parameter.default is parameter.empty and not is_part(index[name]):
            what = f"{name} is {shown(index[name])}"
            raise ValueError(f"{named(where)}: {what}, which is no library with a class: {AGAIN}.")


def is_part(value: Any) -> bool:
    """Parts are written as library and class; both are null for those that a pipeline goes without."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(name, str) for name in value)


def is_model(part: list[str]) -> bool:
    """Whether a part is of a class that has weights."""
    found = class_of(*part)
    return found is not None and issubclass(found, torch.nn.Module)


def check_files(folder: Path) -> None:
    """Look at the names and kinds of the files of a folder and of its parts.

    Raises:
        ValueError: if one is a program, or no regular file, which could keep its reader waiting for ever.
    """
    for path in _files(folder):
        if path.suffix == ".py":
            raise ValueError(f"{named(path)} is a program in a model's folder: {_REFUSED}.")
        if not path.is_file():
            raise ValueError(f"{named(path)} is no regular file: {AGAIN}.")


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from (inner for inner in sorted(path.iterdir()) if not inner.is_dir())
        else:
            yield path


def check_config(config: Any, where: Path) -> None:
    """Look at what a JSON file of one part wants. Raises `ValueError` if that is code, or if it is no mapping, which
    libraries take for granted."""
    if not isinstance(config, dict):
        raise ValueError(f"{named(where)} is {shown(config)}, and no mapping of names to values: {AGAIN}.")
    _check_keys(config, where)
    quantizer = config.get("quantization_config")
    kind = quantizer.get("quant_method") if isinstance(quantizer, dict) else quantizer
    if kind is not None and kind not in _SAFE_QUANTIZERS:
        raise ValueError(f"{named(where)} asks for the quantizer {shown(kind)}, which may read pickles: {_REFUSED}.")
    for key in ("attn_implementation", "_attn_implementation"):
        if "/" in str(config.get(key, "")):
            raise ValueError(f"{named(where)} asks for attention from {shown(config[key])}, a program: {_REFUSED}.")


_REFUSED = "it could run any code, and is not loaded"


def check_numbers(config: Mapping[str, Any], where: Path) -> None:
    """Look at the numbers by which a model or a scheduler is built: who builds it may take all memory, or for ever.

    Raises:
        ValueError: for the first that no model has; it names it.
    """
    for key, value in config.items():
        if not isinstance(value, int):
            continue
        least, most = next((bounds for end, bounds in _BOUNDS.items() if key.endswith(end)), (-LARGEST, LARGEST))
        if not least <= value <= most:
            raise ValueError(f"{named(where)}: {cleaned(key)} must be from {least} to {most}, got {shown(value)}.")


LARGEST = 10**9
"""Of an integer in a configuration: vocabularies, positions and their like go to ten million."""

_BOUNDS = {"layers": (0, 1000), "num_train_timesteps": (1, 100_000), "num_attention_heads": (1, 10_000)}
"""How a key ends -> the least and the most."""


def _check_keys(config: Mapping[str, Any], where: Path) -> None:
    for key, what in _RUNS.items():
        if config.get(key):
            raise ValueError(f"{named(where)} {what} ({key!r}): {_REFUSED}.")


def _is_part_name(name: str) -> bool:
    return name.isidentifier()


def _is_option(value: list) -> bool:
    """Options of a pipeline may be lists too, of numbers or of texts, but not of two texts or nulls."""
    return not (len(value) == 2 and all(item is None or isinstance(item, str) for item in value))


def _check_part(value: list, what: str) -> None:
    """A part is a class of diffusers, of one of its pipelines' modules, or of transformers."""
    library, name = value
    if library is None or name is None:
        raise ValueError(f"{what}, which is neither a library with a class nor nothing.")
    found = class_of(library, name)
    if found is None:
        raise ValueError(f"{what}, which neither diffusers nor transformers has: {_REFUSED}.")
    if not issubclass(found, tuple(_bases())):
        raise ValueError(f"{what}, which is no model, scheduler, tokenizer or processor: {_REFUSED}.")


def class_of(library: str, name: str) -> type | None:
    """The class of that name, if the library is one of the two, or the module of a pipeline of diffusers'."""
    if library in ("diffusers", "transformers"):
        module: Any = importlib.import_module(library)
    elif library.isidentifier() and (Path(diffusers.__file__).parent / "pipelines" / library).is_dir():
        module = importlib.import_module(f"diffusers.pipelines.{library}")
    else:
        return None
    # transformers 5 has one name where its predecessors had two; diffusers knows the old ones.
    names = (name, name.removesuffix("Fast"), name.replace("FeatureExtractor", "ImageProcessor"))
    found = next((getattr(module, each) for each in names if hasattr(module, each)), None)
    return found if inspect.isclass(found) else None


def _bases() -> Iterator[type]:
    for library, name in _BASES:
        yield getattr(importlib.import_module(library), name)
