"""Where the time goes, as people read it: Markdown, page, CSV and JSON, from made-up figures."""

from __future__ import annotations

import csv
import html
import importlib
import io
import json
from dataclasses import replace

import pytest

from tests.eval.test_page import MACHINE, ROWS, results, section
from tests.eval.test_report import Reader, plain_text
from toca.eval.findings.results import PartCost, Row
from toca.eval.report import Report, page, read_report, write_report
from toca.eval.report.columns import NONE
from toca.eval.report.comma_separated import variants_csv
from toca.eval.report.markdown import notes
from toca.eval.report.markdown import report as markdown
from toca.eval.report.table import make_time_table
from toca.eval.report.time_columns import ABOUT, time_columns
from toca.eval.timing.parts import DENOISER, TEXT_ENCODER, TOTAL, VAE_DECODE, Peak

PARTS = {
    TEXT_ENCODER: PartCost(0.01234, 0.012, 0.0131, 0.0149, (1.0, 0.98, 1.02), 1_500_000),
    DENOISER: PartCost(1.5, 1.4, 1.6, 1.75, (2.0, 1.9, 2.1), 2_340_000_000_000),
    VAE_DECODE: PartCost(0.4, 0.4, 0.4, 0.4, (1.0, 1.0, 1.0), 70_000_000_000),
    TOTAL: PartCost(2.0, 1.9, 2.1, 2.5, (1.6, 1.5, 1.7), 2_410_001_500_000),
}
ON_GPU = Peak(allocated=3 * 2**30, reserved=4 * 2**30)
CACHE = 5 * 2**19
ROW = replace(
    ROWS[0], parts=PARTS, total_seconds=2.0, first_run_seconds=32.0, peak=ON_GPU, cache_bytes=CACHE, flops_speedup=2.5
)


def report(row: Row = ROW) -> Report:
    return Report(results([row]), MACHINE, "toca eval run", (2.0,))


def cells(row: Row, rows: list[Row] | None = None) -> dict[str, tuple[str, str]]:
    found = ((column.label, column.cell(row)) for column in time_columns(rows or [row]))
    return {label: (cell.text, cell.detail) for label, cell in found}


def test_every_figure_has_its_cell():
    assert cells(ROW) == {
        "text encoder": ("0.0123", "0.0120–0.0131,\np90 0.0149"),
        "denoiser": ("1.50", "1.40–1.60,\np90 1.75"),
        "VAE decode": ("0.400", "0.400–0.400,\np90 0.400"),
        "end to end": ("2.00", "1.90–2.10,\np90 2.50"),
        "first run": ("32.0", "+30.0"),
        "denoiser's share": ("75.0%", ""),
        "denoiser's FLOPs": ("2.34 T", ""),
        "peak allocated, GiB": ("3.00", ""),
        "peak reserved, GiB": ("4.00", ""),
        "cache, MiB": ("2.5", ""),
    }


@pytest.mark.parametrize(
    ("flops", "text"), [(999, "0.999 K"), (45_600, "45.6 K"), (999_000_000, "999 M"), (3_210_000_000, "3.21 G")]
)
def test_flops_have_a_unit_that_suits_them(flops, text):
    row = replace(ROW, parts={**PARTS, DENOISER: replace(PARTS[DENOISER], flops=flops)})
    assert cells(row)["denoiser's FLOPs"][0] == text


def test_a_cpu_has_the_memory_of_the_process_and_what_nobody_knows_has_no_column():
    on_cpu = replace(ROW, peak=Peak(resident=2**29))
    assert [label for label in cells(on_cpu) if "peak" in label] == ["peak resident, GiB"]
    assert cells(on_cpu)["peak resident, GiB"][0] == "0.50"
    assert not [label for label in cells(replace(ROW, peak=Peak())) if "peak" in label]


def test_a_part_that_one_row_lacks_is_a_gap_and_one_that_all_lack_is_no_column():
    silent = replace(ROW, parts={name: part for name, part in PARTS.items() if name != TEXT_ENCODER})
    assert cells(silent, [silent, ROW])["text encoder"] == (NONE, "")
    assert "text encoder" not in cells(silent)


def test_markdown_has_a_line_of_every_variant():
    part = section(markdown(results([ROW]), MACHINE, []), "Where the time goes")
    assert ABOUT in part
    lines = [line for line in part.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| fora interval=2", "| 5 steps", "| 10 steps", "| 16 steps", "| 20 steps",
    ]  # fmt: skip
    assert "| 0.0123 (0.0120–0.0131, p90 0.0149) | 1.50 (1.40–1.60, p90 1.75) |" in lines[2]
    assert "| 32.0 (+30.0) | 75.0% | 2.34 T | 3.00 | 4.00 |" in lines[2]


def test_what_the_stages_say_is_a_note():
    sentence = "LPIPS is not told: the pictures are too small."
    assert sentence in notes(replace(results([ROW]), notes=[sentence]))


def test_too_few_rounds_are_said():
    few = "Too few rounds for times to rely on: take 3 warm-ups and 10 repeats."
    assert few in notes(results([ROW]))
    enough = results([replace(ROW, enough_rounds=True)])
    assert few not in notes(replace(enough, uncached=[replace(row, enough_rounds=True) for row in enough.uncached]))


def test_the_page_has_the_same_figures_in_a_box_that_scrolls(monkeypatch):
    monkeypatch.setattr(importlib.import_module("toca.eval.report.page"), "plots", lambda report: [])
    made = page(report())
    reader = Reader(made)
    assert {"times", "seconds"} <= set(reader.ids)
    box = made[made.index('<section id="times">') : made.index('<table id="seconds"')]
    assert 'class="scroll"' in box
    text = html.unescape(plain_text(made[made.index('<section id="times">') : made.index('<section id="failures">')]))
    for column, cell in zip(make_time_table(report()).columns, make_time_table(report()).lines[0].cells, strict=True):
        assert column.label in text and f"{cell.text} {' '.join(cell.detail.split())}".strip() in text
    assert len(make_time_table(report()).lines) == 5


def test_csv_has_all_of_it_in_full():
    lines = {line["variant"]: line for line in csv.DictReader(io.StringIO(variants_csv(report())))}
    line = lines["fora interval=2"]
    assert [float(line[f"text_encoder_seconds{end}"]) for end in ("", "_q1", "_q3", "_p90")] == [
        0.01234, 0.012, 0.0131, 0.0149,
    ]  # fmt: skip
    assert [float(line[f"denoiser_speedup{end}"]) for end in ("", "_q1", "_q3")] == [2.0, 1.9, 2.1]
    assert int(line["vae_decode_flops"]) == 70_000_000_000 and float(line["end_to_end_seconds"]) == 2.0
    assert (int(line["peak_allocated_bytes"]), line["peak_resident_bytes"]) == (3 * 2**30, "")
    assert (float(line["first_run_seconds"]), float(line["compile_seconds"])) == (32.0, 30.0)


def test_json_reads_back(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("toca.eval.report.page"), "plots", lambda report: [])
    path = write_report(report(), tmp_path)[-1]
    found, given = read_report(path).results, report().results
    assert (found.methods, found.uncached, found.notes) == (given.methods, given.uncached, given.notes)
    data = json.loads(path.read_text())["methods"][0]
    assert data["parts"][DENOISER]["flops"] == 2_340_000_000_000
    assert (data["peak"]["reserved"], data["compile_seconds"]) == (4 * 2**30, 30.0)


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({**report().to_data(), "format": 1}, default=repr))
    with pytest.raises(ValueError, match="old.json has the format 1, but this version reads 3"):
        read_report(path)
