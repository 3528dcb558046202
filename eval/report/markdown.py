"""The table as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toca.checks import visible
from toca.eval.findings.matching import REACH, TOLERANCE
from toca.eval.findings.results import Match, Quartiles, Results, Row
from toca.eval.labels import setting_of
from toca.eval.metrics.fidelity import PERCEPTUAL, PSNR
from toca.eval.report.again import evaluation
from toca.eval.report.best import best_at, mean_gain, settings_at
from toca.eval.report.columns import NONE, Cell, interval_cell, mib
from toca.eval.report.failing import failed, refused_peers
from toca.eval.report.quality_columns import quality_columns
from toca.eval.report.scales import scale_of
from toca.eval.report.time_columns import ABOUT, time_columns
from toca.eval.timing.parts import REPEATS, WARMUPS

if TYPE_CHECKING:
    from toca.eval.findings.quality import ScoreColumn

QUIET = 0.05  # spread of the times below which nothing is said about it


def report(
    results: Results,
    environment: dict[str, Any],
    speedups: Sequence[float],
    scores: Sequence[ScoreColumn] = (),
    command: str = "",
) -> str:
    """The whole page of one pipeline.

    Args:
        results (`Results`): What was found.
        environment (`dict`): Machine, versions and revision.
        speedups (`Sequence[float]`): Of the denoising loop, at which methods are put side by side.
        scores (`Sequence[ScoreColumn]`): Quality.
        command (`str`): What made the rows.
    """
    parts = [f"# Methods on `{plain(results.model)}`", _about(results, environment)]
    parts += [_at_speedup(results, target) for target in speedups]
    parts += ["## All settings", table(_columns(results), [_cells(results, row) for row in results.methods])]
    parts += ["## Without a cache"]
    parts += [table(_columns(results)[:-3], [_cells(results, row)[:-3] for row in results.uncached])]
    parts += [_quality(scores, [*results.methods, *results.uncached])] if scores else []
    parts += [_where_time_goes([*results.methods, *results.uncached])]
    parts += [_made_again(results, command)] if command else []
    parts += ["## Notes", "\n".join(f"- {note}" for note in notes(results))]
    return "\n\n".join(parts) + "\n"


def _about(results: Results, environment: dict[str, Any]) -> str:
    config = results.config
    full = results.uncached[-1]
    return (
        f"{config['config']['num_inference_steps']} steps, guidance {config['config']['guidance_scale']}, "
        f"{results.prompts} prompts x {config['samples']}, seed {config['seed']}, batches of {config['batch_size']}, "
        f"of {config['bench_batch_size']} where times are taken; "
        f"the full run takes {full.loop_seconds:.3f} s a batch in the denoising loop, {full.total_seconds:.3f} s from "
        "end to end. "
        f"{environment['device']}, {environment['threads']} threads, torch {environment['torch']}, {config['dtype']}, "
        f"{environment['git'] or 'no checkout'}; taken from {results.taken[0]} to {results.taken[1]}.\n\n"
        "Speed-ups are medians (quartiles) of ratios to the full run, turn by turn; FLOPs are the denoiser's, counted "
        f"in eager mode. Fidelity is against the pictures of the full run{_before_rounding(results)}: means [95 % "
        "paired bootstrap over prompts]. "
        "*Gain* is over the uncached run with fewer steps in the same time, or with as many FLOPs, sample by sample; "
        f"between two numbers of steps it is interpolated, and extrapolated for {REACH:.0%} of time beyond the last. "
        f"More is better.{_in_decibels(results)}"
    )


def _in_decibels(results: Results) -> str:
    """What the columns of decibels are that are no PSNR."""
    scales = [scale_of(name, metric) for name, metric in results.metrics.items()]
    told = [f"{scale.label} is {scale.hint.partition(',')[0]}" for scale in scales if scale.convert is not None]
    return f" {'; '.join(told)}; the CSV file has the metrics as they are." if told else ""


def _before_rounding(results: Results) -> str:
    """Which pictures they are, where they are not those of the files."""
    return ", both before they are rounded to 8 bits" if results.metrics[PSNR].tag else ""


def _at_speedup(results: Results, target: float) -> str:
    """For each method the setting nearest to a speed-up, the best gain first."""
    chosen = sorted(settings_at(results.methods, target), key=mean_gain, reverse=True)
    columns = ["method", "setting", "denoiser", *_labels(results), "gain dB, same time", "cache MiB"]
    rows = [_short_cells(results, row) for row in (*chosen, *settings_at(results.uncached, target))]
    reached = {row.group for row in chosen}
    missing = [group for group in dict.fromkeys(row.group for row in results.methods) if group not in reached]
    text = f"## At {target:g} times the speed\n\n{_verdict(results, target)}{table(columns, rows)}"
    tolerance = f"{TOLERANCE:.0%}"
    return text + (f"\n\nNo setting within {tolerance}: {plain(', '.join(missing))}." if missing else "")


def _verdict(results: Results, target: float) -> str:
    """What is best, in a sentence; nothing where no method comes near."""
    best = best_at(results, target)
    return "" if best is None else f"Best: {plain(best.name)}, {best.figure}; {plain(best.gain)}.\n\n"


def _where_time_goes(rows: Sequence[Row]) -> str:
    columns = time_columns(rows)
    lines = [[plain(row.name), *(_with_detail(column.cell(row)) for column in columns)] for row in rows]
    return f"## Where the time goes\n\n{ABOUT}\n\n{table(['variant', *(column.label for column in columns)], lines)}"


def _made_again(results: Results, command: str) -> str:
    """The command of each row."""
    lines = [[plain(row.name), _code(evaluation(row, results, command))] for row in results.methods]
    return f"## Each row again\n\n{table(['variant', 'command'], lines)}"


def _code(text: str) -> str:
    return f"`{visible(text)}`" if "`" not in text else plain(text)


def _quality(scores: Sequence[ScoreColumn], rows: Sequence[Row]) -> str:
    """A table, what each of its figures was computed with, and why others are not shown."""
    columns = quality_columns(scores)
    lines = [[plain(row.name), *(column.cell(row).line for column in columns)] for row in rows]
    about = [f"{column.label}: {plain(column.tag)}." for column in scores if column.tag]
    about += [f"{column.label}: {plain(column.note)}" for column in scores if column.note]
    about += [plain(sentence) for column in scores for sentence in column.withheld()]
    figures = table(["variant", *(column.label for column in columns)], lines)
    return f"## Quality\n\n{figures}\n\n" + "\n".join(f"- {sentence}" for sentence in about)


def _with_detail(cell: Cell) -> str:
    return f"{cell.text} ({' '.join(cell.detail.split())})" if cell.detail else cell.text


def _short_cells(results: Results, row: Row) -> list[str]:
    speed, gain = f"{row.speedup:.2f}", _gain_text(row.at_latency)
    return [plain(row.group), plain(_setting(row)), speed, *_fidelity(results, row), gain, mib(row.cache_bytes)]


def _setting(row: Row) -> str:
    return setting_of(row.name, row.group) or NONE


def _columns(results: Results) -> list[str]:
    speeds = ["denoiser", "end to end", "FLOPs", "wall / FLOPs", "cache MiB"]
    return ["variant", *speeds, *_labels(results), "gain dB, same time", "gain dB, same FLOPs", "steps"]


def _labels(results: Results) -> list[str]:
    return [scale_of(name, metric).label for name, metric in results.metrics.items()]


def _cells(results: Results, row: Row) -> list[str]:
    speeds = [_quartiles(row.loop_speedup), _quartiles(row.total_speedup), f"{row.flops_speedup:.2f}"]
    speeds += [f"{row.wall_over_flops:.2f}", mib(row.cache_bytes)]
    name = f"{plain(row.name)} **(skipped nothing)**" if row.skipped_nothing else plain(row.name)
    gains = [_gain_text(row.at_latency), _gain_text(row.at_flops)]
    return [name, *speeds, *_fidelity(results, row), *gains, f"`{row.steps}`" if row.steps else NONE]


def _quartiles(ratio: Quartiles) -> str:
    median, first, third = ratio
    return f"{median:.2f} ({first:.2f}–{third:.2f})"


def _fidelity(results: Results, row: Row) -> list[str]:
    scales = {name: scale_of(name, metric) for name, metric in results.metrics.items()}
    cells = [interval_cell(scale.of(row.fidelity[name]), scale.form).line for name, scale in scales.items()]
    if row.identical and row.psnr is not None:
        cells[0] += f" ({row.identical} identical)"
    return cells


def _gain_text(match: Match | None) -> str:
    if match is None:
        return NONE
    gain = match.gains.get(PSNR)
    than = f"({match.text})"
    return f"{NONE} {than}" if gain is None else f"{interval_cell(gain, '+.1f').line} {than}"


def notes(results: Results) -> list[str]:
    """What the figures do not say: failures first."""
    lines = [f"**{plain(failure.variant)}** failed: {plain(failure.reason)}" for failure in failed(results.failures)]
    for name, reason in refused_peers(results.failures).items():
        lines.append(f"{plain(name)} does not go with this pipeline: {plain(reason)}")
    for row in results.methods:
        lines += _row_notes(row)
    lines += [plain(note) for note in results.notes]
    if not all(row.enough_rounds for row in (*results.uncached, *results.methods)):
        lines.append(f"Too few rounds for times to rely on: take {WARMUPS} warm-ups and {REPEATS} repeats.")
    if results.spread() > QUIET:
        lines.append(
            f"**The times are noisy**: the quartiles of a speed-up lie {results.spread():.0%} of it apart in the "
            "middle row. What is matched by time may be matched wrongly; trust what is matched by FLOPs."
        )
    deciding = [row.name for row in results.methods if len(row.steps_of_batches) > 1]
    if deciding:
        names = plain(", ".join(deciding))
        lines.append(f"The steps, here those of the timed batch, differ from batch to batch: {names}.")
    lines.append(
        "PSNR is averaged over the samples that differ from the full run's; identical ones are counted apart. A gain "
        "leaves out the pairs in which either is identical."
    )
    lines.append("The speed-up of the full run is against itself, in turns: what it differs from 1 is noise.")
    lines.append(
        "Where fewer steps say a speed-up of their own, no number of steps takes the variant's time: they take longer "
        "or less."
    )
    if results.config["perceptual"] is not None:
        label = scale_of(PERCEPTUAL, results.metrics[PERCEPTUAL]).label
        lines.append(f"{label}: {results.config['perceptual']}.")
    return lines


def _row_notes(row: Row) -> list[str]:
    lines, name = [], plain(row.name)
    if row.skipped_nothing:
        lines.append(f"**{name}** skipped nothing: it took as many FLOPs as the full run, or more. It failed.")
    if row.bypassed:
        lines.append(f"{name}: {row.bypassed} transformer calls ran past the cache.")
    return lines


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def plain(text: str) -> str:
    """Text of a user's, a file's or a library's: what Markdown or HTML would make of it is taken from it."""
    for sign, harmless in (("&", "&amp;"), ("<", "&lt;"), ("`", "'"), ("[", r"\["), ("*", r"\*")):
        text = text.replace(sign, harmless)
    return visible(" ".join(text.split()))
