"""A name means the same in Python and on the command line, and a preset on a foreign family says so."""

from __future__ import annotations

import logging

import pytest
from typer.testing import CliRunner

import toca
from tests.helpers import TINY_PIPELINES, tiny_flux, tiny_pixart
from toca.methods.presets import MADE_FOR, foreign_to, published
from toca.pipelines import loading
from toca.pipelines.cli import app
from toca.pipelines.loading import load
from toca.pipelines.method_options import find_method
from toca.pipelines.registry import EMBEDDED, models
from toca.pipelines.skeleton import load_skeleton

OWN = ("smoothcache/emoji", "magcache/emoji", "teacache/emoji", "learned/emoji")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "_best_device", lambda: "cpu")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def emoji():
    return load("emoji", device="cpu")


@pytest.mark.parametrize("name", sorted({**toca.methods(), **toca.presets()}))
def test_every_name_of_the_command_line_is_one_in_python(name):
    known = toca.presets()[name] if name in toca.presets() else toca.methods()[name]()
    assert find_method(name) == known == toca.CacheMethod(when=name).when


@pytest.mark.parametrize("name", OWN)
def test_presets_of_the_embedded_model(emoji, name):
    path = str(EMBEDDED / "calibration" / f"{name.partition('/')[0]}.json")
    for text in (name, name.partition("/")[0]):
        with toca.cached(emoji, text):
            emoji("a red apple", output_type="latent")
            steps = toca.summary(emoji).steps
        assert len(steps) == 20 and steps.count("F") < 20
    method = toca.preset(name)
    assert path in [getattr(method, field) for field in method.files]


@pytest.mark.parametrize("name", OWN)
def test_the_command_line_does_the_same(run, emoji, name):
    with toca.cached(emoji, name):
        emoji("a red apple", output_type="latent")
        steps = toca.summary(emoji).steps
    made = run("generate", "a red apple", "--method", name)
    assert made.exit_code == 0, made.output
    assert f" {steps}\n" in made.stdout


def test_an_object_takes_the_file_that_it_needs_and_no_other(emoji):
    with toca.cached(emoji, toca.SmoothCache()):
        emoji("a red apple", output_type="latent")
        assert toca.summary(emoji).flops_speedup > 1.2
    with toca.cached(emoji, toca.TeaCache(threshold=0.3)):  # which can do without, in any number of steps
        emoji("a red apple", num_inference_steps=5, output_type="latent")
        assert len(toca.summary(emoji).steps) == 5


def test_where_no_file_lies_the_message_says_how_to_make_one():
    with pytest.raises(ValueError, match="smoothcache needs a calibration of the model: make one with"):
        toca.enable_cache(TINY_PIPELINES["pixart"](), "smoothcache")


def test_made_for_knows_every_preset():
    suffixes = {name.partition("/")[2] for name in toca.presets()}
    assert set(MADE_FOR) <= suffixes and "lite" in MADE_FOR
    assert {name for name in published() if foreign_to(name, "dit") is None} >= {"toca/dit-ddim50", "taylorseer/lite"}


def test_a_preset_on_a_foreign_family_says_so(caplog):
    with caplog.at_level(logging.WARNING, "toca"):
        toca.enable_cache(tiny_flux(), "fora/dit", num_inference_steps=4)
        assert "The preset fora/dit was made for dit, and not for flux, which this model is: fora/flux" in caplog.text
        caplog.clear()
        toca.enable_cache(tiny_pixart(), "toca/pixart", num_inference_steps=4)
        toca.enable_cache(tiny_flux(), "fora", num_inference_steps=4)
        toca.enable_cache(tiny_pixart(), toca.preset("fora/dit"), num_inference_steps=4)  # an object is a setting
        assert not caplog.text


@pytest.mark.parametrize("command", ["generate", "plan"])
def test_so_it_does_on_the_command_line(run, command):
    made = run(command, "an owl", "--model", "emoji-flux", "--method", "toca/pixart", "--steps", 3)
    assert made.exit_code == 0, made.output
    assert "made for pixart, and not for flux" in made.stderr
    assert "made for" not in run(command, "an owl", "--model", "emoji-flux", "--steps", 3).stderr


def test_generate_names_the_preset_and_what_was_changed(run):
    made = ["generate", "an owl", "--model", "emoji-flux", "--steps", 3]
    assert "\ntoca/flux, 3 steps" in run(*made).stdout
    assert (
        "\ntoca/flux interval=2 fresh_ratio=0.2, 3 steps"
        in run(*made, "--set", "interval=2", "--set", "fresh_ratio=0.2").stdout
    )
    assert "\nfora, 3 steps" in run(*made, "--method", "fora").stdout
    run("plan", "--model", "emoji-flux", "--steps", 3, "--save", "plan.yaml")
    assert "\nplan, 3 steps" in run(*made, "--plan", "plan.yaml").stdout
    run(*made, "--output", "owl.png")
    assert "\ntoca/flux, 3 steps" in run("generate", "--from", "owl.png").stdout


@pytest.mark.parametrize("name", [name for name, entry in models().items()])
def test_the_preset_of_a_named_model_is_there(name):
    entry = models()[name]
    assert find_method(entry.method).plan(load_skeleton(name).transformer, entry.steps).num_inference_steps
