"""What people see: the Markdown page and the plot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from tests.eval.test_matching import UNCACHED, matched, method
from toca.eval.findings.results import Results
from toca.eval.report.best import settings_at as at_speedup
from toca.eval.report.curves import frontier
from toca.eval.report.looks import look_of
from toca.eval.report.markdown import notes, report
from toca.eval.report.plot import draw
from toca.eval.variants import Failure

from .fidelities import metrics_with

MACHINE = {"device": "a machine", "threads": 2, "torch": "2", "git": None}


def named(name: str, group: str, seconds: float, psnr: list, **extra):
    return replace(matched(method(seconds, psnr, **extra)), name=name, group=group)


ROWS = [
    named("fora interval=2", "fora", 1.0, [33.0, 33.0, 33.0]),
    named("fora interval=3", "fora", 0.65, [25.0, 25.0, 25.0]),
    named("random", "random", 1.05, [35.0, 36.0, 40.0]),
]


def results(rows=ROWS, failures=()) -> Results:
    config = {
        "config": {"num_inference_steps": 20, "guidance_scale": 4.0},
        "items": [(0, 0, "an owl"), (1, 0, "a cat"), (2, 0, "a dog")],
        "samples": 1,
        "seed": 0,
        "batch_size": 3,
        "bench_batch_size": 2,
        "dtype": "float32",
        "perceptual": None,
    }
    metrics = metrics_with(None)
    return Results("emoji", config, metrics, UNCACHED, list(rows), list(failures), ("then", "now"))


def section(page: str, title: str) -> str:
    return page.split(f"## {title}\n")[1].split("\n## ")[0]


def test_at_a_speed_up_each_method_has_its_nearest_setting():
    assert [row.name for row in at_speedup(ROWS, 2.0)] == ["fora interval=2", "random"]
    assert [row.name for row in at_speedup(ROWS, 3.0)] == ["fora interval=3"]
    assert at_speedup(ROWS, 9.0) == []


def test_the_best_gain_comes_first_and_who_is_missing_is_named():
    page = report(results(), MACHINE, [2.0, 3.0])
    two = section(page, "At 2 times the speed")
    assert two.index("| random |") < two.index("| fora | interval=2 |") < two.index("| fewer steps | 10 steps |")
    assert "No setting" not in two
    assert "No setting within 15%: random." in section(page, "At 3 times the speed")


def test_every_figure_stands_in_the_table():
    line = next(line for line in report(results(), MACHINE, []).splitlines() if line.startswith("| fora interval=2"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:6] == ["2.00 (1.50–2.00)", "2.00 (1.50–2.00)", "2.00", "1.00", "0.0"]
    assert cells[6] == "33.0 [33.0, 33.0]"
    # A second, between 10 steps of 1.1 s with 31 dB and 5 of 0.5 s with 21: 9.17 steps with 29.3.
    assert cells[8] == "+3.7 [+2.7, +4.7] (9.2 steps)"
    assert cells[-1] == "`FrFr`"


def test_uncached_runs_have_a_table_without_gains():
    part = section(report(results(), MACHINE, []), "Without a cache")
    assert "| 16 steps |" in part
    assert "identical" in part.splitlines()[-1]  # the full run
    assert "gain" not in part
    assert len({line.count("|") for line in part.strip().splitlines()}) == 1


def test_failures_are_told_first_and_nothing_is_hidden():
    rows = [named("random", "random", 1.0, [33.0, None, 33.0], flops_speedup=1.0, bypassed=3)]
    found = results(rows, [Failure("toca/flux", "it does not fit")])
    lines = notes(found)
    assert lines[0] == "**toca/flux** failed: it does not fit"
    assert "skipped nothing" in lines[1]
    assert "3 transformer calls ran past" in lines[2]
    page = report(found, MACHINE, [2.0])
    assert "random **(skipped nothing)**" in page
    assert "33.0 [33.0, 33.0] (1 identical)" in page
    assert "| random |" not in section(page, "At 2 times the speed")  # a failure is not put beside what worked


def test_a_match_that_is_far_off_says_how_far():
    page = report(results([named("fast", "fast", 0.2, [30.0, 30.0, 30.0])]), MACHINE, [])
    assert "(5 steps, 4.00×)" in page


def test_steps_that_differ_between_batches_are_noted():
    row = replace(ROWS[0], steps_of_batches={"FrFr": 2, "FFrr": 1})
    assert any("differ from batch to batch: fora interval=2." in note for note in notes(results([row, ROWS[1]])))
    assert not any("differ from batch" in note for note in notes(results()))


def test_noisy_times_are_said_to_be_noisy():
    def with_quartiles(first: float, third: float) -> Results:
        found = results()
        uncached, methods = (
            [replace(row, loop_speedup=(2.0, first, third)) for row in rows]
            for rows in (found.uncached, found.methods)
        )
        return replace(found, uncached=uncached, methods=methods)

    assert any("12% of it apart" in note for note in notes(with_quartiles(1.9, 2.14)))
    assert not any("noisy" in note for note in notes(with_quartiles(1.98, 2.02)))


EVIL = "<img src=x onerror=alert(1)> [x](javascript:alert) `**` | \x1b[31m\r\n\u202e"


def test_texts_of_others_are_only_text():
    made = report(
        replace(results([named(EVIL, EVIL, 1.0, [33.0] * 3)], [Failure(EVIL, EVIL)]), model=EVIL, notes=[EVIL]),
        MACHINE,
        [2.0],
    )
    assert "<img" not in made and "[x](" not in made.replace(r"\[", "")
    assert made.isprintable() or {c for c in made if not c.isprintable()} == {"\n"}
    rows = [line for line in section(made, "All settings").splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {rows[0].count("|")}


def test_titles_and_names_in_plots_are_no_formulas(tmp_path):
    rows = [named("$\\frac{$", "$\\frac{$", 1.0, [33.0, 34.0, 33.0])]
    draw(replace(results(rows), model="$\\frac{$"), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_the_frontier_is_what_nothing_beats():
    points = [(1.0, 40.0), (2.0, 30.0), (1.5, 29.0), (3.0, 20.0), (2.5, 20.0)]
    assert frontier(points) == [(1.0, 40.0), (2.0, 30.0), (3.0, 20.0)]


def colours(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)


def test_the_plot_shows_each_method_in_its_colour(tmp_path):
    fora, random = (tuple(bytes.fromhex(look_of(name).colour[1:])) for name in ("fora", "random"))
    draw(results(), tmp_path / "plot.png")
    for colour in (fora, random):
        assert (colours(tmp_path / "plot.png") == colour).all(1).sum() > 50
    nothing = results([named("fora", "fora", 1.0, [None, None, None]), named("random", "random", 1.0, [1.0] * 3)])
    draw(nothing, tmp_path / "one.png")
    assert (colours(tmp_path / "one.png") == random).all(1).sum() > 20
    assert (colours(tmp_path / "one.png") == fora).all(1).sum() == 0
