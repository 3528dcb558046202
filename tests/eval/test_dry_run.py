"""`--dry-run` tells of variants, samples and, where one is known, the time; it makes and loads nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toca.eval import run as running
from toca.eval.config.settings import read_run
from toca.eval.outline import outline_ahead
from toca.pipelines.cli import app

pytestmark = pytest.mark.usefixtures("quiet_libraries")
ASKED = ["--variant", "fora:interval=2,3", "--set", "peers=false", "--set", "fewer_steps=[10]"]


@pytest.fixture
def told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "load_subject", None)

    def ask(*words: str, stage: str = "run") -> tuple[int, str]:
        done = CliRunner().invoke(app, ["eval", stage, *words, "--dry-run"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output

    return ask


def test_it_tells_of_variants_and_samples_and_makes_nothing(told, tmp_path):
    code, text = told("--model", "emoji", *ASKED, "--prompts", "7", "--samples", "2")
    assert code == 0, text
    assert text.startswith("emoji: 2 methods, 1 run with fewer steps and the full one, 14 samples each\n")
    assert "without a cache: full (20 steps); 10 steps" in text
    assert "methods: fora interval=2; fora interval=3" in text and "56 samples in all" in text
    assert not list(tmp_path.iterdir())


def test_classes_are_counted_without_weights(told):
    assert " 10 samples each\n" in told("--model", "fashion", *ASKED)[1]
    assert " 1,000 samples each\n" in told("--model", "dit-xl-2-256", *ASKED)[1]


def test_the_time_is_told_where_it_was_taken_and_never_guessed(told, monkeypatch, tmp_path):
    monkeypatch.setattr("toca.pipelines.evidence.find_spec", lambda name: None)
    asked = ("--model", "emoji", *ASKED, "--prompts", "47", "--repeats", "10", "--warmups", "3")
    assert "no estimate" in told(*asked)[1]
    rows = [{"name": name, "total_seconds": 60.0} for name in ("full", "fora interval=2", "another")]
    data = {"model": "emoji", "uncached": rows[:1], "methods": rows[1:], "environment": {"device": "a clock"},
            "config": {"bench_batch_size": 2}}  # fmt: skip
    Path("outputs/eval").mkdir(parents=True)
    Path("outputs/eval/emoji.json").write_text(json.dumps(data))
    # 30 s a sample, and half of that in half of the steps.
    text = told(*asked, "--set", "bench_batch_size=1")[1]
    minutes = 47 * 0.5 * 3.5, (10 + 3 + 2) * 0.5 * (3.5 + 1)
    assert f"about {minutes[0]:.0f} min for the samples and {minutes[1]:.0f} min for the times, by the times" in text
    assert "; 2 variants not timed there by the number of steps\n" in text
    assert "about 34 min for the times" in told(*asked, "--set", "bench_batch_size=1", stage="time")[1]


def test_it_counts_what_the_run_will_make(told):
    """No prompt that a search saw, and a tuned plan in its own steps."""
    searched = read_run(None, ["emoji"], {"methods": ["tuned"], "peers": False, "fewer_steps": []})["emoji"]
    outline = outline_ahead("emoji", searched, searched.lineup().for_model("emoji"))
    every = read_run(None, ["emoji"], {"methods": ["fora"], "peers": False, "fewer_steps": []})["emoji"]
    whole = outline_ahead("emoji", every, every.lineup())
    assert whole.samples - 100 < outline.samples < whole.samples
    [plan] = searched.lineup().for_model("emoji").variants
    assert outline.variants[1].steps == plan.method.num_inference_steps


def test_what_a_run_would_refuse_is_refused(told):
    code, text = told("--model", "emoji", "--variant", "fora:speed=3")
    assert code == 2 and "FORA has no field 'speed'" in text
    Path("a-file").write_text("")
    code, text = told("--model", "emoji", *ASKED, "--output", "a-file/eval")
    assert code == 2 and "a-file" in text and "could not be made" in text
