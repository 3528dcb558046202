"""The models that have a name, and what suits them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
EMBEDDED = _HERE / "emoji"
DEFAULT_MODEL = "emoji"


@dataclass(frozen=True)
class ModelEntry:
    """A named model with the settings its authors, or its training, suggest.

    Args:
        name (`str`): what `--model` says.
        source (`str`): a folder or a hub id.
        about (`str`): one line for people.
        method (`str`): the preset made for this kind of model.
        steps (`int`): denoising steps.
        guidance_scale (`float`): classifier-free guidance.
        height, width (`int`): pixels of what it makes.
        num_frames (`int` or `None`): frames of a video; `None` for images.
        dtype (`str`): the precision of the weights on an accelerator; on a CPU it is always float32.
        call (`Mapping[str, Any]`): further arguments of the pipeline's call.
        borrows (`Mapping[str, str]`): parts of an embedded model whose weights are stored with another one, as those
            of its part of the same name -> that model's name.
    """

    name: str
    source: str
    about: str
    method: str
    steps: int
    guidance_scale: float
    height: int
    width: int
    num_frames: int | None = None
    dtype: str = "float16"
    call: Mapping[str, Any] = field(default_factory=dict)
    borrows: Mapping[str, str] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        """Whether it comes with toca."""
        return Path(self.source).is_absolute()

    @property
    def skeleton(self) -> Path:
        """The folder with its configurations, which comes with toca for models of the hub too."""
        return Path(self.source) if self.embedded else _HERE / "skeletons" / self.name

    @property
    def offered(self) -> bool:
        """Whether this installation can offer it: an embedded model may be left out of one."""
        return not self.embedded or (Path(self.source) / "model_index.json").is_file()


_ENTRIES = (
    ModelEntry("emoji", str(EMBEDDED), "906 emoji", "toca/pixart", 20, 4.0, 64, 64, dtype="float32"),
    # The pipeline's own size is 512 pixels, and its own length of a prompt 512 tokens.
    ModelEntry("emoji-flux", str(_HERE / "emoji-flux"), "148 emoji", "toca/flux", 20, 0.0, 64, 64,
               dtype="float32", call={"max_sequence_length": 16}, borrows={"vae": "emoji"}),
    ModelEntry("fashion", str(_HERE / "fashion"), "clothes of ten classes", "toca/dit-ddim50", 20, 2.0, 32, 32,
               dtype="float32"),
    ModelEntry("emoji-video", str(_HERE / "emoji-video"), "moving emoji", "toca/opensora", 20, 2.0,
               64, 64, 8, dtype="float32", borrows={"vae": "emoji"}),
    ModelEntry("dit-xl-2-256", "facebook/DiT-XL-2-256", "ImageNet classes, 256x256", "toca/dit-ddim50", 50, 4.0,
               256, 256),
    ModelEntry("pixart-alpha-256", "PixArt-alpha/PixArt-XL-2-256x256", "image from a prompt, 256x256",
               "toca/pixart", 20, 4.5, 256, 256),
    ModelEntry("pixart-alpha-512", "PixArt-alpha/PixArt-XL-2-512x512", "image from a prompt, 512x512",
               "toca/pixart", 20, 4.5, 512, 512),
    ModelEntry("flux-dev", "black-forest-labs/FLUX.1-dev", "image from a prompt, 1024x1024", "toca/flux", 50, 3.5,
               1024, 1024, dtype="bfloat16"),
    ModelEntry("flux-schnell", "black-forest-labs/FLUX.1-schnell", "image from a prompt in four steps",
               "toca/flux", 4, 0.0, 1024, 1024, dtype="bfloat16"),
    ModelEntry("latte-1", "maxin-cn/Latte-1", "video from a prompt, 16 frames of 512x512", "toca/opensora", 50, 7.5,
               512, 512, 16),
)  # fmt: skip


def models() -> dict[str, ModelEntry]:
    """Every named model that this installation offers."""
    return {entry.name: entry for entry in _ENTRIES if entry.offered}


def find_model(model: str) -> ModelEntry | None:
    """The entry, offered or not, whose name or source is `model`, or `None`."""
    return next((entry for entry in _ENTRIES if model == entry.name or _is_source(model, entry)), None)


def embedded_in(folder: str | Path) -> ModelEntry | None:
    """The embedded model whose folder it is, by whatever path, or `None`."""
    return find_model(os.path.realpath(folder))  # an absolute path, which is no model's name


def _is_source(model: str, entry: ModelEntry) -> bool:
    """The folder of an embedded model is the same one by whatever path."""
    if not entry.embedded:
        return model == entry.source
    # What no path can be, is none: pathlib raises for it.
    return "\0" not in model and os.path.realpath(os.path.expanduser(model)) == os.path.realpath(entry.source)
