"""Published architectures as data: what a model is made of, how large it is, and how it is usually called.

The files beside this one hold facts: class names of diffusers and transformers with the values of their published
configurations, and the size, steps, guidance and text length that the authors or the pipeline suggest. With them a
real architecture is built with random weights, and nothing is downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toca.models import FAMILIES

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Component:
    """One model of a pipeline.

    Args:
        class_name (`str`): Its class in diffusers or transformers.
        source (`str`): Hub id of the model whose configuration this is; for people, nothing is fetched.
        parameters (`int`): Number of parameters as published.
        config (`Mapping[str, Any]`): Arguments of the class.
        scaled (`Mapping[str, int]`): Values of `config` that a scale makes smaller, and what each is a multiple of.
        heads (`str`): The value of `config` that `with_heads` follows; empty where nothing does.
        with_heads (`Mapping[str, int]`): Values in proportion to the heads (widths, which keep the size of a head),
            and what each is a multiple of.
        sized (`str`): The value of `config` that is the side of the latents, of a model that is made for one size;
            empty for others.
        latents, space, time (`int`): Of a VAE: channels of the latents, pixels and frames of one latent.
        tiling (`bool`): Of a VAE: decode in tiles, as the pipeline's documentation does.
    """

    class_name: str
    source: str
    parameters: int
    config: Mapping[str, Any]
    scaled: Mapping[str, int]
    heads: str = ""
    with_heads: Mapping[str, int] = field(default_factory=dict)
    sized: str = ""
    latents: int = 0
    space: int = 1
    time: int = 1
    tiling: bool = False

    def config_at(self, scale: float) -> dict[str, Any]:
        """The configuration with `scale` times the layers and `scale` times the width, at least one unit of each.

        The size of an attention head stays as it is, so parameters and FLOPs fall faster than `scale`.
        """
        config = dict(self.config)
        for key, unit in self.scaled.items():
            config[key] = _shrunk(self.config[key], scale, unit)
        for key, unit in self.with_heads.items():
            config[key] = _shrunk(self.config[key], config[self.heads] / self.config[self.heads], unit)
        return config


def _shrunk(value: Any, factor: float, unit: int) -> Any:
    """A multiple of `unit` near `factor * value`; untouched at a factor of 1."""
    if factor == 1:
        return value
    if isinstance(value, list):
        return [_shrunk(entry, factor, unit) for entry in value]
    return max(1, round(factor * value / unit)) * unit


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder, and the length of the text that it reads, in tokens."""

    component: Component
    tokens: int


@dataclass(frozen=True)
class Setting:
    """How a model is called.

    Args:
        height, width (`int`): Pixels.
        frames (`int`): Frames of a video; 1 for a picture.
        steps (`int`): Denoising steps.
        guidance_scale (`float`): Of guidance, by two calls or by the model itself.
        text_tokens (`int`): Text tokens that the denoiser sees; 0 where it sees a class.
    """

    height: int
    width: int
    frames: int
    steps: int
    guidance_scale: float
    text_tokens: int


@dataclass(frozen=True)
class Surroundings:
    """The stock pipeline of a model.

    Args:
        class_name (`str`): Its class in diffusers.
        scheduler (`str`): The scheduler's.
        scheduler_config (`Mapping[str, Any]`): Arguments of that, as published.
    """

    class_name: str
    scheduler: str
    scheduler_config: Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """A published model.

    Args:
        name (`str`): Its file's name.
        about (`str`): One line for people.
        transformer, vae (`Component`): The denoiser and the VAE.
        text_encoders (`tuple[TextEncoder, ...]`): In the order in which the pipeline runs them.
        blocks (`tuple[str, ...]`): Block classes, for regional compilation.
        guidance (`str`): `"batched"`: both branches in one call; `"sequential"`: two calls a step; `"embedded"`: one
            branch, which is told the scale.
        pixels_per_token (`int`): Height and width of one token of the denoiser.
        defaults (`Setting`): How it is usually called.
        pipeline (`Surroundings`, *optional*): Its pipeline, where it can be put into one with random weights.
    """

    name: str
    about: str
    transformer: Component
    vae: Component
    text_encoders: tuple[TextEncoder, ...]
    blocks: tuple[str, ...]
    guidance: str
    pixels_per_token: int
    defaults: Setting
    pipeline: Surroundings | None = None

    @property
    def cacheable(self) -> bool:
        """Whether toca knows the family of the transformer."""
        return any(spec.transformer == self.transformer.class_name for spec in FAMILIES.values())

    @property
    def components(self) -> dict[str, Component]:
        """All models by the names that they have in the pipeline."""
        encoders = {
            "text_encoder" if i == 0 else f"text_encoder_{i + 1}": encoder.component
            for i, encoder in enumerate(self.text_encoders)
        }
        return {**encoders, "transformer": self.transformer, "vae": self.vae}


def names() -> list[str]:
    """All architectures, in alphabetical order."""
    return sorted(path.stem for path in _HERE.glob("*.json"))


def architecture(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        ValueError: If there is none; it names those that there are.
    """
    if name not in names():
        raise ValueError(f"There is no architecture {name!r}; there are {', '.join(names())}.")
    data = _read(_HERE / f"{name}.json")
    encoders = tuple(TextEncoder(_component(entry["component"]), entry["tokens"]) for entry in data["text_encoders"])
    return Architecture(
        name=name,
        about=data["about"],
        transformer=_parse(data["transformer"]),
        vae=_component(data["vae"]),
        text_encoders=encoders,
        blocks=tuple(data["blocks"]),
        guidance=data["guidance"],
        pixels_per_token=data["pixels_per_token"],
        defaults=Setting(**data["defaults"]),
        pipeline=_surroundings(data["pipeline"]) if "pipeline" in data else None,
    )


def _surroundings(data: Mapping[str, Any]) -> Surroundings:
    return Surroundings(data["class"], data["scheduler"]["class"], data["scheduler"]["config"])


def _component(name: str) -> Component:
    return _parse(_read(_HERE / "components" / f"{name}.json"))


def _parse(data: dict[str, Any]) -> Component:
    return Component(class_name=data.pop("class"), **data)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
