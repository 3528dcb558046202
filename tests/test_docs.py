"""The documentation's pages: what they link to is there, what they show runs, and what is made of the code is whole.

`make docs` builds the site itself; none of this needs mkdocs.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.main import get_command

import toca
from docs.generate import command_line, examples, links, measured, methods, reference
from docs.generate.plans import Shown, shown
from tests.readme_commands import ROOT, split
from toca.methods.presets import presets
from toca.pipelines import load
from toca.pipelines.cli import app
from toca.pipelines.registry import find_model
from toca.pipelines.skeleton import load_skeleton

DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
OWN = ("index", "quick-start", "which-method", "choosing", "axes", "coming-from", "compile-and-offload", "evaluation")
"""Those that are only the site's, and tested nowhere else."""
MADE = {"methods/index.md", "command-line.md", "reference.md", "examples.md", "contributing.md"} | {
    f"methods/{name}.{kind}" for name in toca.methods() for kind in ("md", "png")
}
STEPS = 4
HERE = {
    'FluxPipeline.from_pretrained("black-forest-labs/FLUX.1-dev").to("cuda")': 'load("emoji-flux")',
    "from diffusers import FluxPipeline": "from toca.pipelines import load",
    "num_inference_steps=50": f"num_inference_steps={STEPS}",
}
"""What a test has in place of a model to download, a GPU, and as many steps."""


@functools.cache
def loaded(name: str) -> Any:
    """An embedded pipeline, once for all pages: each leaves it without a cache."""
    return load(name, device="cpu")


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_or_to_pages_that_are_made(page: str) -> None:
    found = [link["target"].partition("#")[0] for link in links.LINK.finditer(text_of(page))]
    lost = [link for link in found if link and "://" not in link and not (DOCS / link).exists() and link not in MADE]
    assert not lost


def test_the_navigation_has_every_page_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"[\w-]+\.md|methods/$", text.partition("\nnav:")[2], re.MULTILINE)
    made = [page for page in MADE if not page.startswith("methods/")]
    assert sorted(named) == sorted([*PAGES, *made, "methods/"])
    assert yaml.safe_load(text.partition("\nmarkdown_extensions")[0])["theme"]["font"] is False


@pytest.mark.parametrize("page", OWN)
def test_code_runs_in_its_order(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("toca.pipelines.load", loaded)
    names: dict[str, Any] = {"__name__": page, "toca": toca}
    if page == "coming-from":
        names |= {"pipe": loaded("emoji-flux"), "method": "fora"}
    for code in blocks(f"{page}.md", "python"):
        for there, here in HERE.items():
            code = code.replace(there, here)
        exec(compile(code, f"{page}.md", "exec", dont_inherit=True), names)
    with toca.cached(loaded("emoji-flux"), "fora"):
        pass


def test_what_is_not_run_is_python() -> None:
    for page in OWN:
        for code in blocks(f"{page}.md", "py"):
            ast.parse(code)


LINES = re.findall(r"`((?:toca|dataclasses)\.[^`]+\))`", text_of("coming-from.md"))


@pytest.fixture(scope="module")
def flux() -> Any:
    return load_skeleton("flux-dev").transformer


@pytest.mark.parametrize("line", dict.fromkeys(LINES))
def test_a_line_for_who_comes_from_elsewhere_is_right(line: str, flux: Any) -> None:
    """It is made, and has a plan on FLUX.1-dev or, if it needs a file or another model, says so."""
    if line.startswith(("toca.enable_cache", "toca.summary", "toca.reset")) or "calibration=" in line:
        function, *_ = ast.walk(ast.parse(line, mode="eval").body)
        assert isinstance(function, ast.Call)
        return
    method = eval(line, {"toca": toca, "dataclasses": dataclasses})
    assert isinstance(method, toca.Method)
    try:
        assert "F" in method.plan(flux, 50).steps
    except ValueError as reason:
        assert re.search("calibration|cross-attention|guidance|asks for a model", str(reason)), reason


def commands() -> list[tuple[str, list[str]]]:
    return [
        (page, words)
        for page in OWN
        for block in blocks(f"{page}.md", "bash")
        for line in block.replace("\\\n", " ").splitlines()
        for words in split(line)
        if words[0] == "toca"
    ]


@pytest.mark.parametrize("page, words", commands(), ids=lambda value: value if isinstance(value, str) else None)
def test_a_command_is_one_that_there_is(page: str, words: list[str]) -> None:
    """Its options are known, and the methods and models that it names."""
    command, context, rest = get_command(app), None, words[1:]
    while hasattr(command, "commands"):
        context = typer.Context(command, parent=context, info_name="toca")
        name, command, rest = command.resolve_command(context, rest)
    parameters = command.make_context(words[1], list(rest), parent=context, resilient_parsing=False).params
    method, model = parameters.get("method"), parameters.get("model")
    for each in [method] if isinstance(method, str) else method or []:
        assert each in toca.methods() or each in presets(), shlex.join(words)
    for each in [model] if isinstance(model, str) else model or []:
        assert find_model(each) is not None or "/" in each, shlex.join(words)


@pytest.mark.parametrize("name", toca.methods())
def test_a_method_has_a_page(name: str) -> None:
    text = methods.page(name, Shown("toca plan", "F", Path(f"{name}.png")))
    cls = toca.methods()[name]
    assert text.startswith(f"# {cls.__name__}\n") and f"![the plan of {name}]({name}.png)" in text
    rows = re.findall(r"^\| `(\w+)` \| `.*` \| (.*) \|$", text.partition("## Presets")[0], re.MULTILINE)
    assert [row for row, _ in rows] == [field.name for field in dataclasses.fields(cls) if field.init]
    assert all(told for _, told in rows)


def test_methods_are_grouped_and_measured() -> None:
    grouped = methods.grouped()
    assert sorted(name for names in grouped.values() for name in names) == sorted(toca.methods())
    assert all(grouped.values())
    assert "| emoji | `fora:interval=2` |" in measured.table("fora") and measured.table("none") == ""


@pytest.mark.parametrize("name", ["fora", "smoothcache"])
def test_its_plan_is_what_the_command_shows(name: str, tmp_path: Path) -> None:
    made = shown(name, tmp_path)
    assert made.picture.is_file() and made.command.startswith("toca plan --model emoji --method ")
    assert "One sample: " in made.printed and "Saved" not in made.printed


def test_the_reference_has_every_public_name_and_the_command_line_every_command() -> None:
    names = [name for found in reference.headings().values() for name in found]
    assert sorted(names) == sorted(toca.__all__)
    page = command_line.page()
    assert {"## `toca generate`", "## `toca tune`", "### `toca eval run`"} <= set(page.splitlines())
    assert "..." not in page.partition("## `toca generate`")[0].partition("**Commands**")[2]


def test_links_are_moved_to_where_the_site_has_them() -> None:
    added: list[Path] = []

    def add_picture(path: Path) -> str:
        added.append(path)
        return "pictures/plan.png"

    text = (
        "[a](../README.md) ![b](../examples/pictures/plan.png) [`c`](../tests/floors.py) [d](design.md#words) "
        "[e](../examples/flux.py) [f](https://x.y)\n```py\n[g](../README.md)\n```"
    )
    moved = links.of_the_site(text, "docs", "methods/toca.md", add_picture)
    assert moved == (
        "[a](../index.md) ![b](../pictures/plan.png) `c` [d](../design.md#words) [e](../examples.md#flux) "
        "[f](https://x.y)\n```py\n[g](../README.md)\n```"
    )
    assert added == [ROOT / "examples" / "pictures" / "plan.png"]


def test_the_page_of_examples_has_each() -> None:
    page = examples.page()
    assert all(f"{{ #{examples.anchor(path)} }}" in page for path in examples.files() if path.name != "__init__.py")
