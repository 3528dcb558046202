"""What the web demo does for its visitors, without a page."""

from __future__ import annotations

import shlex
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import toca
from toca.pipelines.cli import app
from toca.pipelines.demo import drawing, fields, running
from toca.pipelines.demo.facts import _flops, caption, facts
from toca.pipelines.demo.kept import Kept, Picture
from toca.pipelines.demo.limits import LARGEST_SIDE, LONGEST_PROMPT, MOST_STEPS, Wish
from toca.pipelines.demo.positions import positions_of
from toca.pipelines.demo.running import make
from toca.pipelines.demo.snippets import as_command, as_python
from toca.pipelines.demo.steps import steps_told
from toca.pipelines.registry import models


def nothing(*_: object) -> None:
    """Who does not care how far it is."""


@pytest.mark.parametrize(
    ("flops", "told"), [(0, "0 FLOP"), (999, "999 FLOP"), (32.3e9, "32.3 GFLOP"), (3.72e15, "3.72 PFLOP")]
)
def test_operations_are_told_in_a_unit_that_fits(flops, told):
    assert _flops(flops) == told


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"prompt": "x" * (LONGEST_PROMPT + 1)}, "at most 300 characters"),
        ({"prompt": "  "}, "what the picture shall show"),
        ({"prompt": None}, "what the picture shall show"),
        ({"steps": MOST_STEPS + 1}, "steps must be a whole number from 2 to 100"),
        ({"steps": 1e9}, "steps must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": None}, "seed must be"),
        ({"height": LARGEST_SIDE + 8}, "height must be a whole number from 16 to 1024"),
        ({"width": True}, "width must be"),
        ({"speedup": 2.0}, "a tuned plan or a method"),
        ({"method": None}, "a tuned plan or a method"),
    ],
)
def test_a_wish_has_limits(wrong, why):
    with pytest.raises(ValueError, match=why):
        Wish(**{"model": "fashion", "prompt": "bag", "method": "fora", **wrong})


def test_nothing_is_loaded_or_run_that_is_not_offered(subjects, fashion, tmp_path):
    with pytest.raises(ValueError, match="no such model"):
        subjects["emoji"]
    plan = tmp_path / "plan.yaml"
    fashion.positions[0].entry.plan.save(plan)
    for method in (str(plan), "owner/repository", "toca/flux"):
        with pytest.raises(ValueError, match="takes no method of this name"):
            make(fashion, Wish("fashion", "bag", method=method), Kept(), nothing)
    with pytest.raises(ValueError, match="no tuned plan of this speed"):
        make(fashion, Wish("fashion", "bag", speedup=99), Kept(), nothing)
    with pytest.raises(ValueError, match="has no class"):
        make(fashion, Wish("fashion", "unicorn", method="fora", steps=2), Kept(), nothing)
    assert not fashion.lock.locked()


def test_pictures_of_the_full_model_are_kept_within_bounds():
    def picture(side: int) -> Picture:
        return Picture((Image.new("RGB", (side, side)),), 1.0)

    kept = Kept(most_bytes=3 * 3 * 100)
    for key in "abc":
        kept.keep(key, picture(10))
    assert kept.find("a") is not None
    kept.keep("d", picture(10))
    assert [key for key in "abcd" if kept.find(key)] == ["a", "c", "d"], "b was asked for longest ago"
    kept.keep("large", picture(100))
    assert kept.find("large") is None


# --- what is offered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [name for name, entry in models().items() if entry.embedded])
def test_every_position_is_what_its_speedup_leads_to_and_they_rise(model):
    front = toca.Front.load(f"{models()[model].source}/calibration/tuned.json")
    positions = positions_of(front)
    assert len(positions) > 8
    assert [front.plan(speedup=each.speedup) for each in positions] == [each.entry.plan for each in positions]
    qualities = [each.entry.psnr for each in positions]
    assert sorted(qualities, reverse=True) == qualities
    assert f"{positions[3].speedup:.2f}× as fast" in positions[3].told


def test_the_methods_are_those_that_work(fashion):
    assert {"fora", "toca", "toca/dit-ddim50", "tuned"} & set(fashion.methods) == {"fora", "toca", "toca/dit-ddim50"}
    assert not {"toca/flux", "smoothcache", "none"} & set(fashion.methods)
    with pytest.raises(ValueError, match="No toca cache is on"):
        toca.summary(fashion.pipe)


def test_the_fields_of_a_model(subjects, fashion):
    assert fields.prompts(fashion)["value"] == "sneaker" and not fields.prompts(fashion)["allow_custom_value"]
    place = fields.usual_place(fashion)
    assert fashion.positions[place].speedup >= 2 > fashion.positions[place - 1].speedup
    wish = fields.wish_of(fashion, "bag", place, fields.TUNED, 1, 20, 64, None)
    speedup = fashion.positions[place].speedup
    assert wish == Wish("fashion", "bag", 1, speedup=speedup), "DiT takes no size, and a plan no steps"
    wish = fields.wish_of(fashion, "bag", 0, "fora", 1, 9, None, None)
    assert wish == Wish("fashion", "bag", 1, method="fora", steps=9)
    for place in (-5, 1e9):  # what the page's interface may be sent
        assert fields.wish_of(fashion, "bag", place, fields.TUNED, 1, 20, None, None).speedup
    video = subjects["emoji-video"]
    assert fields.prompts(video)["allow_custom_value"]
    wish = fields.wish_of(video, "a red apple bouncing", 0, "fora", 1, 9, 64, 32)
    assert (wish.width, wish.height) == (None, 32), "64 is its own"


# --- a wish -------------------------------------------------------------------------------------------------------


def test_a_wish_is_what_the_pipeline_makes(fashion, tuned, token_wise):
    full = fashion.pipe(class_labels="sneaker", generator=torch.Generator().manual_seed(3)).images[0]
    assert np.array_equal(tuned.full.frames[0], full)
    assert (tuned.full_steps, len(tuned.summary.steps)) == (20, 15)
    assert tuned.flops[0] / tuned.flops[1] > 20 / 15, "against the full run, and not that of 15 steps"
    assert 15 < tuned.psnr < 60
    assert tuned.full.seconds > 0 and "as fast" in facts(tuned) and tuned.summary.steps in facts(tuned)
    assert caption(token_wise).startswith("bag, toca/dit-ddim50: ")


def test_each_step_is_told_and_the_full_model_runs_once(fashion):
    told: list[tuple[int, int, str]] = []
    kept = Kept()
    for method in ("fora", "taylorseer"):
        make(fashion, Wish("fashion", "bag", method=method, steps=4), kept, lambda *said: told.append(said))
    steps = [(step, what) for step, of, what in told if of == 4]
    assert [step for step, what in steps if what == "the full model"] == [1, 2, 3, 4]
    assert [step for step, what in steps if what == "with the cache"] == [1, 2, 3, 4] * 2
    assert "progress_bar" not in vars(fashion.pipe)
    with pytest.raises(RuntimeError, match="stop"), steps_told(fashion.pipe, nothing):
        raise RuntimeError("stop")
    assert "progress_bar" not in vars(fashion.pipe)


def test_short_runs_are_timed_in_turns(fashion, monkeypatch):
    runs: list[int] = []
    timed = running._timed

    def noted(pipe, config):
        runs.append(config.num_inference_steps)
        return replace(timed(pipe, config), seconds=1 / len(runs))

    monkeypatch.setattr(running, "_timed", noted)
    monkeypatch.setattr(running, "SHORT_SECONDS", 1)
    position = fashion.positions[-1]
    steps = position.entry.num_inference_steps
    made = make(fashion, Wish("fashion", "bag", speedup=position.speedup), Kept(), nothing)
    assert runs == [20, steps] * 3
    assert (made.full.seconds, made.cached.seconds) == (1 / 5, 1 / 6)


def test_one_pipeline_is_never_run_by_two_threads(fashion):
    running, at_once = threading.Semaphore(1), []

    def alone(step: int, steps: int, what: str) -> None:
        at_once.append(not running.acquire(blocking=False))
        threading.Event().wait(0.002)
        running.release()

    wishes = [Wish("fashion", "bag", seed, method="fora", steps=3) for seed in range(3)]
    right = [make(fashion, wish, Kept(), nothing).cached.frames[0] for wish in wishes]
    with ThreadPoolExecutor(3) as visitors:
        made = list(visitors.map(lambda wish: make(fashion, wish, Kept(), alone), wishes))
    assert len(at_once) == 18 and not any(at_once)
    assert all(np.array_equal(each.cached.frames[0], image) for each, image in zip(made, right, strict=True))


# --- what is drawn ------------------------------------------------------------------------------------------------


def test_the_overlay_shows_the_tokens_that_were_computed(tuned, token_wise):
    assert token_wise.shares is not None and token_wise.shares.min() < token_wise.shares.max() <= 1
    picture = drawing.token_picture(token_wise)
    assert picture is not None and picture.size == drawing.enlarged(token_wise.cached.frames[0]).size
    assert "bright" in drawing.tokens_told(token_wise)
    assert min(drawing.plan_picture(token_wise).size) > 100
    assert drawing.pair(tuned).width > 2 * drawing.SIDE


def test_a_video_moves(subjects):
    wish = Wish("emoji-video", "a red apple bouncing", method="fora", steps=2)
    made = make(subjects["emoji-video"], wish, Kept(), nothing)
    assert len(made.cached.frames) == 8 and drawing.moving(made.cached.frames).startswith(b"GIF89a")
    assert drawing.pair(made).height >= drawing.SIDE


# --- what is taken home -------------------------------------------------------------------------------------------


def test_the_python_lines_make_the_picture(fashion, tuned, token_wise, capsys):
    for made in (tuned, token_wise):
        names: dict = {}
        exec(as_python(made.wish, len(made.summary.steps), fashion.condition), names)
        assert np.array_equal(names["image"], made.cached.frames[0])
        assert made.summary.steps in capsys.readouterr().out


def test_the_command_makes_the_picture(tuned, tmp_path):
    command = shlex.split(as_command(tuned.wish))
    assert command[:2] == ["toca", "generate"]
    with pytest.raises(SystemExit, match="0"):
        app(["generate", "--output", str(tmp_path / "a.png"), *command[2:]])
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(image, tuned.cached.frames[0])


def test_a_prompt_is_a_prompt_whatever_it_holds():
    prompt = "--model 'x'; rm -rf $HOME\n\"\"\")"
    wish = Wish("emoji", prompt, 1, method="fora", steps=9, width=32)
    assert shlex.split(as_command(wish))[-2:] == ["--", prompt]
    assert "--steps 9 --width 32 --seed 1" in as_command(wish)
    compile(as_python(wish, 9, "prompt"), "snippet", "exec")
    assert repr(prompt) in as_python(wish, 9, "prompt") and "width=32" in as_python(wish, 9, "prompt")
