"""The parts of a pipeline that its configurations alone make: on the meta device, without weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch

from toca.checks import cleaned, shown
from toca.pipelines import checksums
from toca.pipelines.model_code import INDEX, class_of

_LEGACY = "Transformer2DModel"
_TODAY = {"ada_norm_zero": "DiTTransformer2DModel", "ada_norm_single": "PixArtTransformer2DModel"}


def model_of(folder: Path, part: str) -> Any | None:
    """The model in one part of a pipeline's folder; `None` if the folder has none.

    Raises:
        ValueError: if the configuration is not one of the class that the index names; it says which.
    """
    cls, path = model_class(folder, part), folder / part / "config.json"
    if cls is None:
        return None
    with torch.device("meta"):
        return _made(cls, path)


def model_class(folder: Path, part: str) -> Any | None:
    """The class of the same, which the index and the configuration agree about. Raises as `model_of`."""
    path, named = folder / part / "config.json", checksums.read_json(folder / INDEX).get(part)
    if named in (None, [None, None]) or not path.is_file():
        return None
    (library, name), config = named, checksums.read_json(path)
    own = config.get("_class_name", name)
    # Folders older than diffusers 0.30 call DiT and PixArt by one name, here or there.
    if _LEGACY in (name, own):
        name = own = _TODAY.get(config.get("norm_type", ""), name)
    if own != name:
        raise ValueError(f"{part}/config.json is of a {shown(own)}, and {INDEX} names a {shown(name)}.")
    return _class(library, name, diffusers.ModelMixin)


def scheduler_of(folder: Path) -> Any | None:
    """The scheduler of a pipeline's folder; `None` if the folder has none. Raises as `model_of`."""
    path = folder / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        return None
    own = ["diffusers", checksums.read_json(path).get("_class_name")]
    library, name = checksums.read_json(folder / INDEX).get("scheduler", own)
    return _made(_class(library, name, diffusers.SchedulerMixin), path)


def _class(library: str, name: str, base: type) -> Any:
    found = class_of(library, name)
    if found is None or not issubclass(found, base):
        raise ValueError(f"The class {shown(name)} is no {base.__name__} of diffusers {diffusers.__version__}.")
    return found


def _made(cls: Any, path: Path) -> Any:
    try:
        return cls.from_config(checksums.read_json(path))
    except Exception as error:  # whatever keys or values make a class raise
        reason = cleaned(" ".join(str(error).split()) or type(error).__name__, 200).rstrip(".")
        what = f"{path.parent.name}/{path.name}"
        raise ValueError(f"{what} is no configuration of {cls.__name__}: {reason}.") from error
