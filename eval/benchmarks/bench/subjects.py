"""The pipeline of a case: an embedded one with its prompts, or an architecture with random weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from toca.eval.architectures import Architecture, Setting, architecture
from toca.eval.architectures.making import compile_all
from toca.eval.architectures.stock import latent_of, stock_pipeline
from toca.eval.benchmarks.bench.cases import WHOLE, Case, Divided
from toca.eval.config.settings import Settings
from toca.eval.samples.prompts import Prompt
from toca.eval.samples.subject import Subject, load_subject
from toca.eval.store.sealed import digest
from toca.eval.store.store import Store
from toca.models import family_of, walk_blocks
from toca.pipelines.config import GenerationConfig
from toca.pipelines.loading import pick_device, pick_dtype


@dataclass(frozen=True)
class Wanted:
    """How the cases are run; `None` leaves it to the case.

    Args:
        scale (`float`, *optional*): Divides width, blocks and tokens of architectures; each case's own on a CPU, and 1
            elsewhere, unless told.
        batch_size (`int`, *optional*): Samples of one call.
        steps (`int`, *optional*): Denoising steps of the full run.
        device, dtype (`str`, *optional*): As `toca generate` has them.
        compiled (`bool`): Whether the blocks are compiled, each without a break in its graph.
    """

    scale: float | None = None
    batch_size: int | None = None
    steps: int | None = None
    device: str | None = None
    dtype: str | None = None
    compiled: bool = False

    def check(self) -> None:
        """Raises `ValueError` for what cannot be."""
        if self.scale is not None and not self.scale >= 1:
            raise ValueError(f"--scale divides, so it must be at least 1, got {self.scale:g}: 1 is the whole model.")
        pick_dtype(self.dtype, "", pick_device(self.device))


@dataclass(frozen=True)
class Model:
    """A pipeline, and what is said of it: its size, and by what it was divided."""

    subject: Subject
    about: str
    batch: int


def model_of(case: Case, wanted: Wanted, store: Store) -> Model:
    """Load or build the pipeline of a case.

    Raises:
        ValueError, OSError: If it cannot be; one sentence.
    """
    model = _model(case, wanted, store)
    return _compiled(model) if wanted.compiled else model


def _compiled(model: Model) -> Model:
    subject = model.subject
    transformer = subject.pipe.transformer
    spec = family_of(transformer)
    assert spec is not None, "the models of the bench are of known families"
    compile_all(transformer, sorted({type(found[3]).__name__ for found in walk_blocks(transformer, spec)}))
    # It computes in another order, so that its results are others.
    subject = replace(subject, weights=f"{subject.weights}, compiled")
    return replace(model, subject=subject, about=f"{model.about}, blocks compiled")


def _model(case: Case, wanted: Wanted, store: Store) -> Model:
    batch = wanted.batch_size or case.batch
    if case.divided is None:
        settings = Settings(steps=wanted.steps, device=wanted.device, dtype=wanted.dtype)
        subject = load_subject(case.name, settings, store)
        return Model(subject, f"`{case.name}`, which comes with toca, {subject.steps} steps, {_calls(batch)}", batch)
    device = pick_device(wanted.device)
    divided = _divided(case.divided, wanted, device)
    found = architecture(case.name)
    setting = smaller(found, divided)
    dtype = pick_dtype(wanted.dtype, case.name, device)
    stock = stock_pipeline(found, 1 / divided.model, setting, batch, device, dtype)
    config = GenerationConfig(num_inference_steps=setting.steps, guidance_scale=setting.guidance_scale)
    prompts = [Prompt(i, f"random {i}") for i in range(batch)]
    weights = f"random {digest([case.name, stock.pipe.transformer.config, asdict(setting), batch])}"
    subject = Subject(case.name, stock.pipe, config, prompts, weights, str(dtype)[6:], stock.inputs)
    return Model(subject, f"{said(found, divided, setting)}, {_calls(batch)}", batch)


def _calls(batch: int) -> str:
    return "one sample a call" if batch == 1 else f"{batch} samples a call"


def _divided(own: Divided, wanted: Wanted, device: torch.device) -> Divided:
    """The case's own on a CPU, or what was asked for."""
    divided = own if device.type == "cpu" else WHOLE
    if wanted.scale is not None:
        divided = replace(divided, model=wanted.scale, tokens=wanted.scale)
        divided = WHOLE if wanted.scale == 1 else divided
    return divided if wanted.steps is None else replace(divided, steps=wanted.steps)


def smaller(model: Architecture, divided: Divided) -> Setting:
    """How a model is called with so many times fewer tokens: sides, and frames of a video, are divided alike."""
    full, unit, time = model.defaults, model.pixels_per_token, model.vae.time
    axes = 2 if full.frames == 1 else 3
    factor = divided.tokens ** (1 / axes)
    height, width = (max(1, round(side / unit / factor)) * unit for side in (full.height, full.width))
    frames = full.frames if axes == 2 else (max(1, round(((full.frames - 1) / time + 1) / factor)) - 1) * time + 1
    text = math.ceil(full.text_tokens / divided.tokens)
    return Setting(height, width, frames, divided.steps or full.steps, full.guidance_scale, text)


def said(model: Architecture, divided: Divided, setting: Setting) -> str:
    """What the model is, and what was divided by what."""
    full, small = model.transformer.config, model.transformer.config_at(1 / divided.model)
    parts = [
        _part("width", _width(full), _width(small), divided.model),
        _part("blocks", _blocks(full), _blocks(small), divided.model),
        _part("tokens", _tokens(model, model.defaults), _tokens(model, setting), divided.tokens),
        _part("text tokens", model.defaults.text_tokens, setting.text_tokens, divided.tokens),
        _part("steps", model.defaults.steps, setting.steps, model.defaults.steps / setting.steps),
    ]
    size = "whole" if (divided.model, divided.tokens) == (1, 1) else "made smaller"
    return f"{model.about} with random weights, {size}: {', '.join(filter(None, parts))}"


def _part(what: str, full: int, small: int, factor: float) -> str:
    if not full:
        return ""
    return f"{what} {full}" if full == small else f"{what} {full} / {factor:g} = {small}"


def _width(config: Mapping[str, Any]) -> int:
    return config["num_attention_heads"] * config["attention_head_dim"]


def _blocks(config: Mapping[str, Any]) -> int:
    return config["num_layers"] + config.get("num_single_layers", 0)


def _tokens(model: Architecture, setting: Setting) -> int:
    frames = 1 if model.vae.time == 1 else latent_of(model, setting)[1]
    return frames * (setting.height // model.pixels_per_token) * (setting.width // model.pixels_per_token)
