"""Model families: what is where in a diffusers transformer, and which family a model belongs to."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..registry import registered
from . import checking as checking
from . import families as families
from .blocks import all_blocks, every_module, walk_blocks
from .capabilities import CAPABILITIES, Capability, capabilities_of
from .describe import describe
from .layout import Layout
from .recognition import recognised
from .refusals import refusal
from .shape import CallKey, CallShape
from .site import Site
from .spec import MODULES, BlockSpec, FamilySpec, SiteSpec

FAMILIES: dict[str, FamilySpec] = registered("family")
"""All families by name, a third party's too."""

__all__ = [
    "CAPABILITIES",
    "FAMILIES",
    "MODULES",
    "BlockSpec",
    "CallKey",
    "CallShape",
    "Capability",
    "FamilySpec",
    "Layout",
    "Site",
    "SiteSpec",
    "all_blocks",
    "capabilities_of",
    "describe",
    "every_module",
    "family_of",
    "known_family",
    "no_family",
    "walk_blocks",
]


def family_of(transformer: nn.Module) -> FamilySpec | None:
    """The family of a transformer by its class or the nearest class that it derives from, else by the blocks that it
    is built of; `None` where neither is known."""
    by_class = {spec.transformer: spec for spec in FAMILIES.values()}
    named = next((by_class[cls.__name__] for cls in type(transformer).__mro__ if cls.__name__ in by_class), None)
    return named or recognised(transformer, FAMILIES.values())


def known_family(transformer: nn.Module, pipeline: Any = None) -> FamilySpec:
    """The same of a transformer that must have one. Raises `ValueError` if it has none; it says why, and of which
    pipeline it is where that is told."""
    spec = family_of(transformer)
    if spec is None:
        raise no_family(transformer if pipeline is None else pipeline)
    return spec


def no_family(target: Any) -> ValueError:
    """The error for a pipeline or a module that has no transformer of a family: it names the class that was found."""
    return refusal(target, (spec.transformer for spec in FAMILIES.values()))
