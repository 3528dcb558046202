"""Triton kernels: equal to their plain forms under Triton's interpreter, and chosen where they suit."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from toca.kernels import choice
from toca.kernels.sending import sent

from .floors import ROOT


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed here")
def test_under_the_interpreter() -> None:
    """In a process of its own: Triton asks once whether it interprets, and here others may have imported it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/interpreted_kernels.py"]
    told = {**os.environ, "TRITON_INTERPRET": "1"}
    told.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_none_is_on_that_was_not_timed() -> None:
    assert choice.wanted(None) == choice.wanted("") == tuple(choice.MEASURED)
    assert set(choice.MEASURED) <= set(choice.KERNELS)
    assert choice.wanted("torch") == ()
    with pytest.raises(ValueError, match="`TOCA_KERNELS` must be 'triton' or 'torch', or not set, got 'Triton'."):
        choice.wanted("Triton")


def test_all_are_on_when_told_and_off_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "triton")
    with choice.using("triton"):
        assert choice.on == choice.KERNELS
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert choice.wanted("triton") == ()
    assert choice.on == ()


X = torch.ones(2, 3, 4)
CASES: dict[str, tuple[Callable[[], bool], bool]] = {
    "numbers": (lambda: choice.fits_weighted_sum(X, [X, X.double().float()], [1.0, 2.0, 0.0]), True),
    "wider terms": (lambda: choice.fits_weighted_sum(X.half(), [X], [0.5, 2.0]), True),
    "weights of a gate": (lambda: choice.fits_weighted_sum(X, [X], [1.0, torch.ones(2)]), False),
    "double precision": (lambda: choice.fits_weighted_sum(X.double(), [X], [1.0, 2.0]), False),
    "another layout": (lambda: choice.fits_weighted_sum(X, [X.mT.contiguous().mT], [1.0, 2.0]), False),
    "gradients": (lambda: choice.fits_weighted_sum(X, [X.clone().requires_grad_()], [1.0, 2.0]), False),
    "too many": (lambda: choice.fits_weighted_sum(X, [X] * 7, [1.0] * 8), False),
    "differences": (lambda: choice.fits_differences(X, X, [X, X], [1.0, 0.5]), True),
    "the first value": (lambda: choice.fits_differences(X, None, [X, X], [1.0, 0.5]), False),
    "two dtypes": (lambda: choice.fits_differences(X, X.half(), [X], [1.0]), False),
    "attention": (lambda: choice.fits_column_mass(X[None].mT, X[None].mT, None), True),
    "masked attention": (lambda: choice.fits_column_mass(X[None], X[None], X[None]), False),
    "wide heads": (lambda: choice.fits_column_mass(*[torch.ones(1, 1, 1, 129)] * 2, None), False),
}


@pytest.mark.parametrize("asked, answer", CASES.values(), ids=list(CASES))
def test_where_a_kernel_fits(monkeypatch: pytest.MonkeyPatch, asked: Callable[[], bool], answer: bool) -> None:
    monkeypatch.setattr(choice, "on", choice.KERNELS)
    assert not asked(), "it is on a CPU"
    monkeypatch.setattr(choice, "DEVICES", ("cpu",))
    assert asked() is answer
    monkeypatch.setattr(choice, "on", ())
    assert not asked()


def test_what_is_on_the_device_is_not_copied() -> None:
    assert sent(X, torch.device("cpu")) is X
