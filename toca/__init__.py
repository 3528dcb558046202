"""toca makes diffusion transformers fast: token-wise feature caching on stock diffusers pipelines, in one line."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import moved as moved
from . import registry as registry
from .files.versions import VERSION

if TYPE_CHECKING:
    from .methods import *  # noqa: F403
    from .public import *  # noqa: F403

__version__ = VERSION


def _load() -> ModuleType:
    """Imports the library, and with it all that registers something. Torch and diffusers take seconds, for which
    whoever asks the command line for help does not wait."""
    return importlib.import_module("toca.public")


def __getattr__(name: str) -> Any:
    """Loads the library for the first of its names. What asks for a dunder wants to know what this module is."""
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    public = _load()
    found = {public_name: getattr(public, public_name) for public_name in public.__all__}
    globals().update(found, __all__=public.__all__)
    if name not in globals():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_load().__all__})


class _Package(ModuleType):
    """`toca.methods` is a function, though a folder has this name too, whose import does not take its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "methods" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
registry.on_first_use(_load)
