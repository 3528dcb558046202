"""What a shell offers for a word that somebody begins to type; nothing heavy is imported for it."""

from __future__ import annotations

from toca.pipelines.names import method_names, preset_names
from toca.pipelines.prompt_lists import built_in
from toca.pipelines.registry import models


def model_beginning(incomplete: str) -> list[str]:
    """Named models; folders are completed by the shell itself."""
    return [name for name in models() if name.startswith(incomplete)]


def list_beginning(incomplete: str) -> list[str]:
    """Lists of prompts that come with toca."""
    return [name for name in built_in() if name.startswith(incomplete)]


def method_beginning(incomplete: str) -> list[str]:
    """Methods, and once a letter is typed their presets too: all of both would fill the screen."""
    names = method_names() + (preset_names() if incomplete else [])
    return [name for name in names if name.startswith(incomplete)]
