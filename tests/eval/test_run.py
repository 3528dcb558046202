"""`toca eval` from beginning to end on a tiny random pipeline: its stages, its shards, two processes, its failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipelines.folders import save_tiny
from toca.eval.run import STAGES, run
from toca.eval.samples import pictures
from toca.eval.timing import speed

PROMPTS = ["a red owl", "a blue cat", "a star", "the moon", "a dog"]
FLAGS = {
    "methods": ["fora:interval=2", "toca/pixart:interval=3;fresh_ratio=0.3"], "peers": False, "fewer_steps": [3],
    "steps": 6, "guidance_scale": 2.0, "batch_size": 2, "repeats": 1, "warmups": 1, "device": "cpu", "seed": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = save_tiny("pixart", tmp_path_factory.mktemp("pipelines") / "tiny")
    (made / "prompts.json").write_text(json.dumps(PROMPTS))
    return made


def start(folder: Path, output: Path, *stages, shard: str | None = None, **flags) -> None:
    run(stages or STAGES, None, [str(folder)], FLAGS | flags, output, shard, "toca eval run")


def contents(folder: Path) -> dict[str, bytes]:
    """Every picture, by its place below the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("p*.png"))}


def results(output: Path) -> dict:
    return json.loads(next(path for path in output.glob("*.json")).read_text())


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("whole")
    start(folder, output)
    return output


def test_a_run_writes_its_report(whole, folder):
    suffixes = [".csv", ".csv", ".html", ".json", ".md", ".png", ".tex"]
    assert sorted(path.suffix for path in whole.glob("*.*")) == suffixes
    found = results(whole)
    assert [row["name"] for row in found["methods"]] == ["fora interval=2", "toca/pixart interval=3 fresh_ratio=0.3"]
    assert [row["name"] for row in found["uncached"]] == ["3 steps", "full"]
    assert found["model"] == str(folder) and found["command"] == "toca eval run"
    assert len(contents(whole)) == 4 * len(PROMPTS)
    page = next(whole.glob("*.html")).read_text()
    assert "toca/pixart" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_what_is_done_is_not_done_again(whole, folder, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("it was done before")

    monkeypatch.setattr(pictures, "run_items", refuse)
    monkeypatch.setattr(speed.Stopwatch, "_measure", refuse)
    before = results(whole)
    start(folder, whole)
    assert results(whole) == before


def test_stages_and_shards_run_apart(whole, folder, tmp_path, without_plots):
    with pytest.raises(ValueError, match="lacks 3 of 3 batches of pictures: run the stage `generate`"):
        start(folder, tmp_path, "time")
    start(folder, tmp_path, "generate", shard="2/2")
    with pytest.raises(ValueError, match="lacks 2 of 3 batches"):
        start(folder, tmp_path, "score")
    start(folder, tmp_path, "generate", shard="1/2")
    assert contents(tmp_path) == contents(whole)
    with pytest.raises(ValueError, match="run the stage `time`"):
        start(folder, tmp_path, "report")
    for stage in ("time", "score", "report"):
        start(folder, tmp_path, stage)
    ours, theirs = results(tmp_path), results(whole)
    assert [row["samples"] for row in ours["methods"]] == [row["samples"] for row in theirs["methods"]]


def test_a_shard_is_no_whole_run(folder, tmp_path):
    with pytest.raises(ValueError, match="--shard 1/2 belongs to `toca eval generate`"):
        start(folder, tmp_path, shard="1/2")
    with pytest.raises(ValueError, match="got '3/2'"):
        start(folder, tmp_path, "generate", shard="3/2")


def test_a_changed_run_makes_its_own_samples_beside_the_old_ones(whole, folder, tmp_path):
    start(folder, tmp_path, "generate")
    start(folder, tmp_path, "generate", seed=4)
    old, both = contents(whole), contents(tmp_path)
    assert old.items() <= both.items() and len(both) == 2 * len(old)
    with pytest.raises(ValueError, match="run the stage `generate`"):
        start(folder, tmp_path, "score", seed=5)


def test_a_run_that_skipped_nothing_fails_after_its_report(folder, tmp_path, without_plots):
    with pytest.raises(ValueError, match="skipped nothing: toca interval=1 on .*tiny"):
        start(folder, tmp_path, methods=["toca:interval=1", "fora"], prompts=1)
    assert "It failed" in next(tmp_path.glob("*.md")).read_text()


def test_a_method_that_raises_is_a_failure_and_the_others_go_on(folder, tmp_path, without_plots):
    start(folder, tmp_path, methods=["fora", "magcache"], prompts=1)
    found = results(tmp_path)
    assert [row["name"] for row in found["methods"]] == ["fora"]
    assert {each["variant"] for each in found["failures"]} == {"magcache"}


def test_a_run_of_which_every_method_failed_fails_after_its_report(folder, tmp_path, without_plots, capsys):
    """A method that has no calibration raises when it is put on."""
    flags = {"methods": ["magcache", "smoothcache"], "prompts": 1}
    said = f"The run failed on {folder}, for all 2 methods, the first of them magcache, failed: ValueError: "
    with pytest.raises(ValueError, match=said):
        start(folder, tmp_path, "generate", **flags)
    assert "magcache failed: ValueError: " in capsys.readouterr().err
    with pytest.raises(ValueError, match=said):
        start(folder, tmp_path, **flags)
    assert len(results(tmp_path)["failures"]) == 2 and results(tmp_path)["methods"] == []
    with pytest.raises(ValueError, match="for the only method, magcache, failed"):
        start(folder, tmp_path, "time", methods=["magcache"], prompts=1)


def test_mistakes_are_told_before_anything_is_made(folder, tmp_path):
    for flags, said in (
        ({"methods": ["forra"]}, "Unknown method 'forra'"),
        ({"fewer_steps": [6]}, "6 are no fewer than the 6 steps"),
        ({"prompts_file": "nowhere.txt"}, "nowhere.txt"),
        ({"scores.reference": "nowhere.npz", "scores.features": "emoji-clip"}, "nowhere.npz"),
        ({"batch_sise": 2}, "did you mean `batch_size`"),
    ):
        with pytest.raises((ValueError, OSError), match=said):
            start(folder, tmp_path, **flags)
    assert not list(tmp_path.rglob("*.png"))


def launched(folder: Path, output: Path) -> subprocess.Popen:
    """Two processes by accelerate, in a session of their own so that all of it can be killed."""
    flags = [f"--set={key}={json.dumps(value)}" for key, value in FLAGS.items()]
    launcher = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--cpu"]
    launcher += "--num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no".split()
    launcher += ["--main_process_port", "0"]
    command = [*launcher, "-m", "toca.eval", "run", "--model", str(folder), "--output", str(output), *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], start_new_session=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip


def test_two_processes_of_a_launcher_are_killed_and_go_on(whole, folder, tmp_path):
    first = launched(folder, tmp_path)
    deadline = time.monotonic() + 180
    while not list(tmp_path.rglob("p*.png")) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    made = len(contents(tmp_path))
    assert 0 < made < len(contents(whole))
    again = launched(folder, tmp_path)
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert contents(tmp_path) == contents(whole)
    ours = [row["samples"]["psnr"] for row in results(tmp_path)["methods"]]
    assert ours == [row["samples"]["psnr"] for row in results(whole)["methods"]]


def test_without_the_extra_it_is_said_what_to_install():
    script = "import sys; sys.modules['jinja2'] = None; sys.argv = ['toca', 'eval', 'run', 'smoke']; "
    script += "from toca.pipelines.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'needs the module jinja2: pip install ".[eval]" in the checkout' in done.stderr
    assert "Traceback" not in done.stderr
