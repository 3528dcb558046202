"""What is called best: never a loss, a tie is called one, and where fewer steps win the report says so."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.eval.test_matching import UNCACHED
from tests.eval.test_page import MACHINE, named, results, section
from toca.eval.metrics.fidelity import PSNR
from toca.eval.report import Report, page, read_report
from toca.eval.report.best import FEWER, LOSS, TIE, UNKNOWN, WIN, best_at, verdict_of
from toca.eval.report.markdown import report as markdown

RECORDED = sorted((Path(__file__).parents[2] / "eval" / "results").glob("*.json"))
# At one second, twice the speed, fewer steps have 28.3, 29.3 and 30.3 dB.
WINNER = named("fora interval=2", "fora", 1.0, [33.0, 34.0, 36.0])
EVEN = named("random", "random", 1.0, [27.0, 30.0, 32.0])
LOSER = named("toca", "toca", 1.0, [23.0, 23.0, 23.0])
WORSE = named("worse", "worse", 1.0, [13.0, 13.0, 13.0])


def test_a_win_is_an_interval_above_zero_and_a_tie_one_that_holds_it():
    assert [verdict_of(row) for row in (WINNER, EVEN, LOSER)] == [WIN, TIE, LOSS]


@pytest.mark.parametrize(
    ("rows", "verdict", "name", "gain"),
    [
        ([LOSER, EVEN, WINNER], WIN, "fora interval=2", r"\+5\.0 dB \[.*\] over 9.2 steps without a cache"),
        ([LOSER, EVEN], TIE, "random", r"a tie with 9.2 steps without a cache: \+0\.3 dB \[-.*, \+.*\]"),
        ([WORSE, LOSER], LOSS, FEWER, r"fewer steps win here: the best method, toca, has -6\.3 dB .* to 9.2 steps .*"),
    ],
)
def test_what_leads_at_a_speed(rows, verdict, name, gain):
    best = best_at(results(rows), 2.0)
    assert (best.verdict, best.name) == (verdict, name)
    assert re.fullmatch(gain, best.gain), best.gain


def test_where_fewer_steps_win_their_own_figure_is_told():
    assert best_at(results([LOSER]), 2.0).figure == "29.3 dB with 9.2 steps"


def test_no_method_near_is_no_winner():
    assert best_at(results([WINNER]), 4.0) is None


def test_what_takes_another_time_proves_only_what_it_can():
    faster = named("fast", "fast", 0.4, [25.0, 25.0, 25.0])  # 5 times as fast; 5 steps are 4 times as fast
    assert verdict_of(faster) == WIN  # better than what takes longer
    assert verdict_of(named("fast", "fast", 0.4, [5.0, 5.0, 5.0])) == UNKNOWN
    slower = named("slow", "slow", 1.9, [50.0, 50.0, 50.0])  # 16 steps take less
    assert verdict_of(slower) == UNKNOWN
    assert verdict_of(named("slow", "slow", 1.9, [30.0, 30.0, 30.0])) == LOSS
    said = r".* over 16 steps without a cache, 1.18×: these take 11% less time, and of more steps there is no run: .*"
    assert re.fullmatch(said, best_at(results([slower]), 1.05).gain)


def test_a_percent_of_time_beyond_the_last_run_proves_something():
    """16 steps take 1.7 s and 10 take 1.1 s: a 30th of a second more is worth half a decibel."""
    near = named("near", "near", 1.73, [43.0, 44.0, 45.0])
    assert near.at_latency.gains[PSNR].mean == pytest.approx(2.5)
    best = best_at(results([near]), 1.15)
    assert best.verdict == WIN and "over 16.3 steps without a cache, extrapolated" in best.gain


def test_one_prompt_proves_nothing():
    gain = replace(WINNER.at_latency.gains[PSNR], low=None, high=None)
    row = replace(WINNER, at_latency=replace(WINNER.at_latency, gains={PSNR: gain}))
    assert verdict_of(row) == UNKNOWN
    assert "one prompt has no interval" in best_at(results([row]), 2.0).gain


def test_the_page_and_the_text_say_it_and_no_loss_is_green():
    for rows, colour in (([WINNER], "win"), ([EVEN], "tie"), ([LOSER], "loss")):
        made = page(Report(results(rows), MACHINE, "toca eval run", (2.0,)))
        best = made.split('id="best"')[1].split("</section>")[0]
        assert f'<span class="{colour}">' in best and best.count("<li>") == 1
    style = made.split("<style>")[1]
    assert "var(--good)" in style.split(".win {")[1].split("}")[0]
    assert style.count("color: var(--good)") == 1
    assert "Best: fewer steps" in section(markdown(results([LOSER]), MACHINE, [2.0]), "At 2 times the speed")


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_results_present_no_loss_as_best(path):
    report = read_report(path)
    found = [best_at(report.results, target) for target in report.speedups]
    assert any(found)
    by_name = {row.name: row for row in report.results.methods}
    for best in filter(None, found):
        assert (best.name == FEWER) == (best.verdict == LOSS)
        if best.verdict == WIN:
            assert by_name[best.name].at_latency.gains[PSNR].low > 0
    text = path.with_suffix(".md").read_text()
    for best in filter(None, found):
        assert f"Best: {best.name}, {best.figure}; " in text.replace("\\", "")


def test_the_recorded_page_holds_the_recorded_data():
    made = (RECORDED[0].parent / "fashion.html").read_text()
    inside = json.loads(made.split('id="data">')[1].split("</script>")[0])
    assert inside == json.loads((RECORDED[0].parent / "fashion.json").read_text())


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_gains_are_those_of_their_samples(path):
    from toca.eval.findings.rows import with_matches

    results = read_report(path).results
    prompts = [prompt for prompt, _, _ in results.config["items"]]
    for row in results.methods:
        assert with_matches(row, results.uncached, results.metrics, prompts).at_latency == row.at_latency


def test_the_rows_of_this_test_are_what_they_claim():
    assert [row.speedup for row in UNCACHED] == [4.0, pytest.approx(2 / 1.1), pytest.approx(2 / 1.7), 1.0]
