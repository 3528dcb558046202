"""The table of all settings for a paper: LaTeX with booktabs, intervals as subscripts."""

from __future__ import annotations

from collections.abc import Sequence

from toca.checks import visible
from toca.eval.findings.quality import ScoreColumn
from toca.eval.findings.results import Match, Results, Row
from toca.eval.metrics.bootstrap import Interval
from toca.eval.metrics.fidelity import PSNR
from toca.eval.report.columns import Cell
from toca.eval.report.quality_columns import quality_columns

NONE = "--"
SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "×": r"$\times$", "–": "--", "±": r"\pm ",
}  # fmt: skip


def latex(results: Results, scores: Sequence[ScoreColumn] = ()) -> str:
    """A table to `\\input`, which needs `booktabs`.

    Args:
        results (`Results`): What was found.
        scores (`Sequence[ScoreColumn]`): Quality.
    """
    head = ["Setting", "Denoiser", "End to end", "FLOPs", *(metric.text for metric in results.metrics.values())]
    head += ["Gain, same time (dB)", "Gain, same FLOPs (dB)", *(column.label for column in quality_columns(scores))]
    methods, uncached = ([_line(results, scores, row) for row in rows] for rows in (results.methods, results.uncached))
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}",
        r"\toprule",
        _row([escaped(cell) for cell in head]),
        r"\midrule",
        *methods,
        r"\midrule",
        *uncached,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    about = (
        f"{results.model}: {results.config['config']['num_inference_steps']} steps, {results.prompts} prompts, "
        "speed-ups over the full run; fidelity to it and gain over fewer steps with 95 % bootstrap intervals"
    )
    return "\n".join([f"% {' '.join(visible(about).split())}", *lines]) + "\n"


def _line(results: Results, scores: Sequence[ScoreColumn], row: Row) -> str:
    cells = [escaped(row.name)]
    cells += [f"${speed:.2f}\\times$" for speed in (row.speedup, row.total_speedup[0], row.flops_speedup)]
    cells += [_interval(row.fidelity[name], f".{metric.digits}f") for name, metric in results.metrics.items()]
    cells += [_gain(row.at_latency), _gain(row.at_flops)]
    cells += [_cell(column.cell(row)) for column in quality_columns(scores)]
    return _row(cells)


def _gain(match: Match | None) -> str:
    return NONE if match is None else _interval(match.gains.get(PSNR), "+.1f", NONE)


def _cell(cell: Cell) -> str:
    if not cell.detail:
        return escaped(cell.text)
    below = escaped(cell.detail).replace(", ", r",\,")
    return f"${escaped(cell.text)}_{{{below}}}$"


def _interval(interval: Interval | None, form: str, missing: str = "identical") -> str:
    """A mean with its interval as a subscript."""
    if interval is None:
        return missing
    if interval.low is None or interval.high is None:
        return f"${interval.mean:{form}}$"
    return f"${interval.mean:{form}}_{{[{interval.low:{form}},\\,{interval.high:{form}}]}}$"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def escaped(text: str) -> str:
    """Text of a user's, a file's or a library's, of which LaTeX makes nothing else."""
    return "".join(SIGNS.get(sign, sign) for sign in visible(" ".join(text.split())))
