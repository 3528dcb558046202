"""`toca generate --speedup`: the front at hand tells the plan or the threshold, and the picture says it all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import toca
from tests.fronts import front_of
from toca.pipelines import loading, timing
from toca.pipelines.cli import app
from toca.pipelines.loading import load
from toca.pipelines.metadata import read_recipe
from toca.plan.front import Front
from toca.tuning.saved import keep

STEPS = 6
SMALL = ["--height", "64", "--width", "64"]


pytestmark = pytest.mark.usefixtures("quiet_libraries")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `toca` in an empty directory, with nothing tuned before: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_best_device", lambda: "cpu")
    monkeypatch.setattr(timing, "ENOUGH_SECONDS", 0.0)

    def run_toca(*arguments: object) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run_toca


@pytest.fixture
def front(run, folders) -> Front:
    """A front of the tiny PixArt pipeline, kept for its user."""
    pipe: Any = load(folders["pixart"], device="cpu")
    made = front_of(pipe.transformer, pipe.scheduler, STEPS)
    keep(made, pipe)
    return made


@pytest.fixture
def owl(run, folders):
    return lambda *more: run("generate", "a red owl", "--model", folders["pixart"], *SMALL, *more)


def pixels(path: str) -> Any:
    with Image.open(path) as image:
        return np.array(image)


def test_the_plan_of_the_front_and_its_figure(owl, front):
    code, stdout, stderr = owl("--speedup", 1.5, "--output", "owl.png")
    assert code == 0, stderr
    # Nobody said a number of steps: those of the plan.
    assert "tuned speedup=1.5, 6 steps" in stdout
    assert "60.0 dB [59.0, 61.0] on 8 others at 1.60x" in stdout
    assert read_recipe("owl.png").method == front.plan(speedup=1.5)


def test_steps_that_are_told_are_kept(owl, front):
    code, stdout, stderr = owl("--speedup", 2, "--steps", STEPS - 2, "--output", "owl.png")
    assert code == 0, stderr
    assert "4 steps" in stdout and read_recipe("owl.png").config.num_inference_steps == 4
    code, _, stderr = owl("--speedup", 2, "--steps", 5)
    assert code != 0 and "and 5 steps (the one at hand has plans of 6 or 4 steps)" in stderr


def test_the_picture_can_be_made_again_without_the_front(run, owl, front, tmp_path):
    assert owl("--speedup", 2, "--output", "owl.png")[0] == 0
    for path in (tmp_path / "cache" / "fronts").iterdir():
        path.unlink()
    code, _, stderr = run("generate", "--from", "owl.png", "--yes", "--output", "again.png")
    assert code == 0, stderr
    assert np.array_equal(pixels("again.png"), pixels("owl.png"))


def test_a_method_with_its_threshold(run, owl, front):
    code, stdout, stderr = owl("--method", "teacache", "--speedup", 2.2, "--steps", STEPS, "--output", "owl.png")
    assert code == 0, stderr
    assert "teacache threshold=0.3, 6 steps" in stdout
    assert read_recipe("owl.png").method == toca.TeaCache(threshold=0.3)
    code, _, stderr = run("generate", "--from", "owl.png", "--yes", "--output", "again.png")
    assert code == 0, stderr
    assert np.array_equal(pixels("again.png"), pixels("owl.png"))


def test_a_threshold_is_for_the_steps_that_it_was_found_in(owl, front):
    """Those that are told, or that the pipeline takes by itself."""
    for steps in ([], ["--steps", STEPS - 2]):
        code, _, stderr = owl("--method", "teacache", "--speedup", 2.2, *steps)
        assert code != 0 and f"the one at hand has thresholds of {STEPS} steps" in stderr


def test_beside_the_full_model(run, owl, folders, tmp_path):
    """The full run has its own steps, whatever the plan has."""
    pipe: Any = load(folders["pixart"], device="cpu")
    made = front_of(pipe.transformer, pipe.scheduler, STEPS)
    keep(replace(made, entries=made.entries[2:3]), pipe)
    code, stdout, stderr = owl("--speedup", 2, "--output", "owl.png", "--compare")
    assert code == 0, stderr
    assert "tuned speedup=2, 4 steps" in stdout and "PSNR" in stdout
    full = next(Path().glob("owl*full*.png"), None) or next(Path().glob("owl*baseline*.png"))
    assert read_recipe(str(full)).config.num_inference_steps == STEPS
    assert read_recipe("owl.png").config.num_inference_steps == STEPS - 2


def test_another_budget_for_a_picture_that_was_made(run, owl, front):
    assert owl("--method", "fora", "--steps", STEPS, "--output", "owl.png")[0] == 0
    code, stdout, stderr = run("generate", "--from", "owl.png", "--yes", "--speedup", 3, "--output", "fast.png")
    assert code == 0, stderr
    assert "tuned speedup=3, 6 steps, 2 of them full" in stdout


MISTAKES = [
    (["--speedup", "0.5"], "`speedup` must be at least 1, got 0.5."),
    (["--speedup", "nan"], "`speedup` must be a finite number"),
    (["--speedup", "9"], "No plan is 9 times as fast: the fastest reaches 3.40x"),
    (["--speedup", "2", "--plan", "plan.yaml"], "give --plan or --speedup, not both"),
    (["--speedup", "2", "--set", "interval=3"], "--set needs --method beside --speedup"),
    (["--speedup", "2", "--method", "fora"], "fora has no threshold that a speed-up could be found by"),
    (["--speedup", "2", "--method", "telepathy"], "Unknown method 'telepathy'"),
    (["--speedup", "2", "--method", "easycache", "--steps", str(STEPS)], "--method easycache` finds one"),
]


@pytest.mark.parametrize(("options", "reason"), MISTAKES)
def test_mistakes_are_told_in_a_sentence(owl, front, options, reason):
    code, _, stderr = owl(*options)
    assert code != 0 and reason in stderr and "Traceback" not in stderr


def test_without_a_front_the_command_is_told(owl, folders):
    code, _, stderr = owl("--speedup", 2)
    assert code != 0
    assert f"this model for DPMSolverMultistepScheduler: `toca tune {folders['pixart']}` makes one" in stderr
