"""What the README says is what the product does."""

from __future__ import annotations

from pathlib import Path

from toca.eval.report import read_report
from toca.eval.short_table import short_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_table_is_that_of_the_recorded_results():
    assert short_table(read_report(ROOT / "eval" / "results" / "emoji.json"), (13, 10, 8, 7)) in README
