"""Pipelines without their weights: what plans and their costs are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from toca.pipelines import checksums
from toca.pipelines.loading import configs_of, explain, no_transformer, resolve_source
from toca.pipelines.model_code import INDEX, pipeline_class
from toca.pipelines.on_meta import model_of, scheduler_of
from toca.pipelines.registry import find_model


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
    # What comes with toca of models of the hub are the parts that a plan needs.
    folder = configs_of(source) if entry is None or entry.embedded else entry.skeleton
    index = checksums.read_json(folder / INDEX)
    pipe_class = pipeline_class(index, folder / INDEX)
    if index.get("transformer") in (None, [None, None]):
        raise no_transformer(model, pipe_class, classes_of(index))
    try:
        transformer, scheduler = model_of(folder, "transformer"), scheduler_of(folder)
        model_of(folder, "vae")
    except Exception as error:  # a configuration of other keys or values than the class has
        raise explain(source, error) from error
    if transformer is None:
        raise no_transformer(model, pipe_class, classes_of(index))
    vae = folder / "vae" / "config.json"
    return Skeleton(
        model, pipe_class, transformer, checksums.read_json(vae) if vae.is_file() else {}, scheduler, folder
    )


def classes_of(index: Mapping[str, Any]) -> list[str]:
    """The class names of a pipeline's parts, from its index."""
    pairs = (part for part in index.values() if isinstance(part, list) and len(part) == 2)
    return [name for _, name in pairs if isinstance(name, str)]
