"""What several tests of evaluation need."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    """A random CLIP in the layout of OpenAI's: 32 x 32 pixels, 16 features."""
    from clip.model import CLIP

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIP(16, 32, 1, 64, 8, 77, 49408, 64, 1, 1)
    path = tmp_path_factory.mktemp("clip") / "tiny-clip.pt"
    torch.save({name: value.half() for name, value in model.state_dict().items()}, path)
    return path


@pytest.fixture
def without_plots(monkeypatch) -> None:
    """The page of a report has no plots, which take most of the time that a tiny report takes."""
    # By its name in full: the package has a function of the name of the module.
    monkeypatch.setattr(importlib.import_module("toca.eval.report.page"), "plots", lambda report: [])
