"""What users are told, once."""

from __future__ import annotations

import logging

logger = logging.getLogger("toca.engine")


class Warnings:
    """Warnings of one transformer: each key is told once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, key: str, message: str) -> None:
        """Tell the user something, once for each key."""
        if key not in self._told:
            self._told.add(key)
            logger.warning(message)
