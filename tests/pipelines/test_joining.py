"""Commands join the command line by a file, or by an entry point of another package."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest
import typer
from typer.testing import CliRunner

from toca.pipelines import commands
from toca.pipelines.cli import app
from toca.pipelines.commands import joining
from toca.registry import registered


@pytest.fixture
def join(monkeypatch, tmp_path):
    """Have an entry point for a command that a module of this text defines as `joined`."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(joining, "_entry_points", lambda group: [point for point in points if point.group == group])
    monkeypatch.syspath_prepend(tmp_path)

    def add(name: str, text: str, group: str = "toca.commands") -> None:
        module = f"joined_{len(points)}_{tmp_path.name}"
        (tmp_path / f"{module}.py").write_text(text)
        points.append(EntryPoint(name, f"{module}:joined" if group == "toca.commands" else module, group))

    return add


FUNCTION = "import typer\ndef joined(times: int = typer.Option(1)):\n    '''Greets.'''\n    print('hello ' * times)\n"
GROUP = """
import typer
joined = typer.Typer(help="Counts.", no_args_is_help=True)
@joined.command()
def up(): print("1 2 3")
@joined.command()
def down(): raise ValueError("There is nothing below one.")
"""


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_a_function_and_a_group_of_another_package(join):
    join("greet", FUNCTION)
    join("count", GROUP)
    assert run("greet", "--times", "2").output.split() == ["hello", "hello"]
    assert run("count", "up").output == "1 2 3\n"
    listed = run("--help").output
    assert "Greets." in listed and "Counts." in listed and "Make" not in listed.split("Greets.")[1]


def test_their_mistakes_end_in_one_sentence_as_ours_do(join):
    join("count", GROUP)
    done = run("count", "down")
    assert done.exit_code == 1 and done.stderr.strip() == "Error: There is nothing below one."
    done = run("cuont")
    assert done.exit_code == 2 and "No such command 'cuont'" in done.stderr and "count" in done.stderr


@pytest.mark.parametrize(
    "text, said",
    [
        ("import no_such_module_at_all", "ModuleNotFoundError"),
        ("raise RuntimeError('a line\\nand \\x1b[31manother')", "a line and"),
        ("joined = 3", "neither a function nor a typer.Typer"),
        ("", "AttributeError"),
    ],
)
def test_one_that_is_broken_is_a_line_and_the_others_go_on(join, text, said):
    join("broken", text)
    join("greet", FUNCTION)
    done = run("greet")
    assert done.exit_code == 0 and done.stdout.split() == ["hello"]
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("Warning: `toca broken` of ") and said in line and "\x1b" not in line


def test_ours_cannot_be_replaced(join):
    join("methods", FUNCTION)
    assert "toca" in run("methods").output
    done = run("--help")
    assert "List the methods" in done.stdout and "there is another of this name" in done.stderr


def test_who_runs_one_of_ours_does_not_wait_for_theirs(join):
    join("broken", "raise RuntimeError('was loaded')")
    assert run("env").stderr.find("was loaded") == -1
    assert run("methods", "fora").stderr == ""


def test_a_file_in_the_folder_is_a_command(monkeypatch, tmp_path):
    (tmp_path / "sing.py").write_text(
        "from toca.pipelines.commands.joining import command\n"
        "@command(place=25)\ndef sing(): '''Sings.'''; print('la')\n"
    )
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.setattr(joining, "_PLACES", dict(joining._PLACES))
    names = [run.__name__ for run in joining.our_commands()]
    sys.modules.pop("toca.pipelines.commands.sing")
    assert names == ["generate", "demo", "methods", "sing", "models", "which", "plan", "tune", "calibrate", "env"]


def test_commands_stand_in_their_order():
    listed = typer.main.get_command(app).list_commands(None)
    assert listed[:9] == ["generate", "demo", "methods", "models", "which", "plan", "tune", "calibrate", "env"]
    assert "eval" in listed


def test_an_old_installation_in_the_checkout_hides_nothing(monkeypatch, tmp_path):
    stale = tmp_path / "toca.egg-info"
    stale.mkdir()
    (stale / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: toca\nVersion: 0.0\n")
    (stale / "entry_points.txt").write_text("[console_scripts]\ntoca = toca.pipelines.cli:main\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [point.name for point in joining._entry_points("toca.commands")].count("eval") == 1


METHOD = '''
from dataclasses import dataclass
from typing import ClassVar
import toca

@toca.register
@dataclass(frozen=True)
class Seldom(toca.Method):
    """Compute every fifth step."""

    name: ClassVar[str] = "seldom"

    def computes(self, site, step, sampling):
        return step % 5 == 0
'''


def test_a_method_of_another_package_is_known_on_the_command_line(join):
    join("seldom", METHOD, "toca.plugins")
    try:
        assert "Compute every fifth step." in run("methods", "seldom").output
        assert "FrrrrFrrrr" in run("plan", "emoji", "--method", "seldom", "--steps", "10").output
    finally:
        registered("method").pop("seldom", None)


def test_a_plugin_that_is_broken_is_a_line_and_all_else_goes_on(join):
    join("broken", "raise RuntimeError('was loaded')", "toca.plugins")
    done = run("methods", "fora")
    assert done.exit_code == 0 and "fora" in done.stdout
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("Warning: `joined_0") and "is left out: RuntimeError: was loaded" in line
