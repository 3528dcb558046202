"""Who asks for help, the version or the rest of a word does not wait for libraries: told by what is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import toca
from toca.pipelines.names import method_names, preset_names

HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL", "matplotlib", "torchmetrics", "safetensors")
PROGRAM = """
import atexit, sys
atexit.register(lambda: print("IMPORTED", *sys.modules))
sys.argv = ["toca", *{words!r}]
from toca.pipelines.cli import main
main()
"""


def started(words: str, **environment: str) -> tuple[str, set[str]]:
    """What a process prints, and the packages that it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(words=words.split())],
        capture_output=True, text=True, env={**os.environ, "COLUMNS": "200", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed, _, imported = done.stdout.partition("IMPORTED")
    return printed, {name.partition(".")[0] for name in imported.split()}


@pytest.mark.parametrize(
    "words, said",
    [
        ("--help", "generate"),
        ("--version", f"toca {toca.__version__}"),
        ("generate --help", "--prompts-file"),
        ("eval run --help", "--dry-run"),
    ],
)
def test_help_imports_nothing_heavy(words, said):
    printed, imported = started(words)
    assert said in printed and imported.isdisjoint(HEAVY), imported & set(HEAVY)


@pytest.mark.parametrize(
    "words, offered",
    [
        ("toca generate --method toca/f", {"toca/flux"}),
        ("toca plan --model emoji-", {"emoji-flux", "emoji-video"}),
        ("toca methods lemica/flux-2", {"lemica/flux-20", "lemica/flux-26"}),
        ("toca eval run --variant toca/f", {"toca/flux"}),
        ("toca eval run smoke --model emoji-f", {"emoji-flux"}),
        ("toca which flux-", {"flux-dev", "flux-schnell"}),
        ("toca tune --method teac", {"teacache", *(name for name in preset_names() if name.startswith("teacache/"))}),
    ],
)
def test_a_shell_is_offered_names_and_imports_nothing_heavy(words, offered):
    count = str(len(words.split()) - 1)
    printed, imported = started("", _TOCA_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count)
    assert set(printed.split()) == offered and imported.isdisjoint(HEAVY), imported & set(HEAVY)


def test_the_names_that_are_offered_are_those_that_there_are():
    assert method_names() == sorted(name for name, cls in toca.methods().items() if cls.__module__.startswith("toca."))
    assert preset_names() == sorted(toca.presets())


def test_a_submodule_does_not_take_the_place_of_a_function():
    program = "import toca.methods, toca; print(toca.methods()['fora'].__name__, toca.FORA().interval)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["FORA", "3"]


def test_a_name_that_is_looked_up_first_finds_all_that_is_registered():
    program = "from toca.registry import named; print(named('fora').interval, named('toca/flux').interval)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "4"]
