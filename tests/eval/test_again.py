"""The command of a row, typed again, makes this row and no other: of the same pipeline, samples and call."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.eval.test_page import ROWS, named, results
from toca.eval import run as running
from toca.eval.config.settings import Settings, read_run
from toca.eval.findings.results import Results
from toca.eval.labels import VariantRecipe
from toca.eval.report import read_report
from toca.eval.report.again import evaluation
from toca.eval.samples.held_out import SAME_CLASSES
from toca.eval.variants import Variant
from toca.methods.tuned import Tuned
from toca.pipelines.cli import app
from toca.pipelines.method_options import from_record
from toca.registry import to_data

RECORDED = Path(__file__).parents[2] / "eval" / "results"
TYPED = (
    "toca eval score default --output 'my folder' --variant fora --model fashion --variant=pab --shard 1/2 --seed 4 "
    "--set methods=[fora] --set=peers=true --set threads=2 --set unseen_by=[tuned]"
)
ITS_OWN = ("methods", "peers", "unseen_by")
"""Settings that are the row's; all others are the run's."""


@pytest.fixture
def typed(monkeypatch):
    """What `toca eval run` would run, by the words of a command."""
    asked: list[tuple] = []
    monkeypatch.setattr(running, "run", lambda *arguments: asked.append(arguments))

    def type_again(command: str) -> tuple:
        program, *words = shlex.split(command)
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert (program, done.exit_code) == ("toca", 0), done.output
        stages, config, models, flags, output, *_ = asked.pop()
        assert tuple(stages) == running.STAGES and output == Path("outputs/again")  # not over the page of the run
        [(model, settings)] = read_run(config, models, flags).items()
        return model, settings, settings.lineup().for_model(model).variants

    return type_again


def test_it_leaves_the_others_out_and_runs_all_stages():
    row = replace(ROWS[0], recipe=VariantRecipe("fora", ("interval=2",)))
    assert evaluation(row, results(), TYPED) == (
        "toca eval run default --seed 4 --set=peers=true --set threads=2 --output outputs/again --model emoji "
        "--variant fora:interval=2 --set peers=false"
    )


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_it_is_read_back_as_this_row(typed, path):
    found = read_report(path)
    as_typed = read_run("default", [found.results.model], {})[found.results.model]
    fronts = {from_record(row.method).front for row in found.results.methods if row.group == "tuned"}
    for row in found.results.methods:
        model, settings, [own] = typed(evaluation(row, found.results, found.command))
        assert (model, of_the_run(settings)) == (found.results.model, of_the_run(as_typed))
        if row.group.startswith("peer:"):
            assert to_data(own.method)["fields"] == row.method["fields"]
        else:
            assert own.method == from_record(row.method) and own.recipe == row.recipe
        if SAME_CLASSES in found.results.notes:
            assert not settings.unseen_by
        else:  # the prompts are the same only where the same ones are left out
            assert fronts_of([own, *settings.searched(model).variants]) == fronts


def of_the_run(settings: Settings) -> dict:
    return settings.model_dump(exclude=set(ITS_OWN))


def fronts_of(variants: list[Variant]) -> set[str | None]:
    return {each.method.front for each in variants if isinstance(each.method, Tuned)}


def test_a_run_without_a_cache_comes_alone_beside_the_full_one(typed):
    found: Results = results([])
    for row in found.uncached:
        model, settings, variants = typed(evaluation(row, found, TYPED))
        fewer = () if row == found.uncached[-1] else (row.num_inference_steps,)
        assert (model, settings.fewer_steps, settings.seed) == ("emoji", fewer, 4)
        assert variants == []


def test_what_a_search_saw_is_left_out_though_its_plan_has_no_row(typed):
    """As of a tuned plan that failed."""
    found = results()
    front = "toca.pipelines:emoji/calibration/tuned.json"
    found = replace(found, config={**found.config, "fronts": {front: "tuned:speedup=2.0"}})
    row = replace(ROWS[0], recipe=VariantRecipe("fora", ("interval=2",)))
    model, settings, [own] = typed(evaluation(row, found, TYPED))
    assert (own.recipe, settings.unseen_by) == (row.recipe, ("tuned:speedup=2.0",))
    tuned = replace(row, recipe=VariantRecipe("tuned"), method={"fields": {"front": front}})
    model, settings, [own] = typed(evaluation(tuned, found, TYPED))
    assert settings.unseen_by == () and fronts_of([own]) != {None}


def test_a_label_is_no_part_of_it(typed):
    mine = named("mine: fora interval=2", "mine", 1.0, [33.0] * 3)
    row = replace(mine, recipe=VariantRecipe("fora", ("interval=2",)))
    _, _, [variant] = typed(evaluation(row, results([row]), ""))
    assert variant.name == "fora interval=2"
