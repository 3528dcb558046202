"""A metric is one object: those of another package, registered by one call, go all the way from a configuration to
every file of a report."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.pipelines.folders import save_tiny
from toca.eval.config import ScoreSettings
from toca.eval.metrics import Asked, Metric, ToFullRun, register, registry
from toca.eval.metrics.judge import EachSample
from toca.eval.metrics.scores import SampleScores
from toca.eval.metrics.tags import ExtractorTag
from toca.eval.report import read_report
from toca.eval.run import STAGES, run


class Redness:
    """How red the pictures are."""

    tag = ExtractorTag("red", "0" * 64, "none", 1)

    def __call__(self, samples: np.ndarray, prompts: Sequence[str]) -> SampleScores:
        return SampleScores("redness", tuple(samples[..., 0].mean((1, 2, 3)).tolist()), self.tag)


def furthest(samples: np.ndarray, references: np.ndarray) -> list[float | None]:
    return np.abs(samples.astype(float) - references).max((1, 2, 3, 4)).tolist()


def judge(device: torch.device) -> EachSample:
    return EachSample("redness", Redness())


FURTHEST = ToFullRun(
    key="furthest", label="furthest pixel", unit="levels", digits=0, sign=-1, place=60, compute=furthest
)
REDNESS = Asked(key="redness", digits=1, sign=1, level="sample", place=200, make=judge)


@pytest.fixture(scope="module")
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_KNOWN", {metric.key: metric for metric in registry.metrics(Metric)})
        register(FURTHEST)
        register(REDNESS)
        yield


@pytest.fixture(scope="module")
def output(registered, tmp_path_factory) -> Path:
    folder = save_tiny("pixart", tmp_path_factory.mktemp("pipelines") / "tiny")
    (folder / "prompts.json").write_text(json.dumps(["a red owl", "a blue cat"]))
    made = tmp_path_factory.mktemp("output")
    flags = {
        "methods": ["fora:interval=2"], "peers": False, "fewer_steps": [2], "steps": 3, "guidance_scale": 1.0,
        "prompts": 2, "batch_size": 2, "repeats": 1, "warmups": 1, "device": "cpu", "scores.metrics": ["redness"],
    }  # fmt: skip
    run(STAGES, None, [str(folder)], flags, made, None, "toca eval run")
    return made


def test_both_stand_in_every_file(output):
    (page,), (markdown,) = output.glob("*.html"), output.glob("*.md")
    for text in (page.read_text(), markdown.read_text()):
        assert "furthest pixel levels" in text and "redness" in text and "redness, to full" in text
    for label in ("furthest pixel levels", "redness"):
        assert f"to the right, {label} with the better values further up" in page.read_text(), "a plot"
    (path,) = (each for each in output.glob("*.csv") if not each.name.endswith(".samples.csv"))
    lines = {line["variant"]: line for line in csv.DictReader(path.open())}
    assert float(lines["fora interval=2"]["furthest"]) > 0 == float(lines["full"]["furthest"])
    assert float(lines["full"]["redness"]) > 0
    assert "furthest" in next(output.glob("*.samples.csv")).read_text().splitlines()[0]


def test_what_was_found_reads_back_with_how_it_is_shown(output):
    report = read_report(next(output.glob("*.json")))
    assert report.results.metrics["furthest"] == FURTHEST.heading
    (column,) = report.scores
    assert (column.label, column.digits, column.sign) == ("redness", 1, 1)
    assert report.results.config["scores"]["metrics"] == ["redness"]
    (row,) = report.results.methods
    assert row.at_latency is not None and "furthest" in row.at_latency.gains


def test_a_configuration_asks_for_what_there_is(registered):
    assert [metric.key for metric in ScoreSettings(metrics=("redness",), image_reward=True).asked] == [
        "ImageReward", "redness"
    ]  # fmt: skip
    with pytest.raises(ValidationError, match="'beauty', and those to ask for are ImageReward, HPSv2, redness"):
        ScoreSettings(metrics=("beauty",))
    assert "metrics" not in ScoreSettings().model_dump()


def test_a_key_is_one_metrics(registered):
    assert register(REDNESS) is REDNESS
    with pytest.raises(ValueError, match="'redness' already"):
        register(Asked(key="redness", digits=3, sign=1, level="sample", place=200, make=judge))


@pytest.mark.parametrize("metric", registry.metrics(Metric), ids=lambda metric: metric.key)
def test_a_metric_says_all_that_it_is_shown_by(metric):
    assert metric.sign in (1, -1) and metric.level in ("sample", "set") and metric.digits >= 0
    assert metric.heading.label.endswith(metric.unit) and metric.heading.label
    assert [each.place for each in registry.metrics(Metric)].count(metric.place) == 1
