"""What CONTRIBUTING.md adds from outside the package, run end to end: enabled, planned, saved and loaded, listed,
costed, evaluated."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from torch import nn
from typer.testing import CliRunner

import toca
from toca.eval.counting.flops import FlopMeter
from toca.eval.metrics import registry as metrics
from toca.eval.run import STAGES
from toca.eval.run import run as run_evaluation
from toca.pipelines.cli import app
from toca.pipelines.commands import joining
from toca.registry import registered

from .helpers import FAMILIES, TINY, Inputs, inputs_for, randomize, run_steps
from .pipelines.folders import save_tiny
from .registries import KINDS, as_it_was

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
STEPS = 8
METHODS = ("alternate", "patchwork")


@pytest.fixture(scope="module", autouse=True)
def added() -> Iterator[Any]:
    """The module that the page's code makes, with all that it registers; known until the tests are done."""
    module = ModuleType("contributing")
    with as_it_was(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        patch.setattr(metrics, "_KNOWN", {metric.key: metric for metric in metrics.metrics(metrics.Metric)})
        patch.setattr(joining, "_PLACES", {run.__name__: (0, run) for run in joining.our_commands()})
        for code in re.findall(r"^```python\n(.*?)^```$", CONTRIBUTING.read_text(), re.MULTILINE | re.DOTALL):
            exec(compile(code, CONTRIBUTING.name, "exec", dont_inherit=True), vars(module))
        yield module


class PebbleBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.ff = Attention(width, heads=2, dim_head=width // 2), FeedForward(width)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = hidden_states + self.attn(self.norm1(hidden_states))
        return hidden_states + self.ff(self.norm2(hidden_states))


class PebbleTransformer2DModel(nn.Module):
    """A transformer of nobody's, not even a diffusers model: latents (B, 4, H, W) in patches of 2 x 2."""

    dtype = torch.float32

    def __init__(self, layers: int = 3, width: int = 32) -> None:
        super().__init__()
        self.config = SimpleNamespace(sample_size=16)
        self.patches, self.time = nn.Conv2d(4, width, 2, stride=2), nn.Linear(1, width)
        self.blocks = nn.ModuleList(PebbleBlock(width) for _ in range(layers))
        self.out = nn.Linear(width, 16)

    def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor) -> Any:
        patches = self.patches(hidden_states)
        tokens = patches.flatten(2).transpose(1, 2) + self.time(timestep[:, None] / 1000)[:, None]
        for block in self.blocks:
            tokens = block(tokens)
        pixels = self.out(tokens).unflatten(1, patches.shape[-2:]).unflatten(-1, (4, 2, 2))
        return SimpleNamespace(sample=pixels.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3))


def model_and_inputs(family: str, batch_size: int = 2) -> tuple[nn.Module, Inputs]:
    if family != "pebble":
        return TINY[family](), inputs_for(family, STEPS, batch_size)
    calls = inputs_for("dit", STEPS, batch_size)
    return randomize(PebbleTransformer2DModel()), [
        {"hidden_states": call["hidden_states"], "timestep": call["timestep"].float()} for call in calls
    ]


def test_the_page_adds_one_of_each(added: Any) -> None:
    assert issubclass(toca.methods()["alternate"], added.Alternate)
    for kind, name in zip(KINDS, ("alternate", "damped", "drift", "in-turn", "pebble"), strict=True):
        assert name in registered(kind)


@pytest.mark.parametrize("family", [*FAMILIES, "pebble"])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_runs_on_every_family(family: str, name: str) -> None:
    transformer, inputs = model_and_inputs(family)
    stock = run_steps(transformer, inputs)
    toca.enable_cache(transformer, name, num_inference_steps=STEPS)
    cached = run_steps(transformer, inputs)
    summary = toca.summary(transformer)
    toca.disable_cache(transformer)
    assert summary.method == name and summary.steps.startswith("FF") and summary.flops < summary.flops_full
    assert any(not torch.equal(a, b) for a, b in zip(cached, stock, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(run_steps(transformer, inputs), stock, strict=True))


@pytest.mark.parametrize("family", ["pixart", "pebble"])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_its_plan_is_saved_and_loaded_again(family: str, name: str, suffix: str, tmp_path: Path) -> None:
    transformer, inputs = model_and_inputs(family)
    plan = toca.methods()[name]().plan(transformer, STEPS)
    plan.save(tmp_path / f"plan.{suffix}")
    loaded = toca.Plan.load(tmp_path / f"plan.{suffix}")
    assert loaded == plan and type(loaded.gate) is type(plan.gate) and loaded.fill == plan.fill
    outputs = []
    for method in (name, loaded):
        with toca.cached(transformer, method, num_inference_steps=STEPS):
            outputs.append(run_steps(transformer, inputs))
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


def test_without_its_package_a_plan_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer, _ = model_and_inputs("dit")
    toca.methods()["patchwork"]().plan(transformer, STEPS).save(tmp_path / "plan.yaml")
    monkeypatch.delitem(registered("gate"), "drift")
    with pytest.raises(ValueError, match="drift"):
        toca.Plan.load(tmp_path / "plan.yaml")


@pytest.mark.parametrize("name", ["alternate", "toca", "taylorseer"])
def test_what_a_new_family_costs_is_known_beforehand(name: str) -> None:
    transformer, inputs = model_and_inputs("pebble")
    method = toca.ToCa(score="self_attention", interval=3) if name == "toca" else toca.methods()[name]()
    predicted = method.plan(transformer, STEPS).cost(batch_size=2)
    with toca.cached(transformer, method, num_inference_steps=STEPS), FlopMeter() as meter:
        run_steps(transformer, inputs)
        summary = toca.summary(transformer)
    assert predicted.flops == meter.total == summary.flops < predicted.flops_full
    assert predicted.cache_bytes == summary.cache_bytes > 0


def test_images_of_a_new_family_do_not_depend_on_their_batch() -> None:
    transformer, inputs = model_and_inputs("pebble", batch_size=3)
    alone = [{name: value[1:2] for name, value in call.items()} for call in inputs]
    outputs = []
    for calls in (inputs, alone):
        with toca.cached(transformer, "patchwork", num_inference_steps=STEPS):
            outputs.append(run_steps(transformer, calls))
    assert all(torch.allclose(a[1:2], b, atol=1e-5) for a, b in zip(*outputs, strict=True))


def test_the_command_line_shows_and_plans_it() -> None:
    listed = CliRunner().invoke(app, ["methods"]).output
    assert "alternate" in listed and "patchwork" in listed
    explained = CliRunner().invoke(app, ["methods", "patchwork"]).output
    assert "compute all, else a quarter" in " ".join(explained.split()) and "threshold" in explained
    planned = CliRunner().invoke(app, ["plan", "--method", "alternate", "--set", "first=3", "--steps", "8"])
    assert planned.exit_code == 0 and "FFFrFrFr" in planned.output


def test_the_evaluation_measures_it_with_the_new_metric(tmp_path: Path) -> None:
    folder = save_tiny("pixart", tmp_path / "tiny")
    (folder / "prompts.json").write_text(json.dumps(["a red owl", "a blue cat"]))
    flags = {
        "methods": ["alternate:first=1", "patchwork:threshold=10"], "peers": False, "fewer_steps": [2], "steps": 4,
        "guidance_scale": 1.0, "prompts": 2, "batch_size": 2, "repeats": 1, "warmups": 1, "device": "cpu",
    }  # fmt: skip
    run_evaluation(STAGES, None, [str(folder)], flags, tmp_path / "made", None, "toca eval run")
    [path] = (each for each in (tmp_path / "made").glob("*.csv") if not each.name.endswith(".samples.csv"))
    lines = {line["variant"]: line for line in csv.DictReader(path.open())}
    assert float(lines["full"]["furthest"]) == 0
    assert all(float(lines[name]["furthest"]) > 0 for name in ("alternate first=1", "patchwork threshold=10.0"))
    assert "furthest pixel" in next((tmp_path / "made").glob("*.html")).read_text()


def test_a_command_joins() -> None:
    assert [run.__name__ for run in joining.our_commands()][-1] == "greet"
