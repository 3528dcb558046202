"""Imports point down, some arrows are never drawn, and nothing hangs in a circle."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import floors
from .floors import Arrow


@pytest.fixture(scope="module")
def drawn() -> list[Arrow]:
    return floors.arrows()


def test_every_file_stands_in_a_room() -> None:
    lost = [path for path in floors.files_of(floors.ROOT).values() if floors.room_of(path) is None]
    assert not lost, f"{lost} stand in no room of tests/floors.py; at the top of toca/ stands what is named there."


def test_the_rooms_of_the_evaluation_are_those_that_it_lists() -> None:
    folders = {path.parent.name for path in (floors.ROOT / "eval").glob("*/__init__.py")}
    listed = floors.eval_rooms()
    files = {path.stem for path in (floors.ROOT / "eval").glob("*.py")}
    assert set(listed) - files == folders, (
        "The docstring of eval/__init__.py lists its rooms from the ground up, `config · samples · ...`: those that "
        f"are folders of modules, {sorted(folders)}, and files that rooms stand upon; it lists {sorted(listed)}."
    )


def test_imports_point_down_and_no_forbidden_arrow_is_drawn(drawn: list[Arrow]) -> None:
    inner = floors.eval_rooms()
    wrong = [reason for arrow in drawn for reason in floors.reasons_against(arrow, inner)]
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_files_hang_in_a_circle(drawn: list[Arrow]) -> None:
    circles = floors.circles(drawn)
    lines = [str(arrow) for circle in circles for arrow in drawn if {arrow.source, arrow.target} <= set(circle)]
    assert not circles, "\n" + "\n".join(lines)


# --- that the reader finds what it should --------------------------------------------------------------------------

TREE = {
    "toca/__init__.py": "from .api import enable\n",
    "toca/api.py": "def enable():\n    import toca.engine.clock\n",
    "toca/plan/__init__.py": "",
    "toca/plan/table.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..methods.base import Method\n"
    ),
    "toca/methods/__init__.py": "from importlib import import_module\nimport_module('toca.plan.table')\n",
    "toca/methods/base.py": "class Method:\n    def f(self):\n        from ..engine import clock\n",
    "toca/engine/__init__.py": "",
    "toca/engine/clock.py": "import toca.plan.table as table\n",
    "toca/odd.py": "import os, torch\nfrom toca.nowhere import nothing\n",
    "pipelines/__init__.py": "",
    "pipelines/cli.py": "try:\n    from toca.eval import command\nexcept ImportError:\n    pass\n",
    "eval/__init__.py": '"""The rooms: store · scoring · report."""\n',
    "eval/command.py": "from .report import page\n",
    "eval/scoring/__init__.py": "from toca.eval.report.page import draw\n",
    "eval/report/__init__.py": "",
    "eval/report/page.py": "",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_reader_finds_late_imports_and_those_for_types(tree: Path) -> None:
    assert {str(arrow) for arrow in floors.arrows(tree)} == {
        "toca/__init__.py:1 imports toca/api.py",
        "toca/api.py:2 imports toca/engine/clock.py",
        "toca/plan/table.py:3 imports toca/methods/base.py",
        "toca/methods/__init__.py:2 imports toca/plan/table.py",
        "toca/methods/base.py:3 imports toca/engine/clock.py",
        "toca/engine/clock.py:1 imports toca/plan/table.py",
        "pipelines/cli.py:2 imports eval/command.py",
        "eval/command.py:1 imports eval/report/page.py",
        "eval/scoring/__init__.py:1 imports eval/report/page.py",
    }


def test_the_reader_sees_what_must_not_be(tree: Path) -> None:
    inner = floors.eval_rooms(tree)
    assert inner == ("store", "scoring", "report")
    reasons = [reason for arrow in floors.arrows(tree) for reason in floors.reasons_against(arrow, inner)]
    for up in (
        "toca/plan/table.py:3 imports toca/methods/base.py: toca/plan -> toca/methods points up",
        "toca/methods/base.py:3 imports toca/engine/clock.py: toca/methods -> toca/engine points up",
        "pipelines/cli.py:2 imports eval/command.py: pipelines -> eval points up",
        "eval/scoring/__init__.py:1 imports eval/report/page.py: eval/scoring -> eval/report points up",
    ):
        assert up in reasons
        assert any(reason.startswith(up.replace("points up", "must never be, for ")) for reason in reasons)
    assert len(reasons) == 8
    assert floors.room_of("toca/odd.py") is None


def test_the_reader_sees_circles(tree: Path) -> None:
    assert floors.circles(floors.arrows(tree)) == [
        ["toca/engine/clock.py", "toca/methods/base.py", "toca/plan/table.py"]
    ]
