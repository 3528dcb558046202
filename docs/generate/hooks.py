"""What mkdocs calls: pages that are made are added, and links are set right."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from docs.generate import command_line, examples, links, methods, reference
from docs.generate.plans import shown

FROM_OUTSIDE = {"contributing.md": links.ROOT / "CONTRIBUTING.md"}
FOLDERS = {"contributing.md": "", "examples.md": "examples"}
"""What the links of pages are relative to that are not files of docs/."""


def on_config(config: Any) -> Any:
    """The methods in the navigation, group by group."""
    groups = [{heading: [f"methods/{name}.md" for name in names]} for heading, names in methods.grouped().items()]
    for entry in config.nav:
        if entry.get("Methods") == "methods/":
            entry["Methods"] = ["methods/index.md", *groups]
    return config


def on_files(files: Any, config: Any) -> Any:
    """The pages that are made."""

    def add(place: str, **what: str) -> None:
        files.append(File.generated(config, place, **what))

    for place, path in FROM_OUTSIDE.items():
        add(place, content=path.read_text(encoding="utf-8"))
    add("examples.md", content=examples.page())
    add("command-line.md", content=command_line.page())
    add("reference.md", content=reference.page())
    add("methods/index.md", content=methods.index())
    folder = Path(tempfile.mkdtemp(prefix="toca-plans-"))
    for name in methods.toca.methods():
        plan = shown(name, folder)
        add(f"methods/{name}.md", content=methods.page(name, plan))
        add(f"methods/{name}.png", abs_src_path=str(plan.picture))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links of pages that can be read in the repository as well."""
    place = page.file.src_uri

    def add_picture(path: Path) -> str:
        name = "pictures/" + path.relative_to(links.ROOT).as_posix().replace("/", "-")
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, abs_src_path=str(path)))
        return name

    folder = FOLDERS.get(place, f"docs/{Path(place).parent.as_posix()}")
    return links.of_the_site(markdown, folder, place, add_picture)
