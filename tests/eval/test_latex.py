"""The table for a paper."""

from __future__ import annotations

import re

from tests.eval.test_page import ROWS, named, results
from toca.eval.report.latex import escaped, latex


def test_the_table_has_its_rules_and_as_many_cells_in_each_row():
    lines = latex(results()).splitlines()
    rules = [line for line in lines if line.startswith("\\") and line.endswith("rule")]
    assert rules == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
    columns = len(re.fullmatch(r"\\begin{tabular}{(l r*)}".replace(" ", ""), lines[2]).group(1))
    rows = [line for line in lines if line.endswith(r"\\")]
    assert len(rows) == 1 + len(ROWS) + 4
    assert {line.count(" & ") + 1 for line in rows} == {columns}


def test_figures_have_their_intervals_as_subscripts():
    text = latex(results())
    assert r"fora interval=2 & $2.00\times$ & $2.00\times$ & $2.00\times$ & $33.0_{[33.0,\,33.0]}$" in text
    assert r"$+3.7_{[+2.7,\,+4.7]}$" in text
    assert r"20 steps & $1.00\times$ & $1.00\times$ & $1.00\times$ & identical" in text


def test_no_name_is_a_command():
    assert escaped("a_b & 50% of #1 {x} \\input{y} $z$ ~^") == (
        r"a\_b \& 50\% of \#1 \{x\} \textbackslash{}input\{y\} \$z\$ \textasciitilde{}\textasciicircum{}"
    )
    text = latex(results([named("\\input{/etc/passwd}\n%", "evil", 1.0, [33.0, 33.0, 33.0])]))
    assert r"\input" not in text and r"\textbackslash{}input\{/etc/passwd\} \%" in text
