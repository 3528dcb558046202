"""What cannot be cached here, and what to say of it: by class where the reason is known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from torch import nn

_UNET = (
    "is a convolutional U-Net and not a transformer over one sequence of tokens; DeepCache (arXiv 2312.00858) is a "
    "cache for U-Nets"
)
_PART_OF_UNET = "is a part of U-Nets, which runs once in each of their levels; what is cached here is a whole denoiser"
_DEPRECATED = "is deprecated in diffusers"
_AUTOREGRESSIVE = (
    "is autoregressive: it makes one token after another, with its own cache of keys and values, and has no denoising "
    "steps between which features could be reused"
)

OUTSIDE: dict[str, str] = {
    **dict.fromkeys(
        (
            *("UNet1DModel", "UNet2DModel", "UNet2DConditionModel", "UNet3DConditionModel", "UNetMotionModel"),
            *("UNetSpatioTemporalConditionModel", "UNetFlatConditionModel", "I2VGenXLUNet", "Kandinsky3UNet"),
            *("StableCascadeUNet", "AudioLDM2UNet2DConditionModel", "DreamLiteUNetModel"),
        ),
        _UNET,
    ),
    **dict.fromkeys(
        (
            *("Transformer2DModel", "DualTransformer2DModel", "TransformerTemporalModel"),
            *("TransformerSpatioTemporalModel", "DreamLiteTransformer2DModel"),
        ),
        _PART_OF_UNET,
    ),
    **dict.fromkeys(
        ("UTransformer2DModel", "UniDiffuserModel", "WuerstchenPrior", "WuerstchenDiffNeXt", "T5FilmDecoder"),
        _DEPRECATED,
    ),
    "UVit2DModel": "fills in masked tokens, other ones in each step, so that no token has a feature to go on from",
    "PriorTransformer": "makes an embedding from 81 tokens: there is nothing to gain",
    "MiniMaxMusic3RVQDepthDecoder": _AUTOREGRESSIVE,
    "RFD4ProteinaTransformer": "makes proteins, over pairs of residues, and runs its stack several times a step",
}
"""Reasons by the class's name, each to follow it."""

DENOISERS = ("transformer", "transformer_2", "unet", "prior", "decoder")
"""Names that pipelines give the model which is called once a step."""


def refusal(target: Any, known: Iterable[str]) -> ValueError:
    """The error for a pipeline or a module without a transformer that can be cached.

    Args:
        target (`DiffusionPipeline` or `nn.Module`): What was given.
        known (`Iterable[str]`): Class names of the transformers that can be.
    """
    name = type(target).__name__
    model = target if isinstance(target, nn.Module) else _denoiser(target)
    where = "`toca models --families` lists the transformers that a cache works on"
    if model is None:
        return ValueError(f"{name} has no transformer, so there is nothing to cache; {where}.")
    cls = type(model).__name__
    has = "" if model is target else f"{name} has {_article(cls)} {cls}, which "
    return ValueError(f"{has or f'{cls} '}{_reason(model, list(known))}; {where}.")


def _reason(model: nn.Module, known: list[str]) -> str:
    """Why a model cannot be cached, to follow its name."""
    said = next((OUTSIDE[cls.__name__] for cls in type(model).__mro__ if cls.__name__ in OUTSIDE), None)
    if said is not None:
        return f"{said}"
    if hasattr(model, "prepare_inputs_for_generation"):
        return _AUTOREGRESSIVE
    near = difflib.get_close_matches(type(model).__name__, known, n=1, cutoff=0.8)
    nearest = f" ({near[0]} is the nearest that is)" if near else ""
    return f"is of no family that is known{nearest}: toca.register(toca.FamilySpec(...)) makes one known"


def _denoiser(pipeline: Any) -> nn.Module | None:
    """The model of a pipeline that denoises: by its name in it, else the largest."""
    components = getattr(pipeline, "components", {})
    modules = {name: part for name, part in components.items() if isinstance(part, nn.Module)}
    named = [modules[name] for name in DENOISERS if name in modules]
    by_size = sorted(modules.values(), key=lambda part: sum(p.numel() for p in part.parameters()), reverse=True)
    found = next(iter([*named, *by_size]), None)
    return getattr(found, "_orig_mod", found)


def _article(name: str) -> str:
    return "an" if name[0] in "AEIO" else "a"
