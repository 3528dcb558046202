"""The examples, one file a use, run from top to bottom on tiny random models of their classes."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

from toca.hooks.tracing import can_compile

from . import examples_tiny
from .readme_commands import ROOT

EXAMPLES = ROOT / "examples"
LINES = 40
SMALL = {"steps": 6, "size": 32, "device": "cpu"}
CALLS: dict[str, dict[str, Any]] = {
    "flux": SMALL,
    "wan": {"steps": 13, "height": 32, "width": 32, "frames": 5, "device": "cpu"},
    "qwen_image": SMALL | {"steps": 50},
    "sd3": SMALL | {"steps": 8},
    "img2img": SMALL,
    "controlnet": SMALL,
    "lora": SMALL,
    "compiled": SMALL | {"steps": 3, "backend": "eager", "pictures": 1},
    "offload": SMALL,
}
"""What they are called with in place of a real model's sizes; each has a tiny pipeline of its own name, or FLUX."""
SKIPPED = {"flux": "t", "wan": "a", "qwen_image": "a", "sd3": "t", "offload": "r", "lora": "r"}
"""A letter that the steps of the summary must show."""
SINGLE = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @functools.cache
    def saved(name: str) -> str:
        folder = tmp_path_factory.mktemp(name)
        getattr(examples_tiny, name)().save_pretrained(folder)
        return str(folder)

    return saved


@pytest.mark.parametrize("name", CALLS)
def test_an_example_runs(
    name: str, folder_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "qwen_image" and not hasattr(transformers, "Qwen2_5_VLForConditionalGeneration"):
        pytest.skip("this transformers lacks the model's text encoder")
    if name == "compiled" and not can_compile():
        pytest.skip("this torch cannot trace classes made on the fly")
    monkeypatch.chdir(tmp_path)
    options = dict(CALLS[name], model=folder_of(name if hasattr(examples_tiny, name) else "flux"))
    if name in ("img2img", "controlnet"):
        Image.new("RGB", (32, 32), "teal").save("given.png")
        options["image"] = "given.png"
    if name == "controlnet":
        options["controlnet"] = folder_of("flux_control")
    if name == "lora":
        options["adapter"] = str(examples_tiny.adapter(tmp_path / "adapter"))
    if name == "wan":
        pytest.importorskip("imageio_ffmpeg")
    module = importlib.import_module(f"examples.{name}")
    with torch.random.fork_rng(devices=[]):
        module.main(**options)
    assert [path for path in tmp_path.iterdir() if path.suffix in (".png", ".mp4") and path.stem != "given"]
    assert SKIPPED.get(name, "") in capsys.readouterr().out


def test_the_evaluation_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from examples import evaluation
    from toca.pipelines import loading

    monkeypatch.setattr(loading, "_best_device", lambda: "cpu")
    evaluation.main(steps=8)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["no cache, 4 steps", "fora", "dmd", "toca"]
    assert all(re.search(r"\d\.\d\dx +\d+\.\d dB$", line) for line in lines)


@pytest.mark.parametrize("name", [name for name in SINGLE if name != "third_party_family"])
def test_an_example_is_short_and_is_run_here(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < LINES and ast.get_docstring(ast.parse(text))
    assert name in CALLS or name == "evaluation"
    assert f"({name}.py)" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
