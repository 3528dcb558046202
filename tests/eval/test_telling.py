"""What a run says: what it will do, what it takes from before, where it is, how it goes on, and what came out."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from tests.eval.test_page import MACHINE, ROWS, named, results
from toca.eval import run as running
from toca.eval.report import Report
from toca.eval.report.failing import failed, refused_peers
from toca.eval.report.markdown import notes
from toca.eval.telling import Begun, duration, short_report, track
from toca.eval.variants import Failure, Variant


def test_a_run_counts_what_is_there():
    assert str(Begun(made=0, batches=12, timed=0, variants=4)) == "Nothing is there yet."
    later = Begun(made=7, batches=12, timed=1, variants=4)
    assert str(later) == "7 of 12 batches and 1 of 4 times are there already."
    assert later.at_most(60) == "A batch of the full run takes 60 s: the samples take at most 5 min."


@pytest.mark.parametrize(("seconds", "said"), [(40.2, "40 s"), (300, "5 min"), (9000, "2.5 h")])
def test_a_duration_has_the_unit_that_suits_it(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize("terminal", [True, False])
def test_it_says_which_variant_it_is_at_whatever_that_is_called(terminal):
    text = io.StringIO()
    progress = Progress(console=Console(file=text, force_terminal=terminal, width=120))
    with progress:
        for variant in track(progress, "pictures", [Variant("fora [/bold]", "fora"), Variant("b", "b")]):
            progress.refresh()
            assert variant.name in text.getvalue()
    assert progress.tasks[0].finished
    assert ("pictures: b (2 of 2)" in text.getvalue()) == (not terminal)


def test_whoever_stops_a_run_is_told_how_it_goes_on(tmp_path, monkeypatch, capsys):
    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "_run", stopped)
    flags = {"methods": ["fora"], "peers": False}
    with pytest.raises(KeyboardInterrupt):
        running.run(running.STAGES, None, ["emoji"], flags, tmp_path, None, "toca eval run --model emoji")
    said = capsys.readouterr().err
    assert f"kept in {tmp_path}" in said and "toca eval run --model emoji" in said


@pytest.mark.parametrize("begun", [True, False])
def test_whoever_has_no_room_left_is_told_so_too_where_something_is_done(begun, tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError("There is no space left on the disk to write it.")

    monkeypatch.setattr(running, "_run", full)
    if begun:
        (tmp_path / "stages").mkdir()
    with pytest.raises(OSError, match="no space left"):
        running.run(running.STAGES, None, ["emoji"], {"methods": ["fora"], "peers": False}, tmp_path, None, "toca")
    assert (f"kept in {tmp_path}" in capsys.readouterr().err) == begun


def test_the_end_has_the_figures_and_what_is_best():
    lazy = named("lazy", "lazy", 1.0, [33.0] * 3, flops_speedup=1.0)
    lines = short_report(Report(results([*ROWS, lazy]), MACHINE, "", (2.0,))).splitlines()
    assert lines[0].split() == "speed-up PSNR dB gain over fewer steps, dB method".split()
    assert [line.split("  ")[-1] for line in lines[1:5]] == [
        "random", "fora interval=2", "lazy (skipped nothing)", "fora interval=3"
    ]  # fmt: skip
    assert lines[2].split()[:2] == ["2.00x", "33.0"]
    assert lines[-1].startswith("About 2x: random, 37.0 dB at 1.90×; +")


def test_a_run_without_methods_ends_with_the_figures_of_fewer_steps():
    found = Report(results([]), MACHINE, "", (2.0,))
    lines = short_report(found).splitlines()[1:]
    assert [line.split("  ")[-1] for line in lines] == [row.name for row in reversed(found.results.uncached)]
    assert "identical" in lines[0]


def test_a_peer_that_does_not_go_with_the_pipeline_is_no_failure_and_is_told_once():
    refusals = [Failure(f"peer:x threshold={i}", "PeerRefusal: it has no blocks.") for i in range(3)]
    broken = Failure("peer:y", "RuntimeError: it broke.")
    assert refused_peers([*refusals, broken]) == {"peer:x": "it has no blocks."}
    assert failed([*refusals, broken]) == [broken]
    lines = [line for line in notes(results(failures=[*refusals, broken])) if "peer:" in line]
    assert lines == [
        "**peer:y** failed: RuntimeError: it broke.",
        "peer:x does not go with this pipeline: it has no blocks.",
    ]
