"""Packages that only some metrics need."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

FROM_CHECKOUT = '".[eval]" in the checkout'
"""What `pip install` gets those of the extra `eval`: by its path, for the name may be another's in a package index."""


def needed(module: str, purpose: str, install: str) -> Any:
    """Import a module that need not be installed.

    Args:
        module (`str`): Its name.
        purpose (`str`): What needs it.
        install (`str`): What `pip install` gets it.

    Raises:
        ImportError: If it, or something that it needs, is missing; it says what to install.
    """
    try:
        # What such a package has to say about its own imports helps nobody who measures pictures.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs the module {module} ({error}): pip install {install}") from error
