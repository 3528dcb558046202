"""Docstrings as the reference's parser reads them: types are written in backticks, which it would show."""

from __future__ import annotations

import re
from typing import Any

import griffe

TYPE = re.compile(r"^( +\w[\w, ]* )\((.*)\):", re.MULTILINE)


class Types(griffe.Extension):
    """Takes the backticks from the types of arguments, and from what is returned."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = TYPE.sub(_plain, obj.docstring.value)


def _plain(found: re.Match[str]) -> str:
    return f"{found[1]}({found[2].replace('`', '')}):"
