"""CLIP through clip-anytorch: OpenAI's weights by name, or a file such as the pipelines' own emoji-clip."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toca.eval.metrics.errors import brief
from toca.eval.metrics.extractors import ModuleExtractor
from toca.eval.metrics.optional import FROM_CHECKOUT, needed
from toca.eval.metrics.pictures import as_pil, check_pictures
from toca.eval.metrics.tags import ExtractorTag, file_digest, weights_digest
from toca.eval.metrics.torchscript import refuse_torchscript

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that CLIP was trained on, as clip-anytorch's own preprocessing has them."""
BATCH = 64


@dataclass(frozen=True)
class _Loaded:
    """What `clip.load` returned, and what to call it."""

    model: Any
    prepare: Any
    name: str
    weights: str


class AnytorchClip:
    """Pictures and prompts as unit vectors of one space, prepared as OpenAI's code does.

    Args:
        source (`str` or `Path`): A name that `clip.available_models()` lists, which is downloaded once, or a file for
            `clip.load`.
        device (`torch.device`): Where to compute.
        trust_torchscript (`bool`): Whether to run a file that is a program, as those of OpenAI are.

    Raises:
        ImportError: If clip-anytorch is missing.
        ValueError: If the source is neither a name nor such a file, or is a program that is not trusted.
        OSError: If it cannot be downloaded or read.
    """

    def __init__(
        self, source: str | Path, device: torch.device | str = "cpu", trust_torchscript: bool = False
    ) -> None:
        loaded = _load(source, device, trust_torchscript)
        self._model, self._prepare, self._device = loaded.model, loaded.prepare, device
        resize = f"bicubic, shorter side to {loaded.model.visual.input_resolution}, centre crop, by PIL"
        dimension = loaded.model.text_projection.shape[1]
        self.tag = ExtractorTag(f"{loaded.name}, clip-anytorch", loaded.weights, resize, dimension)

    @torch.no_grad()
    def pictures(self, images: Tensor) -> Tensor:
        """(N, 3, height, width), uint8, to (N, dimension), float32 on the CPU, of length 1."""
        check_pictures(images)
        return F.normalize(torch.cat([self._pictures(part) for part in images.split(BATCH)]), dim=-1)

    def _pictures(self, images: Tensor) -> Tensor:
        prepared = torch.stack([self._prepare(picture) for picture in as_pil(images)])
        return self._model.encode_image(prepared.to(self._device)).cpu()

    @torch.no_grad()
    def prompts(self, texts: list[str]) -> tuple[Tensor, int]:
        """N texts to (N, dimension), float32 on the CPU, of length 1; and how many were too long and were cut."""
        tokenize, length = needed("clip", "CLIP", FROM_CHECKOUT).tokenize, self._model.context_length
        ids = tokenize(texts, context_length=length, truncate=True)
        parts = [self._model.encode_text(part.to(self._device)) for part in ids.split(BATCH)]
        cut = sum(_is_too_long(tokenize, text, length) for text in texts)
        return F.normalize(torch.cat(parts).cpu(), dim=-1), cut


def clip_pictures(
    source: str | Path, device: torch.device | str = "cpu", trust_torchscript: bool = False
) -> ModuleExtractor:
    """The picture tower as an extractor of features for distributions: unit vectors of whole pictures, not cropped.

    With `pipelines/emoji-clip/emoji-clip.pt` its tag is that of the pipelines' `reference.safetensors`.

    Args:
        source (`str` or `Path`): As for `AnytorchClip`.
        device (`torch.device`): Where to compute.
        trust_torchscript (`bool`): As for `AnytorchClip`.

    Raises:
        ImportError: If clip-anytorch is missing.
        ValueError: If the source is neither a name nor such a file, or is a program that is not trusted.
        OSError: If it cannot be downloaded or read.
    """
    loaded = _load(source, device, trust_torchscript)
    size, name = loaded.model.visual.input_resolution, f"{loaded.name}, picture tower"
    return ModuleExtractor(_PictureTower(loaded.model), name, size, MEAN, STD, loaded.weights, device)


class _PictureTower(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.model.encode_image(images), dim=-1)


def _load(source: str | Path, device: torch.device | str, trusted: bool) -> _Loaded:
    """In float32 everywhere: on a GPU `clip.load` gives half precision, and scores would depend on the device."""
    clip, path = needed("clip", "CLIP", FROM_CHECKOUT), Path(source)
    if path.is_file():
        model, prepare = _read(clip, path, device, trusted)
        return _Loaded(model.float(), prepare, path.stem, file_digest(path))
    if source not in clip.available_models():
        known = ", ".join(clip.available_models())
        raise ValueError(f"{source} is neither a file nor a CLIP of OpenAI's: give a file's path, or one of {known}.")
    model, prepare = clip.load(str(source), device=device)
    return _Loaded(model.float(), prepare, f"CLIP {source}", weights_digest(model))


def _read(clip: Any, path: Path, device: torch.device | str, trusted: bool) -> tuple[Any, Any]:
    refuse_torchscript(path, trusted)
    try:
        if not trusted:
            # clip-anytorch tries a program first, and a plain unpickler after it, which runs any code too.
            torch.load(path, map_location="cpu", weights_only=True)
        return clip.load(str(path), device=device)
    except (RuntimeError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is no file of CLIP weights that clip-anytorch can load: {brief(error)}.") from error


def _is_too_long(tokenize: Any, text: str, length: int) -> bool:
    """Only by refusing does the tokenizer say so."""
    try:
        tokenize([text], context_length=length)
    except RuntimeError:
        return True
    return False
