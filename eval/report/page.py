"""The page: one HTML file with everything in it.

It loads nothing from anywhere, but for one picture of its own run: where that is, so are the samples of its rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from toca.eval.report.again import commands
from toca.eval.report.best import Best, best_at
from toca.eval.report.comma_separated import variants_csv
from toca.eval.report.content import Report, is_peer
from toca.eval.report.failing import failed, refused_peers
from toca.eval.report.figures import Plot, plots
from toca.eval.report.grids import grids
from toca.eval.report.images import LONGEST, data_uri
from toca.eval.report.markdown import notes
from toca.eval.report.missing import missing
from toca.eval.report.sample_pages import Samples
from toca.eval.report.table import make_table, make_time_table
from toca.eval.report.templating import script, style, template
from toca.eval.report.time_columns import ABOUT
from toca.eval.report.tokens import token_wise
from toca.eval.report.traces import LETTERS, traces
from toca.eval.store.naming import slug


def page(report: Report, samples: Samples | None = None) -> str:
    """The whole page as HTML. The same report gives the same text.

    Args:
        report (`Report`): What it shows.
        samples (`Samples`, *optional*): Those that lie below the page: rows lead to them.

    Raises:
        ValueError: If pictures or token maps do not fit the run.
    """
    results = report.results
    return template("page.html.j2").render(
        report=report,
        results=results,
        facts=_facts(report),
        best=_best_of(report),
        failures=failed(results.failures),
        refused=refused_peers(results.failures),
        missing=missing(report),
        table=make_table(report),
        times=make_time_table(report),
        again=[(row.name, commands(row, report.results, report.command)) for row in report.rows],
        samples=samples,
        leads=["" if samples is None else samples.pages.get(row.name, "") for row in report.rows],
        about_times=ABOUT,
        plots=[(plot, _about(plot), _uri(plot.wide), _uri(plot.narrow)) for plot in plots(report)],
        grids=grids(report),
        longest=LONGEST,
        token_wise=token_wise(report),
        has_token_wise=any("t" in row.steps for row in results.methods),
        traces=traces(results.methods),
        letters=LETTERS,
        notes=_notes(report),
        withheld=[sentence for column in report.scores for sentence in column.withheld()],
        machine=_flat(report.environment),
        configuration=_configuration(report),
        peers=any(is_peer(row) for row in results.methods),
        data=_data(report),
        csv=data_uri(variants_csv(report).encode(), "text/csv"),
        file_name=slug(results.model),
        style=style(),
        script=script(),
    )


def _data(report: Report) -> dict[str, Any]:
    """What the page holds of the figures: of many samples not each."""
    data = report.to_data()
    if not report.lists_samples:
        data["config"] = {name: value for name, value in data["config"].items() if name != "items"}
        for row in (*data["uncached"], *data["methods"]):
            del row["samples"]
    return data


def _uri(svg: bytes) -> str:
    return data_uri(svg, "image/svg+xml")


def _about(plot: Plot) -> str:
    """What a plot shows, for those who do not see it."""
    return (
        f"Scatter plot: speed-up of the denoising loop to the right, {plot.label} with the better values further up; "
        f"{plot.methods} methods, a line each, and the uncached run with fewer steps. "
        "Every figure of it stands in the table."
    )


def _facts(report: Report) -> list[tuple[str, str]]:
    """What was measured and on what, in the fewest words."""
    results, environment = report.results, report.environment
    config, full = results.config, report.full
    call = config["config"]
    lost = len(failed(results.failures)) + sum(row.skipped_nothing for row in results.methods)
    return [
        ("Methods", f"{len({row.group for row in results.methods})}, in {len(results.methods)} settings"),
        ("Failed", f"{lost}" if lost else "none"),
        ("Pictures", f"{results.prompts} prompts × {config['samples']}, seed {config['seed']}"),
        ("Full run", f"{full.num_inference_steps} steps, guidance {call['guidance_scale']}"),
        ("Batch", f"{config['batch_size']}, for times {config['bench_batch_size']}, in {config['dtype']}"),
        ("Its time", f"{full.loop_seconds:.3f} s in the denoising loop, {full.total_seconds:.3f} s end to end"),
        ("Machine", f"{environment['device']}, {environment['threads']} threads"),
        ("Software", f"torch {environment['torch']}, {_revision(environment['git'])}"),
        ("Taken", f"{results.taken[0]} to {results.taken[1]}"),
        ("Noise", f"a speed-up's quartiles lie {results.spread():.1%} of it apart in the middle row"),
    ]


def _revision(git: str | None) -> str:
    """The commit, cut to what tells it from others; the whole stands in the environment."""
    if not git:
        return "no checkout"
    commit, dash, state = git.partition("-")
    return f"revision {commit[:10]}{dash}{state}"


def _best_of(report: Report) -> list[Best]:
    """At each speed-up what leads there; none where no method comes near."""
    found = (best_at(report.results, target) for target in report.speedups)
    return [best for best in found if best is not None]


def _notes(report: Report) -> list[str]:
    """What Markdown says below its tables too; failures have a place of their own."""
    lines = [line.replace("**", "") for line in notes(replace(report.results, failures=[]))]
    lines += [f"{column.label}: {column.note}" for column in report.scores if column.note]
    if report.results.prompts < 2:
        lines.append("There is one prompt only, and no interval can be told from one.")
    return lines


def _flat(data: dict[str, Any], before: str = "") -> Sequence[tuple[str, str]]:
    """Nested plain data as pairs of a dotted name and a text."""
    pairs: list[tuple[str, str]] = []
    for name, value in data.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{before}{name}.")
        else:
            pairs.append((before + name, "–" if value is None else f"{value}"))
    return pairs


def _configuration(report: Report) -> str:
    """All that was set, without the list of samples, which the page shows by itself."""
    config = {name: value for name, value in report.results.config.items() if name != "items"}
    return json.dumps(config, indent=1, ensure_ascii=False, default=repr)
