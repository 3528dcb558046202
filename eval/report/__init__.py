"""The report of a run: one HTML page that needs no network, Markdown, CSV and JSON, all from the same figures."""

import warnings
from typing import Any

from toca.eval.findings.quality import ScoreColumn, VariantScore
from toca.eval.report.content import Report
from toca.eval.report.page import page
from toca.eval.report.reading import read_report
from toca.eval.report.writing import write_report

__all__ = ["Report", "ScoreColumn", "VariantScore", "page", "read_report", "write_report"]


def __getattr__(name: str) -> Any:
    """The old name of `VariantScore` answers for one release."""
    if name != "Score":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("`Score` is `VariantScore` now; the old name goes with the next release.", DeprecationWarning, 2)
    return VariantScore
