"""`toca.enable_cache(pipe, speedup=2)`: which front is taken, what comes of it, and what is said without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler

import toca
from toca.files import user_folder as folders
from toca.tuning.saved import find_front, keep
from toca.tuning.search import Search

from .fronts import STEPS, front_of
from .helpers import pipeline_arguments, tiny_pixart, tiny_pixart_pipeline


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, empty."""
    monkeypatch.setenv("TOCA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pipe() -> Any:
    return tiny_pixart_pipeline()


def front_for(pipe: Any, steps: int = STEPS, **fields: Any) -> Any:
    return front_of(pipe.transformer, pipe.scheduler, steps, **fields)


def run(pipe: Any, steps: int = STEPS) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe(**pipeline_arguments("pixart", steps))


# --- which front ---------------------------------------------------------------------------------------------------


def test_the_users_own_front_is_found_again(pipe: Any, cache: Path) -> None:
    front = front_for(pipe)
    path = keep(front, pipe)
    assert path.parent == cache / "fronts" and path.name.startswith("pixart-")
    assert find_front(pipe) == (path, front) == find_front(pipe, STEPS)
    # A newer one takes its place.
    assert keep(front_for(pipe, full_seconds=2.0), pipe) == path and find_front(pipe).front.full_seconds == 2.0


def test_one_for_another_model_scheduler_or_number_of_steps_is_not_taken(pipe: Any) -> None:
    keep(front_for(pipe), pipe)
    other = tiny_pixart_pipeline()
    other.scheduler = DDIMScheduler()
    with pytest.raises(ValueError, match=r"for DDIMScheduler \(the one at hand was made with DPM"):
        find_front(other)
    with pytest.raises(ValueError, match=r"\(the one at hand has plans of 6 or 4 steps\): toca.tune\(pipe\)"):
        find_front(pipe, 50)
    # Of the same architecture, by another name: other weights.
    named = tiny_pixart_pipeline()
    named.register_to_config(_name_or_path="somebody/fine-tuned")
    with pytest.raises(ValueError, match="Scheduler: `toca tune somebody/fine-tuned` makes one"):
        find_front(named)
    smaller = tiny_pixart_pipeline()
    smaller.transformer = tiny_pixart(num_layers=2)
    with pytest.raises(ValueError, match=r"There is no front of this model .*: toca.tune\(pipe\) makes one"):
        find_front(smaller)


def test_of_several_the_number_of_steps_tells(pipe: Any) -> None:
    paths = {steps: keep(front_for(pipe, steps), pipe) for steps in (STEPS, 10)}
    with pytest.raises(ValueError, match="fronts of this model for 6 and 10 steps: pass `num_inference_steps`"):
        find_front(pipe)
    assert find_front(pipe, 10).path == paths[10] and find_front(pipe, STEPS).path == paths[STEPS]
    with toca.cached(pipe, speedup=2, num_inference_steps=STEPS):
        run(pipe)
        assert toca.summary(pipe).full_steps == 3


def test_a_threshold_is_for_the_steps_that_it_was_found_in(pipe: Any) -> None:
    """A front of six steps has plans of four too, and its thresholds were measured in six."""
    keep(front_for(pipe), pipe)
    assert find_front(pipe, STEPS - 2) and find_front(pipe, STEPS, for_thresholds=True)
    with pytest.raises(ValueError, match=r"and 4 steps \(the one at hand has thresholds of 6 steps\)"):
        find_front(pipe, STEPS - 2, for_thresholds=True)
    with pytest.raises(ValueError, match="has thresholds of 6 steps"):
        toca.enable_cache(pipe, "teacache", speedup=2.2, num_inference_steps=STEPS - 2)


def test_beside_the_weights_and_then_the_users_own(pipe: Any, tmp_path: Path) -> None:
    pipe.register_to_config(_name_or_path=str(tmp_path / "model"))
    beside = tmp_path / "model" / "calibration" / "tuned.json"
    front_for(pipe).save(beside)
    assert find_front(pipe).path == beside
    own = keep(front_for(pipe), pipe)
    assert find_front(pipe).path == own
    pipe.register_to_config(_name_or_path=str(tmp_path / "model" / ".." / "model"))
    assert find_front(pipe).path == own


def test_a_damaged_one_is_passed_over_where_another_fits(pipe: Any, tmp_path: Path, caplog: Any) -> None:
    pipe.register_to_config(_name_or_path=str(tmp_path / "model"))
    own = keep(front_for(pipe), pipe)
    own.write_text(own.read_text()[:100])
    with pytest.raises(ValueError, match=f"{own.name}.*delete it, or have `toca tune .*model` make a new one"):
        find_front(pipe)
    beside = tmp_path / "model" / "calibration" / "tuned.json"
    front_for(pipe).save(beside)
    assert find_front(pipe).path == beside
    assert own.name in caplog.text and "delete it" in caplog.text and "Another front is taken" in caplog.text


@pytest.mark.parametrize(
    ("platform", "variables", "wanted"),
    [
        ("linux", {"HOME": "/home/me"}, "/home/me/.cache/toca"),
        ("linux", {"XDG_CACHE_HOME": "/caches"}, "/caches/toca"),
        ("darwin", {"HOME": "/Users/me"}, "/Users/me/Library/Caches/toca"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/toca"),
        ("linux", {"TOCA_CACHE": "/mine", "XDG_CACHE_HOME": "/caches"}, "/mine"),
    ],
)
def test_the_users_folder(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], wanted: str
) -> None:
    for name in ("TOCA_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(folders.sys, "platform", platform)
    assert folders.user_folder() == Path(wanted)


# --- which method --------------------------------------------------------------------------------------------------


def test_the_plan_for_a_speedup(pipe: Any) -> None:
    front = front_for(pipe)
    keep(front, pipe)
    with toca.cached(pipe, front.plan(speedup=2)):
        wanted = run(pipe)
    with toca.cached(pipe, speedup=2):
        got = run(pipe)
        said = str(toca.summary(pipe))
    assert torch.equal(torch.as_tensor(got.images), torch.as_tensor(wanted.images))
    assert said.startswith("tuned for 2x, 6 steps, 3 of them full") and "55.0 dB [54.0, 56.0] on 8 others" in said
    assert toca.enable_cache(pipe, "tuned", speedup=3) is pipe
    run(pipe)
    assert toca.summary(pipe).full_steps == 2
    toca.disable_cache(pipe)


def test_a_method_with_the_fronts_threshold(pipe: Any) -> None:
    keep(front_for(pipe), pipe)
    with toca.cached(pipe, "teacache", speedup=2.2):
        run(pipe)
        assert str(toca.summary(pipe)).startswith("teacache threshold=0.3 for 2.2x, 6 steps")


@pytest.mark.parametrize(
    ("method", "speedup", "reason"),
    [
        (None, 0.5, "`speedup` must be at least 1, got 0.5"),
        (None, "2", "`speedup` must be a number, got '2'"),
        (None, 9, "No plan is 9 times as fast: the fastest reaches 3.40x"),
        ("teacache", 9, r"No setting of teacache that was tried is 9 times as fast: threshold=0\.9 reaches 3\.00x"),
        ("easycache", 2, r"no thresholds of easycache, only of teacache: toca\.tune\(pipe\) finds one"),
        ("fora", 2, "fora has no threshold that a speed-up could be found by; methods that have one are "),
        ("telepathy", 2, "There is no method, preset or folder 'telepathy'"),
        (toca.FORA(), 2, "A `speedup` goes with the name of a method, or with none"),
    ],
)
def test_what_cannot_be_met_is_refused_and_nothing_changes(pipe: Any, method: Any, speedup: Any, reason: str) -> None:
    keep(front_for(pipe), pipe)
    with pytest.raises(ValueError, match=reason):
        toca.enable_cache(pipe, method, speedup=speedup)
    with pytest.raises(ValueError, match="No toca cache is on"):
        toca.summary(pipe)


def test_without_a_front_it_says_what_makes_one(pipe: Any) -> None:
    with pytest.raises(ValueError, match=r"no front of this model for .*: toca\.tune\(pipe\) makes one\."):
        toca.enable_cache(pipe, speedup=2)
    pipe.register_to_config(_name_or_path="someone/model")
    with pytest.raises(ValueError, match="`toca tune someone/model` makes one"):
        toca.enable_cache(pipe, speedup=2)


def test_a_bare_transformer_has_no_budget() -> None:
    with pytest.raises(ValueError, match="A budget is for a pipeline with a transformer and a scheduler"):
        toca.enable_cache(tiny_pixart(), speedup=2, num_inference_steps=STEPS)


def test_a_damaged_front_is_said_to_be_one(pipe: Any) -> None:
    path = keep(front_for(pipe), pipe)
    path.write_text("{}")
    with pytest.raises(ValueError, match=rf"{path.name} is not a valid front: .*: delete it, or have toca.tune"):
        toca.enable_cache(pipe, speedup=2)


def test_other_steps_than_the_fronts_are_refused_when_it_runs(pipe: Any) -> None:
    keep(front_for(pipe), pipe)
    with toca.cached(pipe, speedup=2), pytest.raises(ValueError, match="has plans of 6 or 4 steps, and not of 5"):
        run(pipe, 5)


def test_a_rule_whose_method_is_gone_is_told(pipe: Any) -> None:
    front = front_for(pipe)
    keep(replace(front, rules=(replace(front.rules[0], field="warmth"),)), pipe)
    with pytest.raises(ValueError, match="there is no field 'warmth'"):
        toca.enable_cache(pipe, "teacache", speedup=2)


def test_a_search_that_cannot_be_kept_is_not_lost(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    front = front_for(pipe)
    monkeypatch.setattr(Search, "front", lambda search: front)
    assert toca.tune(pipe, ["a red owl", "a green cat"]) == front == find_front(pipe).front and not caplog.records
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TOCA_CACHE", str(tmp_path / "file"))
    assert toca.tune(pipe, ["a red owl", "a green cat"]) == front
    assert "will not find this front" in caplog.text
