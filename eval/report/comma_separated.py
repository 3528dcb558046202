"""The figures as CSV: one line a variant, and one line a sample."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from toca.checks import visible
from toca.eval.findings.quality import ScoreColumn
from toca.eval.findings.results import Row
from toca.eval.metrics.bootstrap import Interval
from toca.eval.report.again import evaluation
from toca.eval.report.content import Report, is_peer

FORMULA = ("=", "+", "-", "@")
"""How text begins that a spreadsheet takes for a formula."""


def variants_csv(report: Report) -> str:
    """One line a variant, the failed ones with their reason in the last column. An empty cell has no value.

    Times are in seconds for one batch, speed-ups ratios to the full run, sizes in bytes, FLOPs counted in eager mode;
    `_q1` and `_q3` are quartiles, `_p90` the 90th percentile, `_low` and `_high` 95 % intervals of the mean. Numbers
    are written in full: they read back the same.
    """
    lines = [_variant(report, row) for row in report.rows]
    lines += [{"variant": failure.variant, "failure": failure.reason} for failure in report.results.failures]
    return as_csv(lines)


def samples_csv(report: Report) -> str:
    """One line a variant and sample; the PSNR of a sample that equals the full run's is empty."""
    return as_csv(
        {"variant": row.name, "prompt_id": prompt, "sample": sample, "prompt": text}
        | {name: values[i] for name, values in row.samples.items()}
        for row in report.rows
        for i, (prompt, sample, text) in enumerate(report.results.config["items"])
    )


def kind(row: Row) -> str:
    """`"uncached"`, `"peer"` or `"method"`."""
    if row.method is None and not is_peer(row):
        return "uncached"
    return "peer" if is_peer(row) else "method"


def _variant(report: Report, row: Row) -> dict[str, Any]:
    line: dict[str, Any] = {"variant": row.name, "group": row.group, "kind": kind(row)}
    line["num_inference_steps"] = row.num_inference_steps
    for name in ("loop", "total"):
        line[f"{name}_seconds"] = getattr(row, f"{name}_seconds")
        speedup = getattr(row, f"{name}_speedup")
        line |= dict(zip((f"{name}_speedup", f"{name}_speedup_q1", f"{name}_speedup_q3"), speedup, strict=True))
    line |= {"flops_speedup": row.flops_speedup, "wall_over_flops": row.wall_over_flops}
    line |= _costs(row)
    line |= {"cache_bytes": row.cache_bytes, "identical": row.identical, "bypassed": row.bypassed}
    for name in report.results.metrics:
        line |= _interval(name, row.fidelity[name])
        for prefix, match in (("latency", row.at_latency), ("flops", row.at_flops)):
            gain = None if match is None else match.gains.get(name)
            line |= _interval(f"{name}_gain_at_{prefix}", gain)
    for column in report.scores:
        line |= _score(column, row)
    line["command"] = evaluation(row, report.results, report.command)
    failure = "It skipped nothing." if row.skipped_nothing else None
    return line | {"steps": row.steps, "failure": failure}


def _costs(row: Row) -> dict[str, Any]:
    line: dict[str, Any] = {}
    for name, part in row.parts.items():
        base = name.lower().replace(" ", "_")
        seconds = (part.median, part.first_quartile, part.third_quartile, part.p90)
        names = [f"{base}_seconds{suffix}" for suffix in ("", "_q1", "_q3", "_p90")]
        line |= dict(zip(names, seconds, strict=True))
        line |= dict(zip([f"{base}_speedup{suffix}" for suffix in ("", "_q1", "_q3")], part.speedup, strict=True))
        line[f"{base}_flops"] = part.flops
    line |= {"first_run_seconds": row.first_run_seconds, "compile_seconds": row.compile_seconds}
    return line | {f"peak_{name}_bytes": size for name, size in asdict(row.peak).items()}


def _interval(name: str, interval: Interval | None) -> dict[str, float | None]:
    found = (None, None, None) if interval is None else (interval.mean, interval.low, interval.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))


def _score(column: ScoreColumn, row: Row) -> dict[str, Any]:
    score = column.scores.get(row.name)
    return {
        column.label: score and score.value,
        f"{column.label}_low": score and score.low,
        f"{column.label}_high": score and score.high,
        f"{column.label}_deviation": score and score.deviation,
        f"{column.label}_tag": score and column.tag,
        **_interval(f"{column.label}_to_full", None if score is None else score.difference),
    }


def as_csv(lines: Iterable[dict[str, Any]]) -> str:
    """Lines with the same columns, or some of them: an empty cell has no value."""
    lines = list(lines)
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in line.items()} for line in lines)
    return text.getvalue()


def _inert(value: Any) -> Any:
    """Text that a spreadsheet would compute begins with an apostrophe, which makes it text (OWASP, CSV injection)."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text
