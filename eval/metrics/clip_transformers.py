"""CLIP through transformers: a `CLIPModel` of the hub, or of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from toca.eval.metrics.errors import brief
from toca.eval.metrics.pictures import as_pil, check_pictures
from toca.eval.metrics.tags import ExtractorTag, weights_digest

BATCH = 64


class TransformersClip:
    """Pictures and prompts as unit vectors of one space, prepared as the model's folder says.

    Args:
        source (`str` or `Path`): A hub id such as "openai/clip-vit-large-patch14", or a folder with model, tokenizer
            and image processor.
        device (`torch.device`): Where to compute, in float32.

    Raises:
        OSError: If it cannot be found or read.
    """

    def __init__(self, source: str | Path, device: torch.device | str = "cpu") -> None:
        model, self._tokenizer, self._processor = _load(source)
        self._model, self._device = model.float().eval().to(device), device
        resize = f"{type(self._processor).__name__} as its folder sets it"
        name = f"{Path(source).name if Path(source).is_dir() else source}, transformers"
        self.tag = ExtractorTag(name, weights_digest(model), resize, model.config.projection_dim)

    @torch.no_grad()
    def pictures(self, images: Tensor) -> Tensor:
        """(N, 3, height, width), uint8, to (N, dimension), float32 on the CPU, of length 1."""
        check_pictures(images)
        return F.normalize(torch.cat([self._pictures(part) for part in images.split(BATCH)]), dim=-1)

    def _pictures(self, images: Tensor) -> Tensor:
        pixels = self._processor(images=as_pil(images), return_tensors="pt")["pixel_values"]
        return _vectors(self._model.get_image_features(pixels.to(self._device)))

    @torch.no_grad()
    def prompts(self, texts: list[str]) -> tuple[Tensor, int]:
        """N texts to (N, dimension), float32 on the CPU, of length 1; and how many were too long and were cut."""
        limit = self._model.config.text_config.max_position_embeddings
        cut = sum(len(ids) > limit for ids in self._tokenizer(texts)["input_ids"])
        parts = [self._texts(texts[start : start + BATCH], limit) for start in range(0, len(texts), BATCH)]
        return F.normalize(torch.cat(parts), dim=-1), cut

    def _texts(self, texts: list[str], limit: int) -> Tensor:
        # Always to the full length, so that a prompt's vector does not depend on the others by its padding.
        options = {"padding": "max_length", "truncation": True, "max_length": limit, "return_tensors": "pt"}
        tokens = self._tokenizer(texts, **options).to(self._device)
        return _vectors(self._model.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"]))


def _load(source: str | Path) -> tuple[Any, Any, Any]:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    try:
        model: Any = CLIPModel.from_pretrained(source)
        return model, AutoTokenizer.from_pretrained(source), AutoImageProcessor.from_pretrained(source)
    except OSError as error:
        parts = "a CLIPModel with tokenizer and image processor"
        raise OSError(f"{source} could not be loaded as {parts}: {brief(error)}.") from error


def _vectors(features: Any) -> Tensor:
    """transformers 5 returns them inside an output, transformers 4 as they are."""
    return getattr(features, "pooler_output", features).float().cpu()
