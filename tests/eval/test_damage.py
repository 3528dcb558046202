"""A study of which stage files were damaged between two runs: each is named, set aside, and made anew."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path

import pytest
from rich.progress import Progress

import toca
from tests.eval.test_study import STEPS, measure, subject
from tests.helpers import tiny_pixart
from toca.eval.config.settings import Settings
from toca.eval.samples.pictures import FAILURE
from toca.eval.store.store import Store
from toca.eval.study import Study
from toca.eval.variants import Lineup, Variant, parse_variant

SETTINGS = Settings(prompts=2, batch_size=2, repeats=1, warmups=1, fewer_steps=(3,))


def lineup() -> Lineup:
    made = parse_variant("toca:interval=2;fresh_ratio=0.3")
    made.add(Variant("plan of 4 steps", "plan", toca.FORA(2).plan(tiny_pixart(), STEPS - 2)))  # fails
    return made


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    output = tmp_path_factory.mktemp("study")
    return output, measure(subject(), lineup(), SETTINGS, output)


def retyped(content: bytes) -> bytes:
    """A whole file whose result is of another type."""
    return json.dumps(json.loads(content) | {"result": ["3"]}).encode()


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-40],
    "retyped": retyped,
    "other": lambda content: b'{"result": {"costs": 1}}',
}


def damage(paths: list[Path], kinds: list[str]) -> None:
    for path, kind in zip(paths, cycle(kinds), strict=False):
        path.write_bytes(DAMAGES[kind](path.read_bytes()))


def figures(report) -> list:
    """All that does not depend on the clock."""
    rows = [(row.name, row.samples, row.flops_speedup, row.steps) for row in report.rows]
    maps = {name: shares.tolist() for name, shares in report.token_maps.items()}
    return [rows, report.results.failures, maps, report.plans]


KINDS = [pytest.param(list(DAMAGES), id="all"), *(pytest.param([kind], marks=pytest.mark.matrix) for kind in DAMAGES)]


@pytest.mark.parametrize("kinds", KINDS)
def test_whatever_stage_file_is_damaged_it_is_named_and_made_anew(measured, capsys, kinds):
    output, before = measured
    for aside in output.rglob("*.damaged-*"):
        aside.unlink()
    files = [path for path in sorted(output.rglob("*.json")) if path.name != FAILURE]  # what failed is tried anyway
    stages = {path.relative_to(output).parts[0] for path in files}
    assert stages == {"fidelity", "speed", "token maps"}
    damage(files, kinds)
    after = measure(subject(), lineup(), SETTINGS, output)
    said = capsys.readouterr().err
    assert [path for path in files if f"{path} is damaged" not in said] == []
    assert len(list(output.rglob("*.damaged-*"))) == len(files)
    assert all(path.is_file() for path in files)
    assert figures(after) == figures(before)
    assert "Traceback" not in said


def test_a_damaged_reason_of_a_failure_is_not_told(measured, capsys):
    output, report = measured
    study = Study(subject(), lineup(), SETTINGS, Store(output), Progress(disable=True))
    assert study.report("").results.failures == report.results.failures
    [path] = output.rglob(FAILURE)
    path.write_text('{"reason": ["no text"]}')
    again = Study(subject(), lineup(), SETTINGS, Store(output), Progress(disable=True))
    with pytest.raises(ValueError, match="'plan of 4 steps' lacks 1 of 1 batches of pictures"):
        again.report("")
    assert f"{path} is damaged" in capsys.readouterr().err


def test_a_damaged_picture_and_its_note_are_made_anew(measured, capsys):
    output, _ = measured
    pictures = {path: path.read_bytes() for path in sorted(output.rglob("p*.png"))}
    manifests = sorted(output.rglob("manifest-*.jsonl"))
    manifests[0].write_bytes(b'{"batch": "0"}\n')
    spoilt = list(pictures)[-1]
    spoilt.write_bytes(b"")
    measure(subject(), lineup(), SETTINGS, output)
    assert f"{manifests[0]}: line 1 is damaged" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in pictures} == pictures
