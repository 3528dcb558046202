"""The pages in docs/, and their pictures, show the house as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from PIL import Image

from . import floors
from .floors import ROOT, View, evaluation, house

PAGES = ("README.md", "CONTRIBUTING.md", "docs/design.md", "docs/sharing.md", "docs/wrappers.md")
PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name, look", [("house", house), ("evaluation", evaluation)], ids=["house", "evaluation"])
def test_the_picture_shows_the_rooms_and_the_arrows_between_them(name: str, look: Callable[[], View]) -> None:
    """A file or an import that is new in a room needs no new picture, as long as all that is drawn is there."""
    view = look()
    drawn = json.loads(Image.open(ROOT / "docs" / f"{name}.png").info["Description"])
    again = f"docs/{name}.png is not up to date: run `python docs/draw_floors.py`."
    assert list(drawn["files"]) == list(view.files), again
    assert {(source, target) for source, target, _ in drawn["imports"]} == set(view.counts), again
    gone = {room: set(files) - set(view.files[room]) for room, files in drawn["files"].items()}
    assert not any(gone.values()), again


def test_the_page_says_what_each_room_is_for() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    said = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert said == {room for floor in floors.FLOORS for room in floor}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))]
    lost = [link for link in links if link and "://" not in link and not (path.parent / link).exists()]
    assert not lost, f"{page} links to {lost}"
    assert any("://" not in link for link in links)
