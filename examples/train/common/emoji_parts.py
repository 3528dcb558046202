"""What the emoji pipelines have in common: pictures, autoencoder, and a text encoder that knows their words."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import clip
import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from . import contrast, emoji_data, teach, text, vae
from .loop import Stage, train


@dataclass
class Pictures:
    """The pictures that a pipeline learns, one row each.

    Args:
        images (`np.ndarray`): uint8, (count, 64, 64, 3).
        wording (`list[tuple[Entry, str]]`): each one's entry and style.
    """

    images: np.ndarray
    wording: list[tuple[emoji_data.Entry, str]]

    @classmethod
    def of(cls, data: emoji_data.Emoji, in_every_style: Collection[str]) -> "Pictures":
        """The drawings that are not held out: some emoji in every style, all others in fluent only."""
        styled = np.array([entry.label in in_every_style for entry in data.entries])[:, None]
        fluent = np.array([style == emoji_data.DEFAULT_STYLE for style in emoji_data.STYLES])
        places = np.argwhere(data.present & ~data.held_out() & (styled | fluent))
        styles = list(emoji_data.STYLES)
        return cls(data.images[places[:, 0], places[:, 1]], [(data.entries[i], styles[j]) for i, j in places])


def said(name: str, style: str) -> str:
    """A name and a style as a prompt; a prompt without a style means fluent."""
    return name if style == emoji_data.DEFAULT_STYLE else f"{name}, {style} style"


def lists(data: emoji_data.Emoji, pictures: Pictures, in_every_style: Collection[str]) -> dict[str, list[str]]:
    """What the pipeline was trained on (`prompts`), and every name of what it can be asked for (`names`)."""
    prompts = {said(entry.label, style) for entry, style in pictures.wording}
    names = {name for entry in data.entries for name in (entry.label, *entry.names)}
    styled = [entry for entry in data.entries if entry.label in in_every_style]
    names |= {
        f"{name}, {style} style" for entry in styled for name in (entry.label, *entry.names)
        for style in emoji_data.STYLES
    }  # fmt: skip
    return {"prompts": sorted(prompts), "names": sorted(names)}


def clip_vectors(path: Path, images: np.ndarray) -> torch.Tensor:
    """emoji-clip's unit vectors of pictures."""
    model, _ = clip.load(str(path), device="cpu")
    return contrast.embed_images(model, images)


def video_vectors(path: Path, videos: torch.Tensor) -> torch.Tensor:
    """The mean of the unit vectors of a video's frames, (videos, frames, 3, 64, 64) in -1..1, as unit vectors."""
    vectors = clip_vectors(path, vae.to_images(videos.flatten(0, 1))).unflatten(0, videos.shape[:2]).mean(1)
    return torch.nn.functional.normalize(vectors, dim=-1)


def autoencoder(source: Path, **config: object) -> AutoencoderKL:
    """The emoji autoencoder, which `train_vae.py` made; `config` sets what a pipeline wants of it."""
    vae = AutoencoderKL.from_pretrained(source, torch_dtype=torch.float32).eval()
    vae.register_to_config(**config)
    return vae


def taught(
    encoder,
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    captions: torch.Tensor,
    vectors: torch.Tensor,
    options,
    machine,
    *,
    masked: bool,
    anchor: float = 0.3,
) -> tuple[torch.nn.Module, dict]:
    """A text encoder after its lessons beside emoji-clip, frozen, and what they came to."""
    objective = teach.Objective(encoder, captions, vectors, masked, anchor).to(machine.device)
    steps = 2 if options.smoke else options.text_steps
    stage = Stage(f"{options.out.name}-{name}", steps, lr=1e-3, seed=options.seed)
    result = train(objective, stage, machine, options.checkpoints / f"{options.out.name}-{name}.pt")
    text.quieten(encoder, tokenizer, captions)
    return encoder.eval().requires_grad_(False), result


def dictionary(
    data: emoji_data.Emoji, width: int, layers: int = 1, extra: Collection[str] = (), silent: Collection[str] = ()
) -> tuple[PreTrainedTokenizerFast, T5EncoderModel]:
    """The tokenizer and the T5 encoder of these emoji, before any lesson."""
    words, forms = text.vocabulary(data.entries, extra)
    return text.build_tokenizer(words), text.build_encoder(words, forms, width, layers, silent)
