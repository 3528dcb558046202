"""What is best at a speed-up: a method, fewer steps, or nobody knows; never a loss, and a tie is called one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toca.eval.findings.matching import at_equal_time, matches, nearest
from toca.eval.findings.results import LONGER, SHORTER, Results, Row, steps_text
from toca.eval.metrics.bootstrap import Interval
from toca.eval.metrics.fidelity import PSNR
from toca.eval.report.columns import interval_cell

WIN, TIE, LOSS, UNKNOWN = "win", "tie", "loss", "unknown"
FEWER = "fewer steps"


@dataclass(frozen=True)
class Best:
    """What leads at one speed-up; texts for people.

    Args:
        speedup (`float`): About which.
        verdict (`str`): `WIN` where a method beats fewer steps of the same time, `TIE` where none does and the
            interval of the best holds zero, `LOSS` where fewer steps win, `UNKNOWN` where nothing takes the same time,
            or there is no interval.
        name (`str`): Of the method, or of fewer steps.
        figure, interval (`str`): Its PSNR, and what it lies between.
        gain (`str`): What tells it from fewer steps, or why nothing can.
    """

    speedup: float
    verdict: str
    name: str
    figure: str
    interval: str
    gain: str


def verdict_of(row: Row) -> str:
    """Whether a method is better than fewer steps of the same time, by the paired interval of the difference."""
    gain = gain_of(row)
    if row.at_latency is None or gain is None or gain.low is None or gain.high is None:
        return UNKNOWN
    takes = row.at_latency.takes
    # To beat what takes longer, or to lose to what takes less time, says all; the other way round it says nothing.
    if gain.low > 0:
        return UNKNOWN if takes == SHORTER else WIN
    if gain.high < 0:
        return UNKNOWN if takes == LONGER else LOSS
    return UNKNOWN if takes in (LONGER, SHORTER) else TIE


def gain_of(row: Row) -> Interval | None:
    """By how many decibels a method is above fewer steps of the same time."""
    return row.at_latency.gains.get(PSNR) if row.at_latency else None


def settings_at(rows: Sequence[Row], target: float) -> list[Row]:
    """Of each group the row nearest in speed to `target`, if it is within the tolerance. What failed is left out."""
    chosen = []
    for group in dict.fromkeys(row.group for row in rows):
        members = {i: row.speedup for i, row in enumerate(rows) if row.group == group and not row.skipped_nothing}
        best = nearest(target, members) if members else None
        if best is not None and matches(target, members[best]):
            chosen.append(rows[best])
    return chosen


def best_at(results: Results, target: float) -> Best | None:
    """What is best at a speed-up; `None` where no method comes near it."""
    rows = [row for row in settings_at(results.methods, target) if gain_of(row) is not None]
    if not rows:
        return None
    found = {verdict_of(row) for row in rows}
    # Fewer steps win where all methods lose, and not where one may be better.
    verdict = next(verdict for verdict in (WIN, TIE, UNKNOWN, LOSS) if verdict in found)
    leader = max((row for row in rows if verdict_of(row) == verdict), key=mean_gain)
    return _fewer_win(results, target, leader) if verdict == LOSS else _led_by(leader, target, verdict)


def mean_gain(row: Row) -> float:
    """What rows are ordered by; those without a value come last."""
    gain = gain_of(row)
    return float("-inf") if gain is None else gain.mean


def _led_by(row: Row, target: float, verdict: str) -> Best:
    psnr, steps = interval_cell(row.fidelity[PSNR], ".1f"), _steps(row)
    gain = interval_cell(gain_of(row), "+.1f")
    words = {
        WIN: f"{gain.text} dB {gain.detail} over {steps}",
        TIE: f"a tie with {steps}: {gain.text} dB {gain.detail}",
        UNKNOWN: f"{gain.text} dB {gain.detail} over {steps}: {_why_unknown(row)}",
    }
    figure, words_of = f"{psnr.text} dB at {row.speedup:.2f}×", " ".join(words[verdict].split())
    return Best(target, verdict, row.name, figure, psnr.detail, words_of)


def _why_unknown(row: Row) -> str:
    """Why no verdict can be told, and what would tell it."""
    match, gain = row.at_latency, gain_of(row)
    if match is None or gain is None or gain.low is None:
        return "one prompt has no interval, take more with --prompts"
    percent = f"{abs(row.speedup / match.speedup - 1):.0%}"
    takes, which = ("less", "more") if match.takes == SHORTER else ("more", "fewer")
    return f"these take {percent} {takes} time, and of {which} steps there is no run: add some to `fewer_steps`"


def _fewer_win(results: Results, target: float, loser: Row) -> Best:
    fewer = [row for row in results.uncached if row.psnr is not None]
    weights = at_equal_time(target, [row.speedup for row in fewer])
    steps = sum(weight * fewer[i].num_inference_steps for i, weight in weights.items())
    psnr = sum(weight * (fewer[i].psnr or 0.0) for i, weight in weights.items())
    gain = interval_cell(gain_of(loser), "+.1f")
    words = f"fewer steps win here: the best method, {loser.name}, has {gain.text} dB {gain.detail} to {_steps(loser)}"
    return Best(target, LOSS, FEWER, f"{psnr:.1f} dB with {steps_text(steps)}", "", words)


def _steps(row: Row) -> str:
    """The uncached run that a method is compared with."""
    if row.at_latency is None:
        return FEWER
    steps, comma, how = row.at_latency.text.partition(",")
    return f"{steps} without a cache{comma}{how}"
