"""How far a study is: by its files alone, at any moment, and in the bars of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.progress import Progress
from typer.testing import CliRunner

from tests.eval.test_study import SETTINGS, STEPS, subject
from toca.eval.command import app
from toca.eval.progress.bars import Tally
from toca.eval.progress.left import seconds_left
from toca.eval.progress.outline import Outline, Parts
from toca.eval.progress.pace import Done, paces
from toca.eval.progress.status import StudyStatus, VariantStatus
from toca.eval.progress.told import duration, goes_on_by
from toca.eval.samples import pictures
from toca.eval.samples.shards import Shard
from toca.eval.samples.working import working
from toca.eval.store.store import Store
from toca.eval.study import Study
from toca.eval.variants import parse_variant

FEW = SETTINGS.model_copy(update={"fewer_steps": (3,)})
COMMAND = "toca eval generate my.yaml --shard 1/2 --output out"


def study(output: Path) -> Study:
    store = Store(output / "stages" / "tiny_pixart")
    made = Study(subject(), parse_variant("fora:interval=2"), FEW, store, Progress(disable=True))
    made.outline(COMMAND).write(store.folder)
    return made


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file and its time, but not the time of locks: some releases of filelock touch those that they open."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    times = {path: 0 if path.suffix == ".lock" else path.stat().st_mtime_ns for path in paths}
    return {str(path): (path.read_bytes(), times[path]) for path in paths}


def told(output: Path, *flags: str) -> dict:
    """What `toca eval status --json` says of the study, which changes nothing."""
    before = contents(output)
    result = CliRunner().invoke(app, ["status", str(output), "--json", *flags], catch_exceptions=False)
    assert contents(output) == before
    [found] = json.loads(result.output)["studies"]
    return found


def column(found: dict, name: str) -> list:
    return [variant[name] for variant in found["variants"]]


def test_each_stage_is_told_as_far_as_it_is(tmp_path):
    made = study(tmp_path)
    found = told(tmp_path)
    assert column(found, "name") == ["full", "3 steps", "fora interval=2"]
    assert column(found, "samples") == column(found, "rounds") == [0] * 3
    assert found["seconds_left"] == {"generate": None, "time": None, "score": None}
    made.generate(Shard(0, 2))  # of three samples, two at a time, the first two
    found = told(tmp_path)
    assert column(found, "samples") == [2] * 3
    assert found["samples"] == 3 and found["seconds_left"]["generate"] > 0 and found["seconds_left"]["time"] > 0
    made.generate()
    made.time()
    found = told(tmp_path)
    assert column(found, "samples") == [3] * 3 and column(found, "rounds") == [found["rounds"]] * 3
    assert all(rate > 0 for rate in column(found, "samples_an_hour")[1:])
    assert column(found, "scores") == [0] * 3
    assert found["seconds_left"]["generate"] == 0 == found["seconds_left"]["time"]
    made.score()
    found = told(tmp_path)
    assert column(found, "scores") == column(found, "scores_of") and column(found, "scores")[0] >= 3
    assert found["seconds_left"]["score"] == 0 and found["reported"] is None and found["damaged"] == []
    assert found["goes_on_by"] == "toca eval run my.yaml --output out"


def test_what_is_damaged_is_named_and_left_as_it_is(tmp_path):
    made = study(tmp_path)
    made.generate()
    made.score()
    gone, changed = sorted(tmp_path.rglob("full-*/*.png"))[:2]
    gone.unlink()
    changed.write_bytes(changed.read_bytes()[:-9])
    note = next(tmp_path.rglob("3_steps-*/manifest-00000.jsonl"))
    note.write_bytes(note.read_bytes()[:-40] + b"\n")
    score = next(tmp_path.rglob("fidelity/*.json"))
    score.write_text(score.read_text().replace("values", "valves"))
    found = told(tmp_path)
    assert all(any(str(path) in each for each in found["damaged"]) for path in (gone, note, score))
    assert len(found["damaged"]) == 3 and column(found, "samples")[0] < 3
    assert any(str(changed) in each for each in told(tmp_path, "--verify")["damaged"])


def test_who_is_at_work_and_what_failed_is_told(tmp_path, monkeypatch):
    def broken(subject, variant, *others):
        if variant.method is not None:
            raise ArithmeticError("not with me")
        return original(subject, variant, *others)

    original = pictures.run_items
    monkeypatch.setattr(pictures, "run_items", broken)
    study(tmp_path).generate()
    with working(tmp_path, Shard(1, 4)):
        result = CliRunner().invoke(app, ["status", str(tmp_path)], catch_exceptions=False).output
    assert "fora interval=2 failed: ArithmeticError: not with me" in result
    assert "At work: process " in result and "2 of 4" in result and "it goes on by" not in result
    assert told(tmp_path)["seconds_left"]["generate"] == 0  # what failed may fail again, and counts for nothing
    assert "it goes on by: toca eval run my.yaml" in CliRunner().invoke(app, ["status", str(tmp_path)]).output


def test_a_folder_that_may_only_be_read_tells_all_but_who_is_at_work(tmp_path, monkeypatch):
    def forbidden(path, **options):
        raise PermissionError(13, "Permission denied", str(path))

    study(tmp_path)
    with working(tmp_path):
        pass
    monkeypatch.setattr("toca.eval.store.presence.FileLock", forbidden)
    result = CliRunner().invoke(app, ["status", str(tmp_path)], catch_exceptions=False).output
    assert "samples: 0 of 9" in result and "Who is at work here cannot be told" in result
    assert told(tmp_path)["samples"] == 3


def test_a_report_of_other_settings_is_not_this_studys(tmp_path):
    study(tmp_path)
    (tmp_path / "tiny_pixart.json").write_text("{}")
    assert told(tmp_path)["reported"] is None


def test_where_no_run_began_is_said(tmp_path):
    result = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert result.exit_code != 0 and "No run has begun in" in str(result.exception)


def batches(process: str, variant: str, moments: list[float]) -> list[Done]:
    return [Done(variant, process, moment, 8) for moment in moments]


def test_processes_side_by_side_make_more_an_hour_and_pauses_count_for_nothing():
    alone = batches("0", "full", [0, 10, 20, 30])
    assert paces(alone)["full"].an_hour == pytest.approx(8 * 360)
    both = paces([*alone, *batches("1", "full", [0, 10, 20, 30])])["full"]
    assert (both.an_hour, both.alone) == pytest.approx((2 * 8 * 360, 10 / 8))
    assert paces(batches("0", "full", [0, 10, 20, 30, 90_000, 90_010]))["full"].an_hour == pytest.approx(8 * 360)
    # In turns, one when the other has ended, they are no faster than one.
    after = paces([*batches("0", "full", [0, 10, 20]), *batches("1", "full", [20, 30, 40])])["full"]
    assert after.an_hour == pytest.approx(8 * 360)
    assert paces(batches("0", "full", [0])) == {}


def test_time_left_is_by_the_pace_of_the_variant_and_else_by_the_steps():
    parts = [Parts(name, steps, "", "", "", []) for name, steps in (("full", 20), ("10 steps", 10), ("fora", 20))]
    outline = Outline("m", "c", 80, 8, timed=4, turns=13, rounds="", variants=parts)
    done = [*batches("0", "full", [10.0 * i for i in range(11)]), *batches("0", "10 steps", [105, 110])]
    variants = [VariantStatus("full", 80, 13, 0, 0), VariantStatus("10 steps", 16, 13, 0, 0),
                VariantStatus("fora", 0, 3, 0, 0)]  # fmt: skip
    left = seconds_left(StudyStatus(outline, variants, done, [], None, []))
    assert left["generate"] == pytest.approx(64 * 5 / 8 + 80 * 10 / 8)
    assert left["time"] == pytest.approx((13 + 2 - 3) * 4 * (10 / 8) * (1 + 1 / 4))
    assert left["score"] == 0.0


def test_a_study_is_told_in_one_line_before_as_it_begins_and_in_its_status(tmp_path):
    told_of = study(tmp_path).outline(COMMAND).summary
    assert told_of == "1 method, 1 run with fewer steps and the full one, 3 samples each"
    shown = CliRunner().invoke(app, ["status", str(tmp_path)], catch_exceptions=False).output
    assert f"tiny/pixart: {told_of}\n" in shown


def test_the_command_that_goes_on_is_of_all_stages_and_all_samples():
    outline = Outline("m", "python -m toca.eval score --model=a --shard=2/3", 1, 1, 1, 1, "", [])
    assert goes_on_by(StudyStatus(outline, [], [], [], None, [])) == "python -m toca.eval run --model=a"


def test_a_bar_tells_the_pace_of_what_is_new():
    now = [0.0]
    progress = Progress(disable=True)
    tally = Tally(progress, "samples", 100 * STEPS, clock=lambda: now[0])
    now[0] = 500.0
    tally.add(40, new=False, weight=STEPS)  # to look at what is there says nothing of the pace
    assert tally.pace == ""
    now[0] = 510.0
    tally.add(10, new=True, weight=STEPS)
    assert tally.pace == "3,600 samples an hour, 50 s left"
    assert progress.tasks[0].percentage == 50


@pytest.mark.parametrize("seconds, text", [(3.2, "3 s"), (600, "10 min"), (9000, "2.5 h"), (4 * 86400, "4.0 days")])
def test_durations_are_told_in_their_unit(seconds, text):
    assert duration(seconds) == text
