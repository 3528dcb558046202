"""What a PNG says about how it was made, for people and for `toca generate --from`."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from toca.pipelines import method_options
from toca.pipelines.config import GenerationConfig
from toca.pipelines.generate import Sample

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
    """

    model: str
    config: GenerationConfig
    index: int
    method: Any | None
    dtype: str
    device: str

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
        "Version": f"toca {version('toca')}",
    }
    line = ", ".join(f"{name}: {value}" for name, value in pairs.items() if value is not None)
    return f"{config.prompt}\n{line}"


def read_recipe(path: str | Path) -> Recipe:
    """The recipe inside a PNG that `toca generate` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image, has no recipe, or one that this version cannot read.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with Image.open(path) as image:
            text = getattr(image, "text", {}).get(JSON_CHUNK)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} could not be read as a picture.") from error
    if text is None:
        raise ValueError(f"{path} does not say how it was made: it has no {JSON_CHUNK!r} chunk.")
    return _parse(path, text)


def _parse(path: str | Path, text: str) -> Recipe:
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}, and this version reads {FORMAT}")
        method = None if data["method"] is None else method_options.from_record(data["method"])
        config = GenerationConfig(**data["config"])
        return Recipe(data["model"], config, data["index"], method, data["dtype"], data["device"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"The recipe in {path} cannot be read: {error}") from error
