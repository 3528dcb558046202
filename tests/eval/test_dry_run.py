"""`--dry-run` tells of variants, samples and, where one is known, the time; it makes and loads nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toca.eval import run as running
from toca.pipelines.cli import app

pytestmark = pytest.mark.usefixtures("quiet_libraries")
ASKED = ["--variant", "fora:interval=2,3", "--set", "peers=false", "--set", "fewer_steps=[10]"]


@pytest.fixture
def told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "load_subject", None)

    def ask(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["eval", "run", *words, "--dry-run"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output

    return ask


def test_it_tells_of_variants_and_samples_and_makes_nothing(told, tmp_path):
    code, text = told("--model", "emoji", *ASKED, "--prompts", "7", "--samples", "2")
    assert code == 0, text
    assert "2 runs without a cache: 10 steps; full" in text
    assert "2 methods: fora interval=2; fora interval=3" in text and "14 samples of each, 56 in all" in text
    assert not list(tmp_path.iterdir())


def test_classes_are_counted_without_weights(told):
    assert "\n  10 samples of each" in told("--model", "fashion", *ASKED)[1]
    assert "\n  1,000 samples of each" in told("--model", "dit-xl-2-256", *ASKED)[1]


def test_the_time_is_told_where_it_was_taken_and_never_guessed(told, monkeypatch, tmp_path):
    monkeypatch.setattr("toca.pipelines.evidence.find_spec", lambda name: None)
    asked = ("--model", "emoji", *ASKED, "--prompts", "47", "--repeats", "10", "--warmups", "3")
    assert "no estimate" in told(*asked)[1]
    rows = [{"name": name, "total_seconds": 60.0} for name in ("full", "fora interval=2", "another")]
    data = {"model": "emoji", "uncached": rows[:1], "methods": rows[1:], "environment": {"device": "a clock"}}
    Path("outputs/eval").mkdir(parents=True)
    Path("outputs/eval/emoji.json").write_text(json.dumps(data))
    assert "about 120 minutes for 2 of the 4 variants, by the times of one sample in" in told(*asked)[1]


def test_what_a_run_would_refuse_is_refused(told):
    code, text = told("--model", "emoji", "--variant", "fora:speed=3")
    assert code == 2 and "FORA has no field 'speed'" in text
