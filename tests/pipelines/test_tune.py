"""`toca tune`: what it asks of a search, what it says and saves, and what it refuses; the search is a stand-in."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
from PIL import Image
from typer.testing import CliRunner

import toca
from tests.fronts import front_of
from toca.pipelines import loading, tuning
from toca.pipelines.cli import app
from toca.pipelines.commands.console import PlainConsole
from toca.pipelines.loading import load
from toca.pipelines.running import fronts
from toca.plan.front import Front
from toca.plan.front_parts import Rule
from toca.tuning.saved import find_front, keep

STEPS = 6
SMALL = ["--height", "64", "--width", "64", "--steps", str(STEPS)]


pytestmark = pytest.mark.usefixtures("quiet_libraries")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `toca` in an empty directory, with nothing tuned before: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(loading, "_best_device", lambda: "cpu")

    def run_toca(*arguments: object) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run_toca


@pytest.fixture
def searches(monkeypatch) -> list[dict[str, Any]]:
    """A search that finds a front made by hand; the arguments of each."""
    asked: list[dict[str, Any]] = []

    def search(pipe: Any, prompts: Any, *, num_inference_steps: int, **told: Any) -> Front:
        asked.append({"prompts": prompts, "num_inference_steps": num_inference_steps, **told})
        told["progress"](0.0, "the full run")
        Path(told["checkpoint"]).write_text("half of it")
        told["progress"](0.5, "segments")
        return front_of(pipe.transformer, pipe.scheduler, num_inference_steps)

    monkeypatch.setattr(toca, "tune", search, raising=False)
    return asked


@pytest.fixture
def prompts(run) -> str:
    Path("prompts.txt").write_text("a red owl\n\na green cat\na red owl\na blue moon\n")
    return "prompts.txt"


def found(folder: str) -> Front:
    return find_front(load(folder, device="cpu"), STEPS).front


def files(folder: str = ".") -> set[str]:
    return {str(path) for path in Path(folder).rglob("*") if path.is_file()}


def test_a_front_is_kept_for_the_speedups_to_come(run, searches, prompts, folders):
    given = ["--prompts-file", prompts, *SMALL, "--seed", 5, "--guidance-scale", 3]
    code, stdout, stderr = run("tune", folders["pixart"], *given)
    assert code == 0, stderr
    (asked,) = searches
    assert asked["prompts"] == ["a red owl", "a green cat", "a blue moon"]
    wanted = {"num_inference_steps": STEPS, "seed": 5, "guidance_scale": 3.0, "height": 64, "width": 64, "methods": []}
    assert wanted.items() <= asked.items() and not {"prompt", "generator"} & set(asked)
    front = found(folders["pixart"])
    assert [entry.speedup for entry in front.entries] == [1.0, 1.6, 2.05, 2.1, 3.4]
    # The state of a search that is at its end is gone.
    assert len(files("cache")) == 1 and files() == {prompts, *files("cache")}

    lines = [line.split() for line in stdout.splitlines()]
    assert ["2x", front.plan(speedup=2).steps, "2.10x", "55.0", "dB", "[54.0,", "56.0]", "44.0", "dB", "(3)"] in lines
    [thresholds] = tuning.thresholds(front, tuning.BUDGETS)
    assert thresholds[0] == "teacache" and thresholds[2] == "47.0 (0.3)" and " ".join(thresholds).split() in lines
    assert [line[0] for line in lines if line and line[0].endswith("x")] == ["1.5x", "2x", "2.5x", "3x"]
    assert "It took 600 model calls in 76 s, on 2 prompts, and on 8 others that the search never saw." in stdout

    # The last line, word for word but for the size: that is what was tuned.
    line = stdout.strip().splitlines()[-1]
    assert line == f"Use it: toca generate 'a red owl' --model {folders['pixart']} --speedup 2 --steps {STEPS}"
    code, stdout, stderr = run("generate", "a red owl", "--model", folders["pixart"], "--speedup", 2, *SMALL)
    assert code == 0, stderr
    assert "tuned speedup=2" in stdout


def test_it_is_saved_and_drawn_where_it_was_asked_for(run, searches, prompts, folders):
    more = ["--output", "files/front.json", "--draw", "pictures/front.png", "--speedup", 2.05]
    code, stdout, stderr = run("tune", folders["pixart"], "--prompts-file", prompts, *SMALL, *more)
    assert code == 0, stderr
    assert files("files") == {"files/front.json"} and Front.load("files/front.json") == found(folders["pixart"])
    assert searches[0]["checkpoint"] == Path("files/front.search.json")
    assert "Saved files/front.json" in stdout and "\n2.05x " in stdout and "--speedup 2.05" in stdout
    with Image.open("pictures/front.png") as image:
        assert min(image.size) > 400


def test_it_is_saved_where_nothing_can_be_kept(run, searches, prompts, folders, monkeypatch):
    monkeypatch.setenv("TOCA_CACHE", str(Path(prompts).absolute()))
    given = ["tune", folders["pixart"], "--prompts-file", prompts, *SMALL]
    code, stdout, stderr = run(*given, "--output", "front.json")
    assert code == 0 and Front.load("front.json") and "Saved front.json" in stdout
    assert "Note: --speedup will not find this front" in stderr
    code, _, stderr = run(*given)
    assert code != 0 and "could not be made" in stderr and len(searches) == 1


def test_a_speedup_that_nothing_reaches_is_refused_when_the_front_is_saved(run, searches, prompts, folders):
    more = ["--speedup", 9, "--draw", "front.png"]
    code, stdout, stderr = run("tune", folders["pixart"], "--prompts-file", prompts, *SMALL, *more)
    assert Path("front.png").is_file()
    assert code != 0 and "No plan is 9 times as fast: the fastest reaches 3.40x" in stderr
    assert found(folders["pixart"]) and re.search(r"\n9x +–", stdout)


def test_classes_by_name_number_or_all_that_there_are(run, searches, folders):
    Path("classes.txt").write_text("207\ngolden retriever\ngoldfish\n")
    code, _, stderr = run("tune", folders["dit"], "--prompts-file", "classes.txt", "--steps", STEPS)
    assert code == 0, stderr
    code, _, stderr = run("tune", folders["dit"], "--prompts", 2, "--steps", STEPS)
    assert code == 0, stderr
    assert [asked["prompts"] for asked in searches] == [[207, 1], [1, 207]]


def test_prompts_of_the_models_own_list(run, searches, folders, tmp_path):
    import json
    import shutil

    model = shutil.copytree(folders["pixart"], tmp_path / "model")
    (model / "prompts.json").write_text(json.dumps([f"a cat of {number}" for number in range(40)]))
    for more in ([], ["--prompts", 4]):
        code, _, stderr = run("tune", model, *SMALL, *more)
        assert code == 0, stderr
    assert [len(asked["prompts"]) for asked in searches] == [tuning.PROMPTS, 4]
    assert sorted(searches[1]["prompts"]) == ["a cat of 0", "a cat of 10", "a cat of 20", "a cat of 30"]


def test_a_search_that_was_stopped_goes_on(run, searches, prompts, folders, monkeypatch):
    given = ["tune", folders["pixart"], "--prompts-file", prompts, *SMALL]
    whole = toca.tune  # type: ignore[attr-defined]

    def stopped(*arguments: Any, **told: Any) -> Front:
        whole(*arguments, **told)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(toca, "tune", stopped)
        code, _, stderr = run(*given)
        assert code == 130 and "The same command goes on from here." in stderr
    assert Path(searches[0]["checkpoint"]).read_text() == "half of it"
    code, _, stderr = run(*given)
    assert code == 0 and "Going on with the search in" in stderr
    assert searches[1]["checkpoint"] == searches[0]["checkpoint"]
    # Another search has a state of its own.
    assert run(*given, "--seed", 7)[0] == 0
    assert searches[2]["checkpoint"] != searches[0]["checkpoint"]


def test_thresholds_are_added_to_the_front_at_hand(run, searches, prompts, folders, monkeypatch):
    asked: list[Any] = []

    def rules(pipe: Any, methods: Any, prompts: Any, held_out: Any, **told: Any) -> tuple[Rule, ...]:
        asked.append((methods, prompts, held_out))
        told["told"]("easycache", 12)
        return (Rule("easycache", "threshold", {}, ((0.2, 2.5, 44.0),)),)

    monkeypatch.setattr(tuning, "tune_rules", rules)
    given = ["tune", folders["pixart"], "--prompts-file", prompts, *SMALL, "--method", "easycache"]
    # Without a front it is a part of the search.
    assert run(*given)[0] == 0
    assert [str(method.name) for method in searches[0]["methods"]] == ["easycache"] and not asked
    code, stdout, stderr = run(*given)
    assert code == 0, stderr
    assert len(searches) == 1 and [m.name for m in asked[0][0]] == ["easycache"]
    assert asked[0][1] == ["a red owl"] and asked[0][2] == ["a green cat", "a blue moon"]
    assert [rule.method for rule in found(folders["pixart"]).rules] == ["teacache", "easycache"]
    assert "44.0 (0.2)" in stdout


MISTAKES = [
    (["--speedup", "0.5"], "`speedup` must be at least 1, got 0.5."),
    (["--prompts", "1"], "Tuning takes two prompts or more, some to search on and others to tell the quality by"),
    (["--prompts", "0"], "got --prompts 0."),
    (["--prompts-file", "one.txt"], "one.txt holds 'a red owl' alone."),
    (["--prompts-file", "empty.txt"], "empty.txt holds no prompt: write one a line."),
    (["--prompts-file", "none.txt"], "There is no file none.txt."),
    (["--prompts-file", "one.txt", "--prompts", "3"], "Give --prompts or --prompts-file, not both."),
    ([], "draw? Name prompts, or classes, a line each, with --prompts-file."),
    (["--method", "fora"], "fora has no threshold that a speed-up could be found by"),
    (["--method", "telepathy"], "Unknown method 'telepathy'"),
    (["--output", "front.yaml"], "A front is saved as .json, got 'front.yaml'."),
    (["--draw", "front.gif"], "front.gif' ends in none of them"),
    (["--output", "one.txt/front.json"], "could not be made"),
]


@pytest.mark.parametrize(("given", "reason"), MISTAKES)
def test_mistakes_are_told_in_a_sentence_before_anything_runs(run, searches, folders, given, reason):
    Path("one.txt").write_text("a red owl\na red owl\n")
    Path("empty.txt").write_text("\n \n")
    code, _, stderr = run("tune", folders["pixart"], *given)
    assert code != 0 and reason in stderr and not searches
    assert files() == {"one.txt", "empty.txt"}


def test_an_unknown_model_is_told(run):
    code, _, stderr = run("tune", "nonsense", "--prompts", 4)
    assert code != 0 and "Unknown model 'nonsense'" in stderr


def test_a_front_that_says_little_is_summed_up_too(front_of_little):
    assert tuning.took(front_of_little) == ""
    rows = tuning.rows(front_of_little, tuning.budgets_with(1.2))
    assert [row[0] for row in rows] == ["1.2x", "1.5x", "2x", "2.5x", "3x"]
    assert rows[1] == ["1.5x", *["–"] * 4]
    assert tuning.thresholds(front_of_little, (2.0,)) == []


@pytest.mark.parametrize("width", [80, 120])
def test_no_plan_is_cut_off_however_many_thresholds_stand_beside_it(width, monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(fronts, "output", PlainConsole(file=text, width=width))
    front = front_of("pixart", diffusers.DPMSolverMultistepScheduler(), 50)
    methods = [f"method-{number}" for number in range(6)]
    rules = tuple(replace(front.rules[0], method=method) for method in methods)
    fronts.print_front(replace(front, rules=rules), tuning.BUDGETS)
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width and "…" not in text.getvalue()
    assert front.plan(speedup=2).steps in "".join(re.findall(r"(?<= )[Fr]+", text.getvalue()))
    assert any("2.10x" in line and "55.0 dB [54.0, 56.0]" in line and "44.0 dB (3)" in line for line in lines)
    assert [line.split()[0] for line in lines if line.startswith("method-")] == methods
    assert all("47.0 (0.3)" in line for line in lines if line.startswith("method-"))


@pytest.fixture
def front_of_little() -> Front:
    whole = front_of("pixart", diffusers.DPMSolverMultistepScheduler())
    return replace(whole, entries=whole.entries[:1], fewer=(), rules=(), made_with={})


def test_keeping_is_undone_by_nobody(run, folders):
    """`keep` of one pipeline is found by another of the same folder."""
    pipe = load(folders["pixart"], device="cpu")
    keep(front_of(pipe.transformer, pipe.scheduler, STEPS), pipe)
    assert found(folders["pixart"]).num_inference_steps == STEPS
