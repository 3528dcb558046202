"""`toca models`: those that have a name, and the families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.table import Column, Table

import toca
from toca.models import FAMILIES, FamilySpec
from toca.pipelines import registry
from toca.pipelines.borrowing import files_of
from toca.pipelines.checksums import read_json
from toca.pipelines.commands.console import output, print_json
from toca.pipelines.registry import ModelEntry


def run(families: bool, as_json: bool) -> None:
    """List the models that have a name, or the families.

    Args:
        families (`bool`): Whether the families.
        as_json (`bool`): Whether for a program.
    """
    entries = list(registry.models().values())
    embedded = [entry for entry in entries if entry.embedded]
    if as_json:
        print_json([_plain_family(spec) for spec in _families()] if families else [_plain(entry) for entry in entries])
    elif families:
        output.print(_families_table())
    else:
        if embedded:
            output.print(_embedded_table(embedded), "")
        output.print(_hub_table([entry for entry in entries if not entry.embedded]))


def _embedded_table(entries: list[ModelEntry]) -> Table:
    table = _table("Embedded", "MB", "size", "tokens")
    for entry in entries:
        folder = Path(entry.source)
        frames = "" if entry.num_frames is None else f"{entry.num_frames} x "
        size, tokens = f"{frames}{entry.width}x{entry.height}", f"{frames}{image_tokens(entry)}"
        table.add_row(entry.name, entry.about, f"{megabytes(folder):.1f}", size, tokens, *_settings(entry))
    return table


def _hub_table(entries: list[ModelEntry]) -> Table:
    table = _table("From the hub")
    for entry in entries:
        table.add_row(entry.name, f"{entry.about}\n{entry.source}", *_settings(entry))
    return table


def _families_table() -> Table:
    """The families with their transformer's class, what a cached step can compute on its own there, and the methods
    that do not run on them."""
    names = ("family", "transformer", "sites", "methods that do not run")
    columns = [Column(name, no_wrap=name in names[:2], overflow="fold") for name in names]
    table = Table(*columns, title="Families", title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for spec in _families():
        table.add_row(spec.name, spec.transformer, ", ".join(_sites(spec)), ", ".join(_refused_by(spec)))
    return table


def _families() -> list[FamilySpec]:
    return [FAMILIES[name] for name in sorted(FAMILIES)]


def _sites(spec: FamilySpec) -> list[str]:
    return list(dict.fromkeys(site.module for stack in spec.stacks for site in stack.sites))


def _refused_by(spec: FamilySpec) -> list[str]:
    return [method for method, cls in toca.methods().items() if not cls().runs_on(spec)]


def _plain_family(spec: FamilySpec) -> dict[str, Any]:
    return {
        "family": spec.name,
        "transformer": spec.transformer,
        "sites": _sites(spec),
        "methods_that_do_not_run": _refused_by(spec),
    }


def _plain(entry: ModelEntry) -> dict[str, Any]:
    names = ("name", "source", "about", "embedded", "method", "steps", "guidance_scale", "height", "width",
             "num_frames", "dtype")  # fmt: skip
    size = {"megabytes": megabytes(Path(entry.source)), "tokens": image_tokens(entry)} if entry.embedded else {}
    return {name: getattr(entry, name) for name in names} | {"megabytes": None, "tokens": None} | size


def _table(title: str, *columns: str) -> Table:
    """One space between columns, so that only the descriptions fold in eighty characters."""
    makes = Column("what it makes", overflow="fold")
    columns = (*columns, "steps", "guidance", "method")
    fixed = [Column(name, no_wrap=True) for name in columns]
    return Table(
        Column("model", no_wrap=True), makes, *fixed, title=title, title_justify="left",
        box=box.SIMPLE_HEAD, padding=0, show_edge=False,
    )  # fmt: skip


def _settings(entry: ModelEntry) -> tuple[str, str, str]:
    return str(entry.steps), f"{entry.guidance_scale:g}", entry.method


def megabytes(folder: Path) -> float:
    """The size of all files of a pipeline's folder, borrowed ones too, in millions of bytes."""
    return sum(path.stat().st_size for path in files_of(folder).values()) / 1e6


def image_tokens(entry: ModelEntry) -> int:
    """The image tokens of a picture, or of a frame, of an embedded model: values of its latents over those of a token.

    Raises:
        ValueError: if a configuration cannot be read.
    """
    transformer, vae = (read_json(Path(entry.source) / part / "config.json") for part in ("transformer", "vae"))
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    latents = vae["latent_channels"] * (entry.height // factor) * (entry.width // factor)
    # FLUX packs 2 x 2 latents into the channels of one.
    return latents // (transformer["in_channels"] * transformer["patch_size"] ** 2)
