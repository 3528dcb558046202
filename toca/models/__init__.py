"""Model families: what is where in a diffusers transformer, and which family a model belongs to."""

from __future__ import annotations

from torch import nn

from .families.dit import DIT
from .families.flux import FLUX
from .families.latte import LATTE
from .families.pixart import PIXART
from .layout import Layout, Site, describe, walk_blocks
from .spec import MODULES, CallShape, FamilySpec

FAMILIES: dict[str, FamilySpec] = {spec.name: spec for spec in (DIT, PIXART, FLUX, LATTE)}
"""All families by name. A new one is a file beside these and an entry here."""

__all__ = ["FAMILIES", "MODULES", "CallShape", "FamilySpec", "Layout", "Site", "describe", "family_of", "walk_blocks"]


def family_of(transformer: nn.Module) -> FamilySpec | None:
    """The family of a transformer by its class or a class it derives from, or `None`."""
    names = {cls.__name__ for cls in type(transformer).__mro__}
    return next((spec for spec in FAMILIES.values() if spec.transformer in names), None)
