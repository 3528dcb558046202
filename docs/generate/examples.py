"""The page of examples: what each file does, and its code."""

from __future__ import annotations

import ast
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def files() -> list[Path]:
    """The examples of one file each, and the servers."""
    return sorted(EXAMPLES.glob("*.py")) + sorted(EXAMPLES.glob("servers/*.py"))


def anchor(path: Path) -> str:
    """Of an example's heading."""
    return path.relative_to(EXAMPLES).with_suffix("").as_posix().replace("/", "-").replace("_", "-")


def page() -> str:
    """All of them."""
    parts = [(EXAMPLES / "README.md").read_text(encoding="utf-8").strip()]
    for path in files():
        code = path.read_text(encoding="utf-8").strip()
        if code and path.name != "__init__.py":
            about = (ast.get_docstring(ast.parse(code)) or "").strip()
            heading = f"## {path.relative_to(EXAMPLES).as_posix()} {{ #{anchor(path)} }}"
            parts.append(f"{heading}\n\n{about}\n\n```python\n{code}\n```")
    return "\n\n".join(parts) + "\n"
