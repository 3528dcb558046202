"""Old import paths answer for one release, with the same module and a warning."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings

import pytest

import toca
import toca.eval
from toca import moved


@pytest.mark.parametrize("old, new", sorted(moved.moved_modules().items()))
def test_an_old_path_is_the_new_module(old, new):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"`{new}`"):
        found = importlib.import_module(old)
    assert found is importlib.import_module(new)
    assert found.__spec__.name == new


def test_paths_that_users_hold_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        from toca.engine import Engine  # noqa: F401
        from toca.plan import Plan

    assert Plan is toca.Plan


def test_a_gate_by_the_old_words_finds_what_it_is_shown():
    with pytest.warns(DeprecationWarning, match="Observation"):
        from toca.gates import Seen
    assert Seen is toca.Observation


def test_an_old_path_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "toca.schedule"], capture_output=True, text=True, cwd=None, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_other_module_is_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("toca.no_such_module")
