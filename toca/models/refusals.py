"""What to say of a pipeline, or a module, that has no transformer of a known family."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from torch import nn

from .outside import AUTOREGRESSIVE, OUTSIDE
from .specification import specification_of

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
    has = f"{cls} " if model is target else f"{name} has {_article(cls)} {cls}, which "
    why = _reason(model)
    return ValueError(f"{has}{why}; {where}." if why else _unknown(has, model, list(known), where))


def _reason(model: nn.Module) -> str:
    """Why a model cannot be cached, to follow its name; empty where nobody knows a reason."""
    said = next((OUTSIDE[cls.__name__] for cls in type(model).__mro__ if cls.__name__ in OUTSIDE), None)
    if said is not None:
        return said
    return AUTOREGRESSIVE if hasattr(model, "prepare_inputs_for_generation") else ""


def _unknown(has: str, model: nn.Module, known: list[str], where: str) -> str:
    """What to say of a model that nobody has said anything of: with the specification that would make it known, where
    it has blocks to read it from."""
    near = difflib.get_close_matches(type(model).__name__, known, n=1, cutoff=0.9)
    nearest = f" ({near[0]} is the nearest that is)" if near else ""
    register = "toca.register(toca.FamilySpec(...)) makes one known"
    said = f"{has}is of no family that is known{nearest}: {register}; {where}."
    written = specification_of(model)
    if written is None:
        return said
    return f"{said} As far as it can be read from its modules (`toca.check_family` tells what is wrong):\n\n{written}"


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
