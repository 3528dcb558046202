"""What a cache has left on a model, also where others who hooked it keep what they found: a short look, for models
whose hooks hold half of torch."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

from toca.hooks.classes import keepers


def left_behind(model: nn.Module) -> list[str]:
    """Where there is something of ours: classes, attributes, methods, native hooks."""
    return [
        f"{path}.{name}"
        for path, module in model.named_modules()
        for keeper in keepers(module)
        for name, value in {"__class__": type(module), **vars(keeper)}.items()
        if str(name).startswith("_toca") or _is_ours(value)
    ]


def _is_ours(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_ours, value.values()))
    if isinstance(value, functools.partial):
        return any(map(_is_ours, (value.func, *value.args)))
    owner = getattr(value, "__self__", None)
    homes = (type(value).__module__, getattr(value, "__module__", None), type(owner).__module__)
    return any(str(home).startswith("toca.") for home in homes)
