"""What the README says is what the product does: its table, its code, and its commands."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import toca
from tests.readme_commands import NOT_RUN, README, ROOT, blocks, commands, reason_not_to_run, with_fewer_steps
from tests.registries import as_it_was
from toca.eval import command
from toca.eval.benchmarks import random_weights
from toca.eval.benchmarks.bench import command as bench
from toca.eval.config.settings import read_run
from toca.eval.report import read_report
from toca.eval.report.short_table import short_table
from toca.pipelines import loading, request
from toca.pipelines.cli import app
from toca.pipelines.registry import EMBEDDED

STEPS = 4
HERE = {
    '"PixArt-alpha/PixArt-XL-2-256x256").to("cuda")': f'{str(EMBEDDED)!r}, use_safetensors=True).to("cpu")',
    "num_inference_steps=20": f"num_inference_steps={STEPS}",
    'pipe("an owl standing on a telephone wire")': (
        f'pipe("an owl standing on a telephone wire", num_inference_steps={STEPS}, height=64, width=64, '
        "use_resolution_binning=False, clean_caption=False)"
    ),
    'load("emoji-flux")': 'load("emoji-flux", device="cpu")',
}
"""What a test has in place of a model to download, a GPU, and as many steps."""


def test_its_table_is_that_of_the_recorded_results():
    assert short_table(read_report(ROOT / "eval" / "results" / "emoji.json"), (13, 10, 8, 7)) in README


def test_its_code_runs_in_its_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "readme"}
    found, replaced = blocks("python"), set()
    with as_it_was():
        for code in found:
            for text, here in HERE.items():
                replaced |= {text} if text in code else set()
                code = code.replace(text, here)
            exec(compile(code, "README.md", "exec", dont_inherit=True), names)
    assert len(found) == 5 and replaced == set(HERE)
    assert names["image"].size == (64, 64) and len(names["plan"].steps) == STEPS
    assert toca.Plan.load("plan.yaml") == names["plan"] and Path("plan.png").is_file()
    with toca.cached(toca.disable_cache(names["pipe"]), names["Alternate"]()):
        names["pipe"]("an owl", num_inference_steps=STEPS, output_type="latent")
        assert toca.summary(names["pipe"]).steps == "FrFr"


class Reached(ValueError):
    """The model would be loaded now: everything before was right."""


def invoke(words: list[str]) -> Any:
    result = CliRunner().invoke(app, words[1:])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int | None) -> None:
    """Every command in its order, in one folder, as somebody who reads from top to bottom runs them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "_best_device", lambda: "cpu")
    done = 0
    for words in commands():
        if reason_not_to_run(words) is None:
            result = invoke(words if steps is None else with_fewer_steps(words, steps))
            assert result.exit_code == 0, f"{shlex.join(words)}: {result.output}"
            done += 1
    assert done >= 14
    made = {path.name for path in Path("outputs").iterdir()}
    assert {"a-red-apple.png", "a-red-apple-2-compare.png", "an-owl-0.png", "sneaker.png"} <= made
    assert np.array_equal(*(np.asarray(Image.open(f"outputs/a-red-apple{end}.png")) for end in ("", "-3")))
    assert {"plan.png", "plan.yaml", "smooth.json", "smooth.png"} <= {path.name for path in Path().iterdir()}


def test_its_commands_run_in_their_order(tmp_path, monkeypatch):
    run_all(tmp_path, monkeypatch, STEPS)


@pytest.mark.matrix
def test_its_commands_run_as_they_stand(tmp_path, monkeypatch):
    run_all(tmp_path, monkeypatch, None)


@pytest.mark.matrix
def test_its_quick_evaluation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [smoke] = [words for words in commands() if words[:4] == ["toca", "eval", "run", "smoke"]]
    assert invoke(smoke).exit_code == 0
    assert Path("outputs/eval/emoji-flux.html").is_file()


def test_those_that_do_not_run_are_right_as_far_as_can_be_told(monkeypatch):
    looked_at = [words for words in commands() if reason_not_to_run(words) is not None]
    assert {reason_not_to_run(words) for words in looked_at} == set(NOT_RUN.values())
    for words in looked_at:
        look_through(words, monkeypatch)


def look_through(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif words[:3] == ["toca", "eval", "random-weights"]:
        parse(random_weights.main, words[3:])
    elif words[:3] == ["toca", "eval", "bench"]:
        parse(bench.main, words[3:])
    elif words[:2] == ["toca", "eval"]:
        settled: list[str] = []
        monkeypatch.setattr(command, "_imported", lambda: settle(settled))
        assert invoke(words).exit_code == 0 and settled
    else:
        monkeypatch.setattr(request, "load", reached)
        assert "Reached" in invoke(words).stderr


def parse(main: Any, words: list[str]) -> None:
    """See that a command has these flags and values; it does not run."""
    alone = typer.Typer()
    alone.command()(main)
    context = typer.main.get_command(alone).make_context("README", list(words))
    methods = context.params.get("method") or []
    assert all(toca.preset(name) for name in methods)


def settle(settled: list[str]) -> Any:
    """In the place of a run: reads what it would measure."""

    def run(stages: Any, config: str | None, models: list[str], flags: dict[str, Any], *_: Any) -> None:
        for model, settings in read_run(config, models, flags).items():
            assert settings.lineup().variants
            loading.resolve_source(model)
            settled.append(model)

    return run


def reached(*_: Any) -> None:
    raise Reached("Reached")
