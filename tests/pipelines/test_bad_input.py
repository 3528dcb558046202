"""Every option of every command x odd values: an answer, or one sentence; no traceback, and no control character.

Nothing is loaded: a model that is asked for is a folder that is broken, or the skeleton of one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.pipelines.folders import save_tiny
from toca.pipelines import loading
from toca.pipelines.cli import app

TOP = typer.main.get_command(app)
COMMANDS = ("generate", "plan", "calibrate", "methods", "models")
STUDY = ("eval", "run")
ODD = (
    "",
    " ",
    "nan",
    "-inf",
    "1e999",
    "2.5",
    "-1",
    "9" * 400,
    "x" * 5000,
    "[bold]x[/]",
    "\x1b[2J\x07",
    "é\u202e\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "../../../etc/passwd",
    "/dev/zero",
    "/dev/null",
    "=",
    "a=b",
    "interval=nan",
    "interval=" + "[" * 3000,
    "interval=&a [*a]",
    "{" * 2000,
    "--",
    "%s%n{0}",
    "$\\frac{$",
)


FEW = 6
"""Each option is given every sixth of them, the next one the sixth after; all are behind the marker."""


def options_of(*command: str) -> list[Any]:
    found: Any = TOP
    for name in command:
        found = found.get_command(None, name)
    return [parameter for parameter in found.params if parameter.name != "help"]


CASES = [((name,), option) for name in COMMANDS for option in options_of(name)]
CASES += [(STUDY, option) for option in options_of(*STUDY)]


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory) -> Path:
    """A model without its weights: a plan can be made of it, and no picture."""
    folder = save_tiny("pixart", tmp_path_factory.mktemp("models") / "pixart")
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    return folder


def arguments(command: tuple[str, ...], option: Any, value: str, skeleton: Path) -> list[str]:
    flag = option.opts[-1]
    given = [value] if not flag.startswith("-") else [flag] if getattr(option, "is_flag", False) else [flag, value]
    needed = {
        "generate": ["a red owl"],
        "calibrate": ["--prompt", "a red owl"],
        "eval": ["smoke", "--output", "study"],
    }.get(command[0], [])
    if not flag.startswith("-") and command[0] != "calibrate":
        needed = needed[1:]
    model = [] if flag == "--model" or command[0] in ("methods", "models") else ["--model", str(skeleton)]
    return [*command, *needed, *model, *given]


IDS = [f"{' '.join(command)} {option.opts[-1]}" for command, option in CASES]


@pytest.fixture
def nowhere(tmp_path, monkeypatch) -> None:
    """An empty folder, without a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(loading, "_best_device", lambda: "cpu")


@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_odd_values(number, skeleton, nowhere) -> None:
    check(*CASES[number], ODD[number % FEW :: FEW], skeleton)


@pytest.mark.matrix
@pytest.mark.parametrize(("command", "option"), CASES, ids=IDS)
def test_every_odd_value(command, option, skeleton, nowhere) -> None:
    check(command, option, ODD, skeleton)


def check(command: tuple[str, ...], option: Any, values: Sequence[str], skeleton: Path) -> None:
    for value in values[:1] if getattr(option, "is_flag", False) else values:
        if "\0" in value or (command == STUDY and option.name == "output" and os.sep in value):
            continue
        result = CliRunner().invoke(app, arguments(command, option, value, skeleton))
        if not isinstance(result.exception, (SystemExit, type(None))):
            raise AssertionError(f"{value[:40]!r}") from result.exception
        assert "Traceback" not in result.output, value[:40]
        odd = sorted({c for c in result.output if not (c.isprintable() or c == "\n")})
        assert not odd, (value[:40], result.output[-600:])
        if result.exit_code:
            last = result.stderr.rstrip("\n").splitlines()[-1]
            assert last.startswith("Error: ") and len(last) < 2000, (value[:40], last[:300])
