"""The report: the page, the CSV and the JSON, from made-up results and from those of the repository."""

from __future__ import annotations

import base64
import contextlib
import csv
import importlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

import toca
from tests.eval.test_page import MACHINE, ROWS, named, results
from tests.helpers import FRAMES, TINY, inputs_for, run_steps, tiny_pixart
from toca.eval.findings.from_metrics import score_column
from toca.eval.labels import VariantRecipe
from toca.eval.metrics.distribution import inception_score
from toca.eval.metrics.fidelity import PSNR
from toca.eval.metrics.metric import Heading
from toca.eval.metrics.scores import Refusal, SampleScores, SetScore
from toca.eval.metrics.tags import DifferentTags, ExtractorTag, ResultTag
from toca.eval.report import Report, ScoreColumn, VariantScore, page, read_report, write_report
from toca.eval.report.comma_separated import samples_csv, variants_csv
from toca.eval.report.curves import Quantity, fidelity, find_curves, quality, searched
from toca.eval.report.figures import plots
from toca.eval.report.grids import extremes, grids, representatives
from toca.eval.report.images import LONGEST, picture_uri
from toca.eval.report.quality_columns import QUALITY
from toca.eval.report.table import FIDELITY, NONE, make_table
from toca.eval.report.tokens import overlay, token_wise
from toca.eval.report.traces import shares, traces
from toca.eval.variants import Failure
from toca.pipelines.token_recorder import TokenRecorder

from .fidelities import metrics_with

RESULTS = Path(__file__).parents[2] / "eval" / "results" / "emoji.json"
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
ADDRESSES = {"src", "href", "srcset", "action", "data", "poster"}
EVIL = '<script>alert("x")</script>'


class Reader(HTMLParser):
    """Checks that every element is closed where it should be, and gathers what the tests look at."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.images_without_alt = 0
        self.rows: list[tuple[str, str]] = []  # class and text of the rows of the big table
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs)
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ADDRESSES]
        self.ids += [value for name, value in attrs if name == "id"]
        self.images_without_alt += tag == "img" and not attributes.get("alt")
        if tag == "tr":
            self.rows.append((attributes.get("class") or "", ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, text):
        if "tr" in self.open:
            name, before = self.rows[-1]
            self.rows[-1] = name, before + text


PICTURES = {
    name: np.random.default_rng(i).integers(0, 255, (3, 1, 16, 16, 3), dtype=np.uint8)
    for i, name in enumerate(["20 steps", *(row.name for row in ROWS)])
}


def shown(name: str, chosen) -> np.ndarray:
    """Some of a variant's pictures."""
    return PICTURES[name if name in PICTURES else "random"][list(chosen)]


def report(rows=ROWS, failures=(), **extra) -> Report:
    return Report(results(rows, failures), MACHINE, "toca eval run default", (2.0, 3.0), **extra)


def plain_text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Plots take longer to draw than all else together."""
    monkeypatch.setattr(importlib.import_module("toca.eval.report.page"), "plots", lambda report: [])


@pytest.fixture(scope="module")
def full_page() -> str:
    column = ScoreColumn("CLIP score", 2, 1, "emoji-clip", {"random": VariantScore(27.5, 26.0, 29.0)})
    failures = [Failure("toca/flux", "it does not fit")]
    maps = {"random": np.linspace(0, 1, 16).reshape(1, 1, 4, 4)}
    plans = {"random": toca.RandomTokens(interval=2).plan(tiny_pixart(), 4)}
    rows = [*ROWS, named("peer:diffusers-fbcache", "peer:diffusers-fbcache", 0.9, [31.0, 32.0, 33.0])]
    return page(report(rows, failures, scores=[column], pictures=shown, token_maps=maps, plans=plans))


def test_the_page_is_well_formed_and_loads_nothing(full_page):
    reader = Reader(full_page)
    assert reader.addresses and all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert not re.search(r"https?://|@import|url\(", full_page)
    assert "link" not in reader.tags
    assert len(set(reader.ids)) == len(reader.ids)
    assert not reader.images_without_alt
    targets = {address[1:] for address in reader.addresses if address.startswith("#")}
    assert targets <= set(reader.ids)


def test_every_row_failure_and_fact_is_on_the_page(full_page):
    rows = Reader(full_page).rows
    for name in ("interval=2", "interval=3", "random", "peer:diffusers-fbcache"):
        assert any(name in text for _, text in rows)
    kinds = [kind for kind, _ in rows]  # a row stands in the table of settings and in that of times
    assert kinds.count("uncached") == 8 and kinds.count("peer") == 2 and kinds.count("method") == 6
    text = plain_text(full_page)
    assert "toca/flux : it does not fit" in text
    assert "toca eval run default" in text
    assert "a machine, 2 threads" in text
    assert "27.50 [26.00, 29.00]" in text
    for part in ("Worst", "Best at each speed", "Recomputed tokens", "Plan of random", "Environment"):
        assert part in full_page


def test_the_same_report_gives_the_same_page():
    def made() -> str:
        return page(report(pictures=shown))

    assert made() == made()


def test_what_is_not_there_is_said(undrawn):
    text = plain_text(page(report()))
    assert "The pictures are not part of this report." in text
    assert "No method of this run is token-wise." in text
    assert "Quality (FID, CLIP score) was not scored in this run." in text
    assert "None: every variant ran" in text


def test_texts_of_others_are_escaped(undrawn):
    found = results(failures=[Failure(EVIL, EVIL)])
    items = [(0, 0, EVIL), (1, 0, EVIL), (2, 0, EVIL)]
    found = replace(found, model=EVIL, config={**found.config, "items": items})
    made = page(Report(found, {**MACHINE, "device": EVIL}, EVIL, (2.0,), pictures=shown))
    assert "alert(" in made
    assert EVIL not in made and "<script>alert" not in made
    assert Reader(made).tags.count("script") == 2
    inline = re.search(r'<script type="application/json" id="data">(.*?)</script>', made, re.DOTALL)
    assert json.loads(inline[1])["config"]["items"][0][2] == EVIL


def test_the_figures_are_inside_the_page_sample_by_sample(full_page):
    inline = re.search(r'<script type="application/json" id="data">(.*?)</script>', full_page, re.DOTALL)
    data = json.loads(inline[1])
    assert data["methods"][2]["samples"][PSNR] == [35.0, 36.0, 40.0]
    assert data["scores"][0]["scores"]["random"]["value"] == 27.5


def test_what_skipped_nothing_has_failed(undrawn):
    lazy = named("lazy", "lazy", 1.0, [33.0, 33.0, 33.0], flops_speedup=1.0)
    given = report([*ROWS, lazy])
    made = page(given)
    row = next(row for row in Reader(made).rows if "lazy" in row[1])
    assert row[0].split() == ["method", "failed"] and "skipped nothing" in row[1]
    assert "it skipped nothing" in plain_text(made)
    assert "lazy" not in [each.name for each in find_curves(given.results, Quantity("PSNR", 1, lambda row: row.psnr))]
    assert "lazy" not in [row.group for row in representatives(given.results.methods, 2.0)]
    assert next(line for line in read(variants_csv(given)) if line["variant"] == "lazy")["failure"]


def test_fidelity_and_quality_are_different_columns_and_identical_pictures_are_counted_apart():
    rows = [named("random", "random", 1.0, [33.0, None, 35.0]), named("none", "none", 2.0, [None] * 3)]
    column = ScoreColumn("FID", 1, -1, "inception", {"random": VariantScore(12.34)})
    table = make_table(report(rows, scores=[column]))
    widths = {name: len(members) for name, members in table.groups}
    assert widths[FIDELITY] == 3 and widths[QUALITY] == 1 and list(widths.values()) == [4, 2, 3, 2, 1]
    assert [column.label for column in table.columns if column.headline] == ["denoiser", "PSNR dB", "same time"]
    places = {column.label: i for i, column in enumerate(table.columns)}
    first, second = table.lines[0].cells, table.lines[1].cells
    assert (first[places["PSNR dB"]].text, first[places["identical"]].text) == ("34.0", "1 of 3")
    assert (second[places["PSNR dB"]].text, second[places["PSNR dB"]].order) == ("identical", None)
    assert (first[places["FID"]].text, second[places["FID"]].text) == ("12.3", NONE)
    assert first[places["same time"]].detail.endswith("(9.2 steps)")


TAG = ExtractorTag("emoji-clip", "0" * 64, "none", 4)


def set_score(value: float, samples: int = 5000) -> SetScore:
    return SetScore("Inception Score", value, 0.25, ResultTag(TAG, "none", samples))


def test_a_metric_below_its_least_number_of_pictures_is_not_shown_and_the_page_says_why(undrawn):
    refused = inception_score(torch.rand(3, 10), TAG)
    column = score_column({"random": set_score(7.5), "fora interval=2": refused, "fora interval=3": refused}, [])
    given = report(scores=[column])
    cells = {f"{line.group} {line.setting}".strip(): line.cells[-1] for line in make_table(given).lines}
    assert (cells["random"].text, cells["random"].detail) == ("7.50", "± 0.25")
    assert cells["fora interval=2"].text == NONE and cells["fora interval=2"].order is None
    text = plain_text(page(given))
    assert "Inception Score is not shown below 5000 samples, got 3" in text and "(2 variants)" in text
    lines = {line["variant"]: line for line in read(variants_csv(given))}
    assert float(lines["random"]["Inception Score"]) == 7.5
    assert "n = 5000" in lines["random"]["Inception Score_tag"]
    assert lines["fora interval=2"]["Inception Score"] == lines["fora interval=2"]["Inception Score_tag"] == ""
    # What is refused has no place in a plot either.
    assert [each.name for each in find_curves(given.results, quality(column))] == ["random"]
    assert find_curves(given.results, quality(score_column({"random": refused}, []))) == []


def test_scores_of_different_tags_are_never_compared():
    with pytest.raises(DifferentTags, match="samples: 5000 and 6000"):
        score_column({"a": set_score(1.0), "b": set_score(2.0, 6000)}, [])
    with pytest.raises(ValueError, match="one metric.*got beauty"):
        score_column({"a": Refusal("beauty", "it lies in the eye")}, [])


def test_a_score_of_each_sample_has_its_interval_and_tells_of_prompts_that_were_cut(undrawn):
    found = SampleScores("CLIP score", (20.0, 30.0, 40.0), TAG, truncated=2)
    column = score_column({"random": found}, [0, 1, 2])
    score = column.scores["random"]
    assert score.value == 30 and 20 <= score.low < 30 < score.high <= 40
    assert "CLIP score: 2 prompts were too long" in plain_text(page(report(scores=[column])))


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_csv_of_variants_reads_back():
    reason = 'it says "no", twice,\nover two lines'
    given = report(failures=[Failure("toca/flux", reason)])
    lines = {line["variant"]: line for line in read(variants_csv(given))}
    assert list(lines) == [*(row.name for row in given.rows), "toca/flux"]
    for row in given.rows:
        line = lines[row.name]
        assert float(line["loop_speedup"]) == row.speedup
        assert [float(line[f"loop_speedup_q{i}"]) for i in (1, 3)] == list(row.loop_speedup[1:])
        assert float(line["ssim"]) == row.fidelity["ssim"].mean
        assert float(line["psnr_low"]) == row.fidelity[PSNR].low if row.psnr is not None else line["psnr"] == ""
        assert int(line["cache_bytes"]) == row.cache_bytes
    assert float(lines["random"]["psnr_gain_at_latency"]) == given.results.methods[2].at_latency.gains[PSNR].mean
    assert lines["toca/flux"]["failure"] == reason and lines["toca/flux"]["loop_speedup"] == ""
    assert {line["kind"] for line in lines.values()} == {"method", "uncached", ""}


def test_the_csv_of_samples_reads_back():
    given = report([named("random", "random", 1.0, [33.0, None, 35.123456789012345])])
    lines = [line for line in read(samples_csv(given)) if line["variant"] == "random"]
    assert [(line["prompt_id"], line["prompt"]) for line in lines] == [("0", "an owl"), ("1", "a cat"), ("2", "a dog")]
    assert [line[PSNR] and float(line[PSNR]) for line in lines] == [33.0, "", 35.123456789012345]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+1", "@SUM(A1)", " =1", "\t=1", "\r=1"])
def test_no_text_in_the_csv_is_a_formula(text):
    found = results([named(text, text, 1.0, [33.0] * 3)], [Failure(text, text)])
    items = [(0, 0, text), (1, 0, text), (2, 0, text)]
    made = Report(replace(found, config={**found.config, "items": items}), MACHINE, "", (2.0,))
    [variant] = [line for line in read(variants_csv(made)) if line["kind"] == "method"]
    [failed] = [line for line in read(variants_csv(made)) if line["failure"]]
    sample = next(line for line in read(samples_csv(made)) if line["variant"] == variant["variant"])
    for cell in (variant["variant"], failed["variant"], failed["failure"], sample["variant"], sample["prompt"]):
        assert cell.startswith(("'", "\\")) and cell.isprintable()
    assert float(sample["psnr"]) == 33.0


def test_what_is_written_reads_back_as_the_same_page(tmp_path, undrawn):
    scores = {"random": VariantScore(0.123, deviation=0.01)}
    column = ScoreColumn("KID", 3, -1, "inception", scores, {"fora interval=2": "too few"}, "of 3 pictures")
    given = report(failures=[Failure("toca/flux", "no")], scores=[column])
    paths = write_report(given, tmp_path)
    suffixes = ["html", "md", "tex", "csv", "samples.csv", "json"]
    assert [path.name for path in paths] == [f"emoji.{suffix}" for suffix in suffixes]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    assert "± 0.010" in paths[0].read_text(encoding="utf-8")
    assert page(read_report(paths[-1])) == paths[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"format": 99}', "[" * 100_000, "\udcff"])
def test_what_holds_no_results_is_refused_in_a_sentence(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"results.json (holds no results of a run|has the format 99)"):
        read_report(path)


@pytest.mark.parametrize("wrong", [None, 3, "text", [], {}])
def test_results_with_one_wrong_part_are_read_or_refused_in_a_sentence(tmp_path, wrong):
    path, data = tmp_path / "results.json", report().to_data()
    for part in ("environment", "speedups", "scores", *report().results.to_data()):
        path.write_text(json.dumps({**data, part: wrong}, default=repr))
        with contextlib.suppress(ValueError):
            read_report(path)
    for part in ("config", "metrics"):
        path.write_text(json.dumps({**data, part: wrong or "neither"}, default=repr))
        with pytest.raises(ValueError, match=r"results.json holds no results of a run \([^\n]*\): name a file"):
            read_report(path)


def test_the_results_of_the_repository_are_read():
    found = read_report(RESULTS)
    table = make_table(found)
    assert len(table.lines) == len(found.results.methods) + len(found.results.uncached) > 20
    assert all(abs(sum(trace.shares.values()) - 1) < 1e-9 for trace in traces(found.results.methods))
    data = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert json.loads(json.dumps(found.results.to_data())) == {name: data[name] for name in found.results.to_data()}


def test_plans_that_a_search_found_stand_out(tmp_path):
    tuned = replace(named("found", "found", 3.0, [41.0, 42.0, 43.0]), recipe=VariantRecipe("tuned", ()))
    preset = replace(named("mine", "mine", 3.1, [31.0, 32.0, 33.0]), recipe=VariantRecipe("tuned/other", ()))
    assert searched([*ROWS, tuned, preset]) == {"found", "mine"}
    curves = find_curves(report([*ROWS, tuned]).results, fidelity("psnr", report([tuned]).results.metrics["psnr"]))
    assert [curve.name for curve in curves if curve.stands_out] == ["found"]
    wide = plots(report([*ROWS, tuned]))[0].wide.decode()
    assert wide.count("stroke-width: 3.2") == 2  # the line, and the one beside its name in the list
    assert re.search(r"font(-weight)?: 700[^>]*>found<", wide)


def test_plots_show_methods_peers_and_fewer_steps():
    peer = named("peer:x", "peer:x", 0.9, [31.0, 32.0, 33.0])
    identical = named("none", "none", 2.0, [None, None, None])
    made = plots(report([*ROWS, peer, identical]))
    assert [plot.label for plot in made] == ["PSNR dB", "SSIM dB"]
    for svg in (made[0].wide, made[0].narrow):
        texts = {element.text for element in ElementTree.fromstring(svg).iter() if element.text}
        assert {"fora", "random", "peer:x", "fewer steps, no cache", "10"} <= texts
        assert "none" not in texts
    series = find_curves(report([*ROWS, peer]).results, Quantity("PSNR", 1, lambda row: row.psnr))
    looks = [(each.name, each.look.hollow) for each in series]
    assert looks == [("fora", False), ("random", False), ("peer:x", True)]


def test_where_less_is_better_the_line_joins_the_lowest():
    rows = [named(f"x {i}", "x", seconds, [1.0] * 3) for i, seconds in enumerate((1.0, 0.8, 0.5))]
    values = {"x 0": 0.5, "x 1": 0.1, "x 2": 0.3}
    (series,) = find_curves(results(rows), Quantity("FID", -1, lambda row: values[row.name]))
    assert [y for _, y in series.line] == [0.1, 0.3] and [y for _, y in series.others] == [0.5]


def test_a_distance_that_spans_decades_is_drawn():
    rows = [named("a", "a", 1.0, [30.0] * 3), named("b", "b", 0.5, [20.0] * 3)]
    column = ScoreColumn("FID", 1, -1, "t", {"a": VariantScore(1.5), "b": VariantScore(300.0)})
    made = plots(report(rows, scores=[column]))[-1]
    assert made.label == "FID" and b"less is better" in made.wide


@pytest.mark.parametrize(
    ("values", "worst", "best"),
    [
        ([3.0, 1.0, 2.0, 5.0, 4.0], [1, 2], [3, 4]),
        ([3.0, None, 2.0], [2], [0]),
        ([3.0, 3.0, 3.0], [0, 1], [2]),
        ([None, None], [], []),
    ],
)
def test_the_extremes_are_the_worst_and_the_best_and_none_twice(values, worst, best):
    assert extremes(values, 2) == (worst, best)


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_the_grids_show_the_right_pictures_worst_first():
    rows = [named("random", "random", 1.0, [36.0, 33.0, 40.0]), *ROWS[:2]]
    made = grids(report(rows, pictures=shown))
    assert [grid.name for grid in made] == ["random", "fora interval=2"]
    assert [pair.prompt for pair in made[0].worst] == ["a cat", "an owl"]
    assert [(pair.prompt, pair.psnr) for pair in made[0].best] == [("a dog", 40.0)]
    assert (decoded(made[0].worst[0].full) == PICTURES["20 steps"][1, 0]).all()
    assert (decoded(made[0].worst[0].cached) == PICTURES["random"][1, 0]).all()


def test_pictures_of_another_run_are_refused():
    with pytest.raises(ValueError, match=r"'20 steps' must be \(2, frames"):
        grids(report(pictures=lambda name, chosen: PICTURES[name][:1]))


def test_large_pictures_are_made_smaller_and_small_ones_stay_as_they_are():
    small, large = np.zeros((16, 32, 3), np.uint8), np.zeros((300, 600, 3), np.uint8)
    assert decoded(picture_uri(small)).shape == small.shape
    assert decoded(picture_uri(large)).shape == (LONGEST // 2, LONGEST, 3)


def test_a_map_of_tokens_lies_over_its_part_of_the_picture():
    share = np.zeros((2, 4))
    share[1, 2] = 1.0
    made = overlay(np.zeros((8, 16, 3), np.uint8), share).astype(int)
    assert made.shape == (8, 16, 3)
    bright = made.sum(-1) > made[0, 0].sum()
    assert bright[4:, 8:12].all() and bright.sum() == 16
    given = report(token_maps={"random": share[None, None]}, pictures=shown)
    (found,) = token_wise(given)
    assert (found.maps[0].prompt, found.lowest, found.highest) == ("an owl", 0.0, 1.0)
    close = token_wise(replace(given, token_maps={"random": 0.5 + 0.1 * share[None, None]}))[0]
    assert (close.lowest, close.highest) == (0.5, 0.6) and close.maps == found.maps  # the colours are spread
    with pytest.raises(ValueError, match="'random' must be"):
        token_wise(report(token_maps={"random": 2 * share[None, None]}))


def test_steps_are_counted_over_all_batches():
    assert shares({"FrrF": 3, "Fttr": 1}) == {"F": 7 / 16, "t": 2 / 16, "r": 7 / 16}
    row = replace(ROWS[0], steps_of_batches={"FrrF": 1, "Fttr": 3})
    (trace,) = traces([row, replace(ROWS[0], steps_of_batches={"": 4})])
    assert [(strip.steps, strip.batches) for strip in trace.strips] == [("Fttr", 3), ("FrrF", 1)]
    assert trace.strips[0].runs == [("F", "F"), ("t", "tt"), ("r", "r")]


@pytest.mark.parametrize("method", [toca.RandomTokens(interval=3, fresh_ratio=0.25), toca.ToCa(interval=3)])
def test_the_recorder_notes_the_tokens_whose_features_change(method):
    """Of what is remembered, exactly the recomputed rows differ from one step to the next."""
    transformer = tiny_pixart()
    calls = inputs_for("pixart", 3, batch_size=2)
    with toca.cached(transformer, method, num_inference_steps=3), TokenRecorder(transformer) as recorder:
        engine = transformer._toca_engine
        run_steps(transformer, calls[:1])
        sites = sorted(engine.record.plan.partial_sites)
        ((branch,),) = (memory.parts for memory in engine.branches.values())
        before = [branch.sites[i].terms.value.clone() for i in sites]
        run_steps(transformer, calls[1:2])
        after = [branch.sites[i].terms.value for i in sites]
    changed = torch.stack([(new != old).any(-1) for new, old in zip(after, before, strict=True)]).float().mean(0)
    assert 0 < changed.mean() < 1
    wanted = ((1 + changed) / 2).view(2, 1, 8, 8).numpy()
    assert np.allclose(recorder.shares(samples=2), wanted)
    assert np.allclose(recorder.shares(samples=1)[0], wanted.mean(0))  # as two branches of guidance


@pytest.mark.parametrize(
    ("family", "method", "mean", "least"),
    [
        ("dit", toca.RandomTokens(interval=2, fresh_ratio=0.25), (3 + 3 / 4) / 6, 1 / 2),
        ("latte", toca.RandomTokens(interval=2, fresh_ratio=0.25), (3 + 3 / 4) / 6, 1 / 2),
        ("pixart", toca.RAS(sample_ratio=0.25, warmup_steps=1), (1 + 5 / 4) / 6, 1 / 6),
        ("pixart", toca.ClusCa(interval=3, clusters=8), (4 + 2 * 8 / 64) / 6, 4 / 6),
    ],
)
def test_the_recorder_counts_each_way_of_choosing(family, method, mean, least):
    """Full steps give every token its chance; the others the share that the method has."""
    transformer = TINY[family]()
    with toca.cached(transformer, method, num_inference_steps=6), TokenRecorder(transformer) as recorder:
        run_steps(transformer, inputs_for(family, 6, batch_size=2))
    found = recorder.shares(samples=2)
    assert found.shape == (2, FRAMES if family == "latte" else 1, 8, 8)
    assert found.mean() == pytest.approx(mean, abs=1e-5)
    assert least - 1e-6 <= found.min() < found.max() <= 1


def test_a_method_that_decides_for_each_image_is_not_recorded():
    transformer = tiny_pixart()
    method = toca.CacheMethod(when=toca.EasyCache(threshold=0.1), which="toca/pixart")
    with toca.cached(transformer, method, num_inference_steps=4), TokenRecorder(transformer):
        with pytest.raises(ValueError, match="decides for each image"):
            run_steps(transformer, inputs_for("pixart", 4))


def test_the_recorder_says_why_it_has_nothing():
    transformer = tiny_pixart()
    with pytest.raises(ValueError, match="enable_cache"):
        TokenRecorder(transformer)
    with toca.cached(transformer, "fora/dit", num_inference_steps=2), TokenRecorder(transformer) as recorder:
        run_steps(transformer, inputs_for("pixart", 2))
        with pytest.raises(ValueError, match="token-wise"):
            recorder.shares(samples=1)


def test_a_third_metric_has_its_column():
    found = results()
    assert found.metrics == metrics_with(None)
    extra = {**found.metrics, "distance": Heading("LPIPS", 4, -1)}
    rows = [replace(row, fidelity={**row.fidelity, "distance": row.fidelity["ssim"]}) for row in ROWS]
    uncached = [replace(row, fidelity={**row.fidelity, "distance": row.fidelity["ssim"]}) for row in found.uncached]
    table = make_table(Report(replace(found, metrics=extra, methods=rows, uncached=uncached), MACHINE))
    assert len(dict(table.groups)[FIDELITY]) == 4
    assert "less is better" in next(column.hint for column in table.columns if column.label == "LPIPS")


def test_a_page_of_many_samples_holds_no_figure_of_each(undrawn, monkeypatch):
    loaded: list[int] = []

    def load(name: str, chosen) -> np.ndarray:
        loaded.append(len(chosen))
        return shown(name, chosen)

    monkeypatch.setattr(importlib.import_module("toca.eval.report.content"), "MOST_LISTED", 2)
    made = page(report(pictures=load))
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', made, re.S).group(1))
    assert "items" not in data["config"] and not any("samples" in row for row in data["methods"] + data["uncached"])
    assert data["methods"][0]["fidelity"] and "emoji.samples.csv" in made and '<ol class="samples">' not in made
    assert max(loaded) == 2  # of three samples the worse two, and then the best one
