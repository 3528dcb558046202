"""The report of a run: one HTML page that needs no network, Markdown, CSV and JSON, all from the same figures."""

from toca.eval.findings.quality import Score, ScoreColumn
from toca.eval.report.content import Report
from toca.eval.report.page import page
from toca.eval.report.reading import read_report
from toca.eval.report.writing import write_report

__all__ = ["Report", "Score", "ScoreColumn", "page", "read_report", "write_report"]
