"""Fronts: which plan meets a budget, what is refused and with what instead, the file and the picture."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diffusers import DPMSolverMultistepScheduler
from PIL import Image

import toca
from toca.plan.front import Front
from toca.plan.front_parts import Fewer, Rule, Searched, best_of
from toca.plan.origin import IDENTICAL, HeldOut

from .fronts import STEPS, entry_of, front_of, timesteps_of
from .helpers import tiny_pixart


@pytest.fixture(scope="module")
def front() -> Front:
    return front_of("pixart", DPMSolverMultistepScheduler())


# --- from a budget to a plan ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "speedup"),
    [
        # The best quality of those that are as fast; to the number.
        ({"speedup": 1.0}, 1.0),
        ({"speedup": 1.5}, 1.6),
        ({"speedup": 2}, 2.1),
        ({"speedup": 2.1}, 2.1),
        ({"speedup": 2.2}, 3.4),
        ({"seconds": 0.5}, 2.1),
        ({"seconds": 0.3}, 3.4),
        ({"full_steps": 6}, 1.0),
        ({"full_steps": 3}, 2.1),
        ({"full_steps": 2}, 3.4),
        # The fastest of those that are as good.
        ({"min_psnr": 50.0}, 2.1),
        ({"min_psnr": 45}, 3.4),
        ({"min_psnr": 100}, 1.0),
        # Others are limits.
        ({"speedup": 1.5, "max_cache_bytes": 600}, 2.05),
        ({"speedup": 2, "num_inference_steps": STEPS - 2}, 2.05),
        ({"min_psnr": 45, "full_steps": 6, "num_inference_steps": STEPS - 2}, 2.05),
        ({"speedup": 2, "min_psnr": 50}, 2.1),
        ({"seconds": 1, "speedup": 2.2}, 3.4),
        ({"speedup": 2, "min_psnr": None, "seconds": None}, 2.1),
    ],
    ids=str,
)
def test_which_plan_meets_a_budget(front: Front, bounds: dict[str, Any], speedup: float) -> None:
    entry = front.at(**bounds)
    assert entry.speedup == speedup and front.plan(**bounds) is entry.plan


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({"speedup": 4}, r"No plan is 4 times as fast: the fastest reaches 3\.40x .* at 45\.0 dB \[44\.0, 46\.0\]"),
        ({"seconds": 0.1}, r"No plan takes at most 0\.1 s: the fastest reaches 3\.40x \(0\.294 s\)"),
        ({"full_steps": 1}, "No plan has at most 1 full steps: the least reaches 3.40x .*, 2 of 6 steps full"),
        ({"speedup": 1, "max_cache_bytes": 100}, "keeps at most 100 bytes: the smallest reaches 2.05x .*, 500 bytes"),
        ({"speedup": 2, "num_inference_steps": 50}, "No plan has 50 steps: the nearest reaches .* of 6 steps full"),
        # Each could be met, but not both.
        (
            {"speedup": 3, "min_psnr": 50},
            r"that meets the other bounds is 3 times as fast: the fastest reaches 2\.10x",
        ),
        ({"speedup": 3, "num_inference_steps": 4}, "that meets the other bounds is 3 times as fast: .* 2.05x"),
    ],
    ids=str,
)
def test_what_nothing_meets_is_refused_with_the_nearest(front: Front, bounds: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        front.at(**bounds)


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({}, "Give a goal: one of speedup, seconds, full_steps, min_psnr"),
        ({"max_cache_bytes": 10**9}, "Give a goal"),
        ({"speedup": 0.5}, "`speedup` must be at least 1, got 0.5"),
        ({"speedup": math.nan}, "`speedup` must be a finite number"),
        ({"speedup": "fast"}, "`speedup` must be a number, got 'fast'"),
        ({"seconds": 0}, "`seconds` must be above 0"),
        ({"full_steps": 0}, "`full_steps` must be at least 1"),
        ({"full_steps": 2.5}, "`full_steps` must be a whole number"),
        ({"min_psnr": True}, "`min_psnr` must be a number"),
    ],
    ids=str,
)
def test_what_is_no_budget_is_refused_by_name(front: Front, bounds: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        front.at(**bounds)


def test_a_bound_of_another_name_is_refused(front: Front) -> None:
    with pytest.raises(TypeError, match="There is no bound `speed`; there are speedup, seconds"):
        front.at(speed=2)


# --- what it says of its plans -------------------------------------------------------------------------------------


def test_every_plan_says_where_it_is_from(front: Front) -> None:
    scheduler = DPMSolverMultistepScheduler()
    for entry in front.entries:
        origin = entry.plan.origin
        assert origin.timesteps == timesteps_of(scheduler, entry.num_inference_steps)
        assert origin.scheduler == front.scheduler and origin.reference_steps == STEPS
        figures = entry.psnr, entry.psnr_low, entry.psnr_high, entry.speedup
        assert origin.held_out == HeldOut(8, *figures)
        assert origin.prompts == 2 and len(origin.prompts_sha256) == 64
    assert [entry.speedup for entry in front.entries] == [1.0, 1.6, 2.05, 2.1, 3.4]
    assert front.steps == (STEPS, STEPS - 2)
    assert str(front) == (
        f"5 plans of pixart for DPMSolverMultistepScheduler, {STEPS} steps: from 1.00x at identical to 3.40x at "
        "45.0 dB [44.0, 46.0]"
    )


def test_other_prompts_have_another_digest() -> None:
    one, other = (Searched.of(prompts, (0,), 8).sha256 for prompts in (["a", "b"], ["a", "c"]))
    assert one != other and Searched.of([207], (), 0).sha256 == Searched.of(["207"], (), 0).sha256


def test_rules_meet_a_budget_too(front: Front) -> None:
    rule = front.rule("teacache")
    assert rule.at(1.5) == (0.1, 1.5, 50.0) and rule.at(2) == (0.3, 2.2, 47.0)
    with pytest.raises(ValueError, match=r"No setting of teacache .* 4 times as fast: threshold=0\.9 reaches 3\.00x"):
        rule.at(4)
    with pytest.raises(ValueError, match="no thresholds of easycache, only of teacache"):
        front.rule("easycache")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"entries": ()}, "`entries` must be 1 to 1000 plans"),
        ({"schedules": ((1.0, 0.0),)}, r"`schedules` must hold the timesteps .*, got \[4, 6\]"),
        ({"full_seconds": -1}, "`full_seconds` must be above 0"),
        ({"rules": (1,)}, r"`rules`\[0\] must be a Rule"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_faults_are_named(front: Front, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(front, **change)


def test_plans_of_two_models_make_no_front(front: Front) -> None:
    other = entry_of(toca.FORA().plan(tiny_pixart(num_layers=2), STEPS), 2.0, 40.0)
    with pytest.raises(ValueError, match="must all be of one model"):
        replace(front, entries=(*front.entries, other))


def test_a_rule_has_points() -> None:
    with pytest.raises(ValueError, match="`points` must be one or more"):
        Rule("teacache", "threshold", {}, ())
    assert Rule("teacache", "threshold", {}, ((0.0, 1.0, math.inf),)).points[0][2] == IDENTICAL
    assert Fewer(6, 1.0, math.inf).psnr == IDENTICAL


# --- the file ------------------------------------------------------------------------------------------------------


def test_the_file_keeps_everything(front: Front, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "front.json"
    front.save(path)
    assert Front.load(path) == front
    data = json.loads(path.read_text())
    assert (data["format"], data["version"]) == ("toca-front", 1)
    # The model is said once, and a plan takes a line.
    assert path.read_text().count('"default_shape"') == 1
    assert sum(line.startswith(" {") for line in path.read_text().splitlines()) == len(front.entries)
    assert [file.name for file in path.parent.iterdir()] == ["front.json"]


def test_an_edited_file_makes_the_claim_of_whoever_edited_it_and_other_files_are_refused(
    front: Front, tmp_path: Path
) -> None:
    path = tmp_path / "front.json"
    front.save(path)
    for change, reason in (
        ({"format": "toca-plan"}, 'does not say "format": "toca-front"'),
        ({"version": 2}, "it has version 2, this library reads version 1"),
        ({"entries": []}, "`entries` must be"),
        ({"full_seconds": "x"}, "`full_seconds`"),
    ):
        other = tmp_path / "other.json"
        other.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(ValueError, match=f"other.json is not a valid front: .*{reason}"):
            Front.load(other)
    other.write_text("{")
    with pytest.raises(ValueError, match="other.json is not a valid front: line 1"):
        Front.load(other)
    with pytest.raises(ValueError, match=r"none\.json cannot be read \(No such file.*`toca tune` makes one"):
        Front.load(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"A front is saved as \.json, got 'front\.yaml'"):
        front.save(tmp_path / "front.yaml")


# --- the picture ---------------------------------------------------------------------------------------------------


def test_the_picture(front: Front, tmp_path: Path) -> None:
    front.draw(tmp_path / "front.png", speedup=2)
    front.draw(tmp_path / "plain.svg")
    with Image.open(tmp_path / "front.png") as image:
        assert min(image.size) > 400
    said = (tmp_path / "plain.svg").read_text()
    assert "fewer steps (4, 3, 2)" in said and "teacache" in said
    with pytest.raises(ValueError, match=r"\.png, \.pdf, \.svg"):
        front.draw(tmp_path / "front.gif")
    with pytest.raises(ValueError, match="No plan is 9 times as fast"):
        front.draw(tmp_path / "none.png", speedup=9)


def test_of_plans_that_are_as_fast_the_best_is_on_the_line(front: Front) -> None:
    plan = front.entries[0].plan
    slow, worse, good, fast = (entry_of(plan, *each) for each in ((1.5, 50.0), (2.0, 44.0), (2.0, 47.0), (3.0, 40.0)))
    assert best_of([slow, worse, good, fast]) == [slow, good, fast]
    assert best_of([good, good]) == [good, good]
    # As good as a faster one is no better than it.
    assert best_of([slow, entry_of(plan, 1.9, 50.0)]) == [entry_of(plan, 1.9, 50.0)]


def test_a_front_of_the_full_run_alone_is_drawn(front: Front, tmp_path: Path) -> None:
    alone = replace(front, entries=front.entries[:1], fewer=(), rules=())
    alone.draw(tmp_path / "front.png", speedup=1)
    assert (tmp_path / "front.png").exists()
