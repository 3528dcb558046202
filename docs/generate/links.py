"""Links of pages that also stand on their own: what they lead to lies in the repository, and here in the site."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from docs.generate import examples

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?P<picture>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "examples/README.md": "examples.md"}
"""Pages of the site that are files outside of docs/."""


def of_the_site(text: str, folder: str, page: str, add_picture: Callable[[Path], str]) -> str:
    """The text with its links as the site has them; one that leads to nothing in the site is its text alone.

    Args:
        text (`str`): Markdown.
        folder (`str`): Of the file in the repository, relative to its root: what links are relative to.
        page (`str`): Of the site.
        add_picture (`Callable`): Makes a picture from outside docs/ a file of the site, and says its place.
    """

    def moved(link: re.Match[str]) -> str:
        target, _, anchor = link["target"].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return link[0]
        path = PurePosixPath(os.path.normpath(PurePosixPath(folder, target)))
        place = _place(path, add_picture)
        if place is None:
            return link["text"]
        place, _, own = place.partition("#")
        relative = os.path.relpath(place, PurePosixPath(page).parent)
        return f"{link['picture']}[{link['text']}]({relative}{'#' if anchor or own else ''}{anchor or own})"

    fenced = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(moved, part) for part in fenced)


def _place(path: PurePosixPath, add_picture: Callable[[Path], str]) -> str | None:
    """Where a file of the repository is in the site; `None` for nowhere."""
    if path.as_posix() in PAGES:
        return PAGES[path.as_posix()]
    if path.parts[0] == "docs":
        return path.relative_to("docs").as_posix()
    file = ROOT / path
    if path.suffix == ".png" and file.is_file():
        return add_picture(file)
    if path.parts[0] == "examples":
        return f"examples.md#{examples.anchor(file)}" if file in examples.files() else "examples.md"
    return None
