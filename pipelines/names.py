"""The names that a shell completes, read from the files that say them: to import the methods takes seconds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import toca

_METHODS = Path(toca.__file__).parent / "methods"
_OTHER_KINDS = {"Gate", "Fill", "Selection"}
"""What else stands in a method's file, and has a name."""


def method_names() -> list[str]:
    """Every method of this package by its short name."""
    return sorted({name for file in _METHODS.glob("*.py") for name in _named_classes(file)})


def preset_names() -> list[str]:
    """Every preset of this package, those of files beside the embedded models too."""
    files = [*(_METHODS / "published").glob("*.py"), _METHODS / "embedded.py"]
    said = (re.findall(r'^ *"([\w-]+/[\w.-]+)": ', file.read_text(encoding="utf-8"), re.MULTILINE) for file in files)
    return sorted({name for names in said for name in names} | set(_beside_models()))


def _named_classes(file: Path) -> Iterator[str]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and _OTHER_KINDS.isdisjoint(map(ast.unparse, node.bases)):
            yield from (str(ast.literal_eval(said.value)) for said in node.body if _is_name(said))  # type: ignore


def _is_name(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "name" and node.value is not None


def _beside_models() -> Iterator[str]:
    """`tuned/emoji` for `emoji/calibration/tuned.json`, and `learned/emoji-gentle` for `learned-gentle.json` there."""
    for file in Path(__file__).parent.glob("*/calibration/*.json"):
        method, dash, rest = file.stem.partition("-")
        yield f"{method}/{file.parts[-3]}{dash}{rest}"
