"""Tiny pipelines saved as the folders that users have."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers import TINY_PIPELINES

CLASS_NAMES = {"1": "goldfish, Carassius auratus", "207": "golden retriever"}


def save_tiny(family: str, folder: Path) -> Path:
    """Save the tiny pipeline of a family; DiT with class names, as on the hub."""
    TINY_PIPELINES[family]().save_pretrained(folder)
    if family == "dit":
        index = folder / "model_index.json"
        index.write_text(json.dumps({**json.loads(index.read_text()), "id2label": CLASS_NAMES}))
    return folder
