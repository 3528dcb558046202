"""`toca which` takes the best evidence there is, says what it is, and makes no figure up."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from toca.methods.presets import published
from toca.methods.published.figures import FIGURES
from toca.pipelines import evidence
from toca.pipelines.cli import app
from toca.pipelines.running import which
from toca.plan.front import Front

pytestmark = pytest.mark.usefixtures("quiet_libraries")


@pytest.fixture
def told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def ask(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["which", *words])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, " ".join(done.output.split())

    return ask


@pytest.fixture
def no_front(monkeypatch):
    def none(*_, **__):
        raise ValueError("There is no front: `toca tune` makes one.")

    monkeypatch.setattr(which, "find_front", none)


def test_a_front_tells_what_was_held_out(told):
    code, text = told("emoji", "--speedup", "2")
    entry = Front.load(evidence.Path(evidence.__file__).parent / "emoji" / "calibration" / "tuned.json").at(speedup=2)
    assert code == 0 and f"{entry.speedup:.2f}x {entry.psnr:.1f} dB" in text and "never saw" in text
    assert text.endswith('Take: toca generate "..." --speedup 2')
    assert "1.5x" not in text and "1.5x" in told("emoji")[1]


def test_what_no_plan_reaches_is_refused_with_the_nearest(told):
    code, text = told("emoji", "--speedup", "50")
    assert code == 1 and "reaches" in text


def test_an_evaluation_of_this_folder_is_next(told, no_front, tmp_path):
    (tmp_path / "outputs" / "eval").mkdir(parents=True)
    rows = [_row("fora interval=2", 1.7, 40.0, -1.0), _row("teacache", 2.2, 36.0, 2.0), _row("peer:other", 2.5, 50, 1)]
    data = {"model": "emoji", "methods": rows, "environment": {"device": "a clock"}, "config": {"items": [1, 2]},
            "taken": ["then", "now"]}  # fmt: skip
    (tmp_path / "outputs" / "eval" / "emoji.json").write_text(json.dumps(data))
    code, text = told("emoji", "--speedup", "2")
    assert code == 0 and "2 samples on a clock" in text and "2.20x (2.10-2.30) 36.0 dB [35.0, 37.0]" in text
    assert 'Take: toca generate "..." --method teacache' in text and "To know better: There is no front" in text
    assert "Fewer steps are better" in told("emoji", "--speedup", "1.5")[1]
    assert told("emoji", "--speedup", "3")[0] == 1


def _row(name: str, speedup: float, psnr: float, gain: float) -> dict:
    base, *settings = name.split()
    return {
        "name": name, "recipe": {"base": base, "settings": settings},
        "loop_speedup": [speedup, speedup - 0.1, speedup + 0.1],
        "fidelity": {"psnr": {"mean": psnr, "low": psnr - 1, "high": psnr + 1}},
        "at_latency": {"gains": {"psnr": {"mean": gain, "low": gain - 0.5, "high": gain + 0.5}}},
    }  # fmt: skip


def test_else_presets_with_what_was_published_and_labelled_so(told):
    code, text = told("flux-dev")
    assert code == 0 and "nothing was measured on it here" in text and "not measured by us" in text
    assert "--method toca/flux" in text and FIGURES["toca/flux"] in text and "toca tune flux-dev" in text
    assert re.search(r"fbcache/flux at most [\d.]+x fewer", text) and "teacache/emoji" not in text
    assert "--method clusca/flux (published: 4.14x" in told("flux-dev", "--speedup", "3")[1]
    assert "None of them is known" in told("flux-dev", "--speedup", "40")[1]


def test_figures_are_of_presets_that_there_are():
    assert set(FIGURES) <= set(published())
