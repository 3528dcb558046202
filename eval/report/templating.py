"""The templates of the pages, and their look."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


@cache
def template(name: str) -> Template:
    """One of the templates: whatever is put into it is text, and no markup."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(name)


def style() -> Markup:
    """What goes into a page's `<style>`."""
    return _text("style.css")


def script() -> Markup:
    """What goes into a page's `<script>`."""
    return _text("script.js")


def _text(name: str) -> Markup:
    """One of our own files, which goes into the page as it stands."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
