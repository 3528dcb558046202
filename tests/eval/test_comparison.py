"""Two runs beside each other: paired on what they share, and refused with the reason where nothing is."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.eval.fidelities import metrics_with
from tests.eval.test_page import MACHINE, ROWS, named, results
from toca.eval.command import app
from toca.eval.comparison.pairing import compare
from toca.eval.comparison.told import markdown
from toca.eval.findings.quality import ScoreColumn, VariantScore
from toca.eval.metrics.bootstrap import mean_interval
from toca.eval.refusal import Refused
from toca.eval.report import Report, write_report

NETWORK = SimpleNamespace(name="LPIPS", source="its weights")
SET = {"weights": "abc", "seed": 0, "config": {"num_inference_steps": 20, "guidance_scale": 4.0}}


def run(rows=ROWS, environment=MACHINE, scores=(), **config: Any) -> Report:
    found = results(rows)
    return Report(
        replace(found, config={**found.config, **SET, **config}), environment, "toca eval run", scores=scores
    )


def better(row, *values):
    return replace(row, samples={name: list(values) for name in row.samples})


def test_differences_are_paired_by_sample_whatever_their_order():
    """The second run has a sample more, and its prompts stand in another order."""
    rows = [better(ROWS[0], 34.0, 20.0, 33.5, 36.0)]
    items = [(1, 0, "a cat"), (9, 0, "a fox"), (0, 0, "an owl"), (2, 0, "a dog")]
    second = run(rows, items=items)
    found = compare(run(), replace(second, results=replace(second.results, uncached=[])))
    [pair] = found.pairs
    gains = [33.5 - 33.0, 34.0 - 33.0, 36.0 - 33.0]
    assert pair.gains["psnr"] == mean_interval(gains, [0, 1, 2])
    assert found.samples == 3
    assert any(note.startswith("Only in the first run: fora interval=3, random, ") for note in found.notes)
    assert "3 samples are in both runs, which have 3 and 4." in found.notes


def test_a_distance_that_falls_is_a_gain():
    sign = {name: heading.sign for name, heading in metrics_with(NETWORK).items()}
    assert set(sign.values()) == {1, -1}

    def with_all(value: float) -> Report:
        made = run([replace(ROWS[0], samples={name: [value * of] * 3 for name, of in sign.items()})])
        return replace(made, results=replace(made.results, uncached=[], metrics=metrics_with(NETWORK)))

    [pair] = compare(with_all(2.0), with_all(2.5)).pairs
    assert {name: gain.mean for name, gain in pair.gains.items() if gain} == dict.fromkeys(sign, 0.5)


@pytest.mark.parametrize(
    "config, reason",
    [
        ({"weights": "xyz"}, "differ in their weights .*abc.* and .*xyz"),
        ({"seed": 1}, "differ in their seed"),
        ({"dtype": "bfloat16"}, "differ in their precision"),
        ({"config": {"num_inference_steps": 50, "guidance_scale": 4.0}}, r"\(num_inference_steps: 20 and 50\)"),
        ({"items": [(0, 0, "a fly")]}, "two lists of prompts: number 0 is 'an owl' in one and 'a fly' in the other"),
        ({"items": [(7, 0, "an emu")]}, "no sample in common"),
    ],
)
def test_what_is_not_paired_is_refused_with_the_reason(config, reason):
    with pytest.raises(Refused, match=reason):
        compare(run(), run(**config))


def test_a_name_that_means_another_setting_is_not_compared():
    changed = replace(ROWS[0], method={"class": "FORA", "interval": 5})
    found = compare(run(), run([changed, *ROWS[1:]]))
    assert [pair.variant for pair in found.pairs][:2] == ["fora interval=3", "random"]
    assert "Not of one setting in both, though of one name: fora interval=2." in found.notes


def column(tag: str, value: float) -> ScoreColumn:
    return ScoreColumn("FID", 2, -1, tag, {"random": VariantScore(value)})


def test_quality_of_another_reference_is_said_and_not_shown():
    alike = compare(run(scores=[column("inception, coco", 20.0)]), run(scores=[column("inception, coco", 21.5)]))
    [scores] = [pair.scores for pair in alike.pairs if pair.variant == "random"]
    assert scores == {"FID": (20.0, 21.5)}
    other = compare(run(scores=[column("inception, coco", 20.0)]), run(scores=[column("inception, adm", 21.5)]))
    assert not any(pair.scores for pair in other.pairs)
    assert "FID is not compared: inception, coco in one run, and inception, adm in the other." in other.notes


def test_another_machine_is_noted():
    assert "The runs differ in torch: 2 and 3." in compare(run(), run(environment={**MACHINE, "torch": "3"})).notes


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two runs as their folders have them; the page takes no part."""
    first, second = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    rows = [better(ROWS[0], 34.0, 34.5, 36.0), *ROWS[1:]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toca.eval.report.writing.page", lambda report, folder: "")
        write_report(run(), first)
        write_report(run(rows), second)
    return first, second


def test_the_command_takes_folders_and_files(written):
    first, second = written
    text = CliRunner().invoke(app, ["compare", str(first), str(second)], catch_exceptions=False).output
    assert "+1.8 [+1.0, +3.0]*" in text and "3 samples of both runs" in text
    data = CliRunner().invoke(
        app, ["compare", str(first / "emoji.json"), str(second), "--json"], catch_exceptions=False
    )
    [found] = json.loads(data.output)
    assert found["pairs"][0]["gains"]["psnr"]["mean"] == pytest.approx(1.8333, abs=1e-3)
    shown = CliRunner().invoke(app, ["compare", str(first), str(second), "--markdown"], catch_exceptions=False).output
    assert shown.startswith("# Two runs of `emoji`") and r"| +1.8 [+1.0, +3.0]\* |" in shown


def test_what_holds_no_run_is_refused(written, tmp_path):
    result = CliRunner().invoke(app, ["compare", str(written[0]), str(tmp_path)])
    assert isinstance(result.exception, Refused) and "no JSON file of a run" in str(result.exception)
    result = CliRunner().invoke(app, ["compare", str(written[0]), "nowhere"])
    assert isinstance(result.exception, Refused) and "neither a folder nor a file nowhere" in str(result.exception)
    named_otherwise = replace(run(), results=replace(run().results, model="fashion"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toca.eval.report.writing.page", lambda report, folder: "")
        write_report(named_otherwise, tmp_path)
    result = CliRunner().invoke(app, ["compare", str(written[0]), str(tmp_path)])
    assert "no pipeline in common: emoji in one, fashion in another" in str(result.exception)


def test_a_name_from_a_file_is_no_markup():
    rows = [named("[b]*evil*|`x`", "evil", 1.0, [33.0, 33.0, 33.0])]
    assert r"\[b]\*evil\*/'x'" in markdown(compare(run(rows), run(rows)))
