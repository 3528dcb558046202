"""What a PNG says about how it was made, for people and for `toca generate --from`."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import PngImagePlugin

import toca
from toca.checks import cleaned, shown
from toca.files.reading import named, parse_json
from toca.files.versions import version
from toca.kernels.narrow import cache_dtype_of
from toca.pipelines import method_options, png_text
from toca.pipelines.config import LONGEST_LABEL, MOST_STEPS, GenerationConfig
from toca.pipelines.generate import Sample
from toca.pipelines.loading import DTYPES

TEXT_CHUNK = "parameters"
JSON_CHUNK = "toca"
FORMAT = 1
_PACKAGES = ("toca", "torch", "diffusers", "transformers")


@dataclass(frozen=True)
class Recipe:
    """Everything needed to make a picture again.

    Args:
        model (`str`): name, folder or hub id.
        config (`GenerationConfig`): of the batch that held the picture: its `first_index` and `num_images` are the
            batch's, because a batch of another size may round differently.
        index (`int`): the picture's own number.
        method: a method object or plan; `None` for a picture of the full model.
        dtype (`str`): of the weights.
        device (`str`): type of the device.
        cache_dtype (`str` or `None`): what features were kept in between steps; `None` for `dtype`.
    """

    model: str
    config: GenerationConfig
    index: int
    method: Any | None
    dtype: str
    device: str
    cache_dtype: str | None = None

    @classmethod
    def of(cls, sample: Sample, config: GenerationConfig, **rest: Any) -> Recipe:
        """The recipe of one sample of a generation."""
        count = len(sample.batch)
        batch = replace(config, first_index=sample.batch.start, num_images=count, batch_size=count)
        return cls(config=batch, index=sample.index, **rest)


def png_info(
    recipe: Recipe, size: tuple[int, int], steps: str = "", flops_speedup: float | None = None
) -> PngImagePlugin.PngInfo:
    """The two chunks of a PNG: `parameters` for people and `toca` in JSON.

    Args:
        recipe (`Recipe`): how the picture was made.
        size (`tuple[int, int]`): width and height of the picture in pixels.
        steps (`str`): the steps string of the run.
        flops_speedup (`float` or `None`): of the run.
    """
    data = {
        "format": FORMAT,
        **asdict(replace(recipe, method=None)),
        "method": None if recipe.method is None else method_options.recorded(recipe.method),
        "steps": steps,
        "flops_speedup": flops_speedup,
        "versions": versions(),
    }
    if recipe.cache_dtype is None:
        # Earlier versions know no such entry, and can read what has none.
        del data["cache_dtype"]
    info = PngImagePlugin.PngInfo()
    info.add_text(TEXT_CHUNK, describe(recipe, size, steps))
    info.add_text(JSON_CHUNK, json.dumps(data))
    return info


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a picture depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def describe(recipe: Recipe, size: tuple[int, int], steps: str = "") -> str:
    """The recipe in the layout that image viewers know: the prompt, then `name: value` pairs."""
    config = recipe.config
    pairs = {
        "Steps": config.num_inference_steps,
        "CFG scale": config.guidance_scale,
        "Seed": config.seed + recipe.index,
        "Size": f"{size[0]}x{size[1]}",
        "Class": config.class_label,
        "Model": recipe.model,
        "Method": "none" if recipe.method is None else method_options.method_name(recipe.method),
        "Steps string": steps or None,
        "Version": f"toca {toca.__version__}",
    }
    line = ", ".join(f"{name}: {value}" for name, value in pairs.items() if value is not None)
    return f"{config.prompt}\n{line}"


def read_recipe(path: str | Path) -> Recipe:
    """The recipe inside a PNG that `toca generate` wrote, with its method, for which it may name files to read.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no PNG, has no recipe, or one that this version cannot read.
    """
    return read_record(path).recipe()


@dataclass(frozen=True)
class Record:
    """What a PNG says of itself: types, ranges and names are checked, and nothing that it names has been looked at.

    Args:
        path (`str`): the PNG.
        data (`dict[str, Any]`): its entries.
        config (`GenerationConfig`): of the batch that held the picture.
    """

    path: str
    data: dict[str, Any]
    config: GenerationConfig

    @property
    def model(self) -> str:
        """Name, folder or hub id."""
        return self.data["model"]

    def files(self) -> list[str]:
        """The files that its method names, other than those that come with toca."""
        method = self.data["method"]
        return [] if method is None else list(dict.fromkeys(_files(self.path, method)))

    def recipe(self, with_method: bool = True) -> Recipe:
        """The recipe, for which files of the method's are read; without its method none are. Raises `ValueError`."""
        data = self.data
        try:
            recorded = data["method"] if with_method else None
            method = None if recorded is None else method_options.from_record(recorded)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise _unreadable(self.path, _sentence(error)) from error
        facts = data["dtype"], data["device"], data.get("cache_dtype")
        return Recipe(data["model"], self.config, data["index"], method, *facts)


def read_record(path: str | Path) -> Record:
    """What a PNG says of itself. Raises as `read_recipe`."""
    text = png_text.read_text(path, JSON_CHUNK)
    if text is None:
        raise ValueError(
            f"{named(path)} does not say how it was made: it has no {JSON_CHUNK!r} chunk. Each picture that `toca "
            "generate` saves has one, and a comparison of two has none: give one of the two."
        )
    try:
        data = parse_json(text)
        _check(data)
        return Record(str(path), data, _config(data))
    except (TypeError, ValueError) as error:
        raise _unreadable(path, _sentence(error)) from error


def _unreadable(path: str | Path, reason: str) -> ValueError:
    return ValueError(f"The recipe in {named(path)} cannot be read: {reason}")


def _sentence(error: Exception) -> str:
    text = cleaned(str(error), 400)
    return f"it lacks {text}." if isinstance(error, KeyError) else text


_ENTRIES: dict[str, tuple[type, ...]] = {
    "format": (int,), "model": (str,), "config": (dict,), "index": (int,), "method": (dict, type(None)),
    "dtype": (str,), "device": (str,), "steps": (str,), "flops_speedup": (float, int, type(None)), "versions": (dict,),
    "cache_dtype": (str,),
}  # fmt: skip
_NEEDED = ("model", "config", "index", "method", "dtype", "device")
_TEXTS = {"model": LONGEST_LABEL, "dtype": 20, "device": 20, "steps": 10 * MOST_STEPS}


def _check(data: Any) -> None:
    """Raises `TypeError` or `ValueError` for an entry that this version does not write, or not so."""
    if not isinstance(data, dict):
        raise TypeError(f"it is {shown(data)}, and no recipe.")
    if data.get("format") != FORMAT:
        raise ValueError(f"format {shown(data.get('format'))}, and this version reads {FORMAT}.")
    if unknown := [name for name in data if name not in _ENTRIES]:
        raise ValueError(f"there is no entry {shown(unknown[0])}; there are {', '.join(_ENTRIES)}.")
    if missing := [name for name in _NEEDED if name not in data]:
        raise ValueError(f"it lacks {missing[0]!r}.")
    for name, value in data.items():
        _check_entry(name, value)
    if data["dtype"] not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {shown(data['dtype'])}.")
    cache_dtype_of(data.get("cache_dtype"))
    if not re.fullmatch(r"[a-z]+", data["device"]):
        raise ValueError(f"device must be a kind of device, such as cpu or cuda, got {shown(data['device'])}.")


def _check_entry(name: str, value: Any) -> None:
    if not isinstance(value, _ENTRIES[name]) or isinstance(value, bool):
        kinds = " or ".join("null" if kind is type(None) else kind.__name__ for kind in _ENTRIES[name])
        raise TypeError(f"{name} must be {kinds}, got {shown(value)}.")
    if name in _TEXTS and not (len(str(value)) <= _TEXTS[name] and str(value).isprintable()):
        raise ValueError(f"{name} must be at most {_TEXTS[name]} printable characters, got {shown(value)}.")


def _config(data: dict[str, Any]) -> GenerationConfig:
    fields = [field.name for field in dataclasses.fields(GenerationConfig)]
    for name in data["config"]:
        if name not in fields:
            raise ValueError(f"config has no {shown(name)}; it has {', '.join(fields)}.")
    config = GenerationConfig(**data["config"])
    if config.batch_size < config.num_images:
        raise ValueError(f"it is of one batch, but batch_size is {config.batch_size} for {config.num_images} images.")
    batch = range(config.first_index, config.first_index + config.num_images)
    if data["index"] not in batch:
        raise ValueError(f"index must be one of its batch, {batch[0]} to {batch[-1]}, got {shown(data['index'])}.")
    return config


def _files(path: str, method: dict[str, Any]) -> Iterator[str]:
    """Where the method's record, or the plan's in it, has a field for a file."""
    if "plan" in method:
        try:
            plan = parse_json(method["plan"]) if isinstance(method["plan"], str) else None
        except ValueError as error:
            raise _unreadable(path, f"its plan: {_sentence(error)}") from error
        parts = [plan.get(name) for name in ("fill", "gate")] if isinstance(plan, dict) else []
        yield from (name for part in parts if isinstance(part, dict) for name in _files(path, part))
        return
    cls, fields = toca.methods().get(str(method.get("method"))), method.get("fields")
    if cls is None or not isinstance(fields, dict):
        return
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _files(path, value)
        elif name in cls.files and isinstance(value, str) and not _comes_with_toca(value):
            yield value


def _comes_with_toca(text: str) -> bool:
    """Whether a file of this package is meant, and not one that is reached from there."""
    start, found, rest = text.partition(method_options.IN_PACKAGE)
    package = os.path.realpath(method_options.PACKAGE)
    return bool(found) and not start and os.path.realpath(os.path.join(package, rest)).startswith(package + os.sep)
