"""The plan of each method as `toca plan` shows and draws it, on the first model where it has one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

import toca
from toca.methods.presets import presets
from toca.pipelines.cli import app

MODELS = ("emoji", "emoji-flux", "pixart-alpha-512", "flux-dev")
"""From few blocks, which make a small picture, to the many that some methods need."""


@dataclass(frozen=True)
class Shown:
    """A command and what came of it.

    Args:
        command (`str`): Without what draws the picture.
        printed (`str`): What it printed.
        picture (`Path`): What it drew.
    """

    command: str
    printed: str
    picture: Path


def shown(name: str, folder: Path) -> Shown:
    """The plan of a method, or of one of its presets, drawn into a folder.

    Raises:
        ValueError: If there is none on any of `MODELS`; with the reasons.
    """
    picture, reasons = folder / f"{name}.png", []
    for words in _candidates(name, folder):
        result = CliRunner().invoke(app, [*words, "--draw", str(picture)])
        if result.exit_code == 0:
            printed = result.stdout.partition("Saved ")[0].strip()
            return Shown(shlex.join(["toca", *words]).replace(f"{folder}/", ""), printed, picture)
        reasons.append(result.stderr)
    raise ValueError(f"No plan of {name} to show: {' '.join(reasons)}")


def _candidates(name: str, folder: Path) -> Iterator[list[str]]:
    cls = toca.methods()[name]
    own = [preset for preset, value in presets().items() if type(value) is cls]
    for model in MODELS:
        for setting in (name, *own):
            yield ["plan", "--model", model, "--method", setting]
    yield ["plan", "--model", MODELS[-1], "--method", name, "--steps", "50"]
    if "calibration" in cls.files:
        file = folder / f"{name}.json"
        made = ["calibrate", "--method", name, "--model", MODELS[0], "--prompt", "a red apple", "--output", str(file)]
        CliRunner().invoke(app, made)
        yield ["plan", "--model", MODELS[0], "--method", name, "--set", f"calibration={file}"]
