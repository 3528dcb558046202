"""Pipelines without their weights: what plans and their costs are made from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch

from toca.checks import shown
from toca.pipelines import checksums
from toca.pipelines.loading import configs_of, explain, no_transformer, resolve_source
from toca.pipelines.model_code import INDEX, pipeline_class
from toca.pipelines.registry import find_model

_LEGACY_TRANSFORMERS = {"ada_norm_zero": "DiTTransformer2DModel", "ada_norm_single": "PixArtTransformer2DModel"}


@dataclass(frozen=True)
class Skeleton:
    """What is known of a pipeline before its weights are loaded.

    Args:
        model (`str`): a name, folder or hub id.
        pipeline_class (`type`): its class.
        transformer (`nn.Module`): on the meta device, or a loaded one.
        vae (`Mapping[str, Any]`): the VAE's configuration; empty without one.
        scheduler: a diffusers scheduler, or `None`.
        folder (`Path` or `None`): where its files are.
    """

    model: str
    pipeline_class: Any
    transformer: torch.nn.Module
    vae: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Any = None
    folder: Path | None = None

    @classmethod
    def of(cls, pipe: Any, model: str) -> Skeleton:
        """The same of a pipeline that is loaded."""
        vae = getattr(pipe, "vae", None)
        folder = Path(resolve_source(model))
        return cls(model, type(pipe), pipe.transformer, vae.config if vae else {}, pipe.scheduler, folder)

    def tokenizer(self) -> Any | None:
        """The tokenizer of a pipeline with one text encoder, if its files are here."""
        place = None if self.folder is None else self.folder / "tokenizer"
        if place is None or not (place / "tokenizer_config.json").is_file():
            return None
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, ImportError, TypeError):
            # Of a model on the hub the configurations are here, and not the vocabulary.
            return None


def load_skeleton(model: str) -> Skeleton:
    """A pipeline without its weights, its transformer on the meta device.

    The configurations of named models come with toca; of another hub id only JSON files are fetched. Raises as `load`,
    and `ValueError` if there is no transformer.
    """
    source, entry = resolve_source(model), find_model(model)
    folder = configs_of(source if entry is None else str(entry.skeleton))
    index = checksums.read_json(folder / INDEX)
    pipe_class = pipeline_class(index, folder / INDEX)
    if not (folder / "transformer" / "config.json").is_file():
        raise no_transformer(model, pipe_class)
    try:
        with torch.device("meta"):
            config = checksums.read_json(folder / "transformer" / "config.json")
            transformer = _model_class(config).from_config(config)
        scheduler = _scheduler(index, folder)
    except Exception as error:  # a configuration of other keys or values than the class has
        raise explain(source, error) from error
    vae = folder / "vae" / "config.json"
    return Skeleton(
        model, pipe_class, transformer, checksums.read_json(vae) if vae.is_file() else {}, scheduler, folder
    )


def _model_class(config: dict[str, Any]) -> Any:
    """The class that a configuration names. Hub folders older than diffusers 0.30 call DiT and PixArt by one name."""
    name = config.get("_class_name", "")
    if name == "Transformer2DModel":
        name = _LEGACY_TRANSFORMERS.get(config.get("norm_type", ""), name)
    return _class_of_diffusers(name, diffusers.ModelMixin)


def _scheduler(index: Mapping[str, Any], folder: Path) -> Any | None:
    path = folder / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        return None
    named = index["scheduler"][1] if "scheduler" in index else checksums.read_json(path).get("_class_name", "")
    return _class_of_diffusers(named, diffusers.SchedulerMixin).from_config(checksums.read_json(path))


def _class_of_diffusers(name: str, base: type) -> Any:
    found = getattr(diffusers, name, None)
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise ValueError(f"The class {shown(name)} is not in diffusers {diffusers.__version__}.")
    return found
