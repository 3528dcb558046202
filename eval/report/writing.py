"""All files of a report."""

from __future__ import annotations

from pathlib import Path

from toca.eval.report.comma_separated import samples_csv, variants_csv
from toca.eval.report.content import Report
from toca.eval.report.latex import latex
from toca.eval.report.markdown import report as markdown
from toca.eval.report.page import page
from toca.eval.report.sample_pages import samples_below, write_sample_pages
from toca.eval.store.naming import slug
from toca.eval.store.sealed import write_json
from toca.files.writing import atomic_path


def write_report(report: Report, folder: str | Path) -> list[Path]:
    """Write `<model>.html`, `.md`, `.tex`, `.csv` (a line a variant), `.samples.csv` (a line a sample) and `.json`,
    each whole or not at all; and beside the samples of each row, where they lie below the folder, a page of them.

    Args:
        report (`Report`): What they show.
        folder (`str` or `Path`): Where; made if it is not there.

    Returns:
        `list[Path]`: The files, the page first.

    Raises:
        OSError: If a file cannot be written; it says which and why.
    """
    samples = samples_below(report, Path(folder))
    base = Path(folder) / slug(report.results.model)
    texts = {
        ".html": page(report, samples),
        ".md": markdown(report.results, report.environment, report.speedups, report.scores, report.command),
        ".tex": latex(report.results, report.scores),
        ".csv": variants_csv(report),
        ".samples.csv": samples_csv(report),
    }
    paths = [base.with_name(base.name + suffix) for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with atomic_path(path) as temporary:
            # As it stands: CSV ends its lines in the same way on every system.
            temporary.write_bytes(text.encode())
    write_sample_pages(report, samples, paths[0])
    data = base.with_name(f"{base.name}.json")
    write_json(data, report.to_data())
    return [*paths, data]
