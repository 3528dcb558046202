"""Where no method is named it is the one that suits the model, and the summary says which."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import toca
from toca.eval.report.again import generation
from toca.eval.report.reading import read_report
from toca.methods.presets import BUILT_ALIKE, MADE_FOR, default_for, foreign_to, published
from toca.models import FAMILIES, known_family
from toca.pipelines import loading
from toca.pipelines.cli import app
from toca.pipelines.commands.plan import plan as plan_command

from .helpers import TINY, TINY_PIPELINES, inputs_for, pipeline_arguments, run_steps
from .registries import as_it_was
from .zoo.subject import supported
from .zoo.tiny import EVERY

STEPS = 6
OF_FAMILY = {"dit": "toca/dit-ddim50", "pixart": "toca/pixart", "flux": "toca/flux", "latte": "toca/opensora"}
nameless = pytest.mark.parametrize("named", [(), ("toca",)], ids=["nothing", "toca"])


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with as_it_was():
        yield


def summary_of(family: str, *method: Any) -> toca.Summary:
    """What a bare transformer's generation did."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    with toca.cached(transformer, *method, num_inference_steps=STEPS):
        run_steps(transformer, inputs)
        return toca.summary(transformer)


@nameless
@pytest.mark.parametrize("family", OF_FAMILY)
def test_a_family_gets_its_published_setting(family: str, named: tuple, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "toca"):
        made = summary_of(family, *named)
    preset = OF_FAMILY[family]
    assert made.chosen == f"toca, the preset {preset}" and str(made).startswith(f"{made.chosen}, {STEPS} steps")
    wanted = summary_of(family, toca.preset(preset))
    assert (made.steps, made.flops, made.trace, made.method) == (wanted.steps, wanted.flops, wanted.trace, "toca")
    assert not wanted.chosen and not caplog.text


@nameless
def test_without_a_published_setting_it_says_so(named: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    FAMILIES["wan"] = replace(FAMILIES.pop("pixart"), name="wan")
    made = summary_of("pixart", *named)
    assert str(made).startswith("toca with its defaults: no setting is published for wan, 6 steps")
    assert made.trace == summary_of("pixart", toca.ToCa()).trace and "t" in made.steps


def test_where_attention_cannot_be_measured_tokens_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacking:
        measures = False

        def __getattr__(self, name: str) -> Any:
            return getattr(FAMILIES["dit"].attention, name)

    spec = replace(FAMILIES["dit"], name="other", attention=Lacking())
    choice = default_for(spec)
    assert choice.method == toca.ToCa(score="random") and choice.method.runs_on(spec)
    assert choice.about.startswith("toca with its defaults, tokens by chance: no setting is published for other")


def test_a_pipeline_without_a_method_named() -> None:
    pipe = toca.enable_cache(TINY_PIPELINES["flux"]())
    pipe(**pipeline_arguments("flux", STEPS))
    assert str(toca.summary(pipe)).startswith("toca, the preset toca/flux, 6 steps")
    toca.disable_cache(pipe)
    with pytest.raises(ValueError, match="has no transformer"):
        toca.enable_cache(object())


def test_an_object_is_what_its_maker_wrote_down() -> None:
    made = summary_of("flux", toca.ToCa())
    assert not made.chosen and str(made).startswith("toca, 6 steps")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_default_runs_on_its_family(family: str) -> None:
    assert default_for(FAMILIES[family]).method.runs_on(FAMILIES[family])


def test_presets_say_what_they_are_for() -> None:
    assert set(BUILT_ALIKE.values()) <= set(published())
    assert foreign_to("teacache/ltx", "ltx") is None and foreign_to("taylorseer/lite", "anything") is None
    note = "The preset easycache/wan was made for wan, and not for hunyuanvideo, which this model is"
    assert foreign_to("easycache/wan", "hunyuanvideo") == f"{note}: easycache/hunyuanvideo would be."
    assert foreign_to("fora", "dit") is None
    assert set(MADE_FOR) <= {name.partition("/")[2] for name in toca.presets()}


# --- DeepCache ---------------------------------------------------------------------------------------------------


def test_deepcache_runs_the_outer_blocks_alone_between_full_steps() -> None:
    plan = toca.DeepCache(interval=3, outer_blocks=1).plan(TINY["dit"](), 7)
    assert plan.steps == "FaaFaaF"
    run = {site.layer for site, action in zip(plan.layout.sites, plan.table[1], strict=True) if action.kind != "skip"}
    assert run == {0, 2} and plan.spans[1][0].keeps == "output"


def test_deepcache_is_denser_around_its_center() -> None:
    steps = toca.DeepCache(interval=5, center=15, power=1.4).plan(TINY["dit"](), 50).steps
    full = [step for step, letter in enumerate(steps) if letter == "F"]
    gaps = [b - a for a, b in zip(full, full[1:], strict=False)]
    assert full == [0, 5, 10, 13, 15, 19, 24, 29, 35, 42]
    assert min(gaps) == 2 and gaps.index(min(gaps)) == full.index(13)


def test_deepcache_leaves_some_blocks_between() -> None:
    with pytest.raises(ValueError, match="`outer_blocks` must be at most 1 of this model, got 2"):
        toca.DeepCache(outer_blocks=2).plan(TINY["dit"](), 7)
    with pytest.raises(ValueError, match="`keeps` must be 'output' or 'residual'"):
        toca.DeepCache(keeps="both")


def test_deepcache_puts_what_left_the_inner_blocks_before_the_last_ones() -> None:
    """On HunyuanDiT, whose last blocks are given what the first ones make: written out, with the input of a block put
    into another call by hand."""
    entry = EVERY["HunyuanDiT2DModel"]
    model, calls = entry.make(), entry.generation(batch=2)[:2]
    last, kept = model.blocks[len(model.blocks) - 1], []
    with torch.no_grad():
        note = last.register_forward_pre_hook(lambda _, args, named: kept.append(args or named), with_kwargs=True)
        model(**calls[0])
        note.remove()
        held = kept[0]["hidden_states"] if isinstance(kept[0], dict) else kept[0][0]

        def put(_: Any, args: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            return ((held, *args[1:]), named) if args else (args, named | {"hidden_states": held})

        hook = last.register_forward_pre_hook(put, with_kwargs=True)
        wanted = model(**calls[1])[0]
        hook.remove()
        with toca.cached(model, toca.DeepCache(interval=2), num_inference_steps=2):
            got = [model(**call)[0] for call in calls][1]
            assert toca.summary(model).steps == "Fa"
        full = model(**calls[1])[0]
    assert torch.allclose(got, wanted, atol=1e-6) and not torch.allclose(got, full, atol=1e-2)


@pytest.mark.parametrize("name", supported())
def test_every_model_has_a_default(name: str) -> None:
    model = EVERY[name].make()
    spec = known_family(model)
    choice = default_for(spec)
    plan = choice.method.plan(model, 10)
    # A model whose modules all mix tokens is left with what reuses them whole.
    mixes = all(site.whole for site in plan.layout.sites)
    assert plan.steps.startswith("F") and ("t" in plan.steps or (mixes and "r" in plan.steps))
    assert choice.about.startswith(("toca, the preset toca/", "toca with its defaults"))
    assert choice.method.runs_on(spec)


# --- the command line ----------------------------------------------------------------------------------------------


def test_the_command_line_takes_the_default_too(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "_best_device", lambda: "cpu")
    made = ["generate", "an owl", "--model", "emoji-flux", "--steps", "3", "--method", "toca"]
    assert "\ntoca, the preset toca/flux, 3 steps" in CliRunner().invoke(app, made).stdout
    changed = CliRunner().invoke(app, [*made, "--set", "interval=2"]).stdout
    assert "\ntoca, the preset toca/flux interval=2, 3 steps" in changed
    refused = CliRunner().invoke(app, [*made, "--set", "colour=2"])
    assert refused.exit_code == 1 and "ToCa has no field 'colour'" in refused.stderr
    plans = [CliRunner().invoke(app, ["plan", "--model", "flux-dev", *words]).stdout for words in ((), made[-2:])]
    assert plans[0] == plans[1] and plan_command is not None


def test_the_command_of_a_row_with_plain_defaults_says_all_that_a_preset_says_otherwise() -> None:
    results = read_report(loading.Path(toca.__file__).parents[1] / "eval" / "results" / "emoji-flux.json").results
    row = next(row for row in results.methods if row.group == "toca")
    command = generation(row, results)
    assert command is not None and "--method toca --set" in command
    assert "interval=" in command and "step_factor=[1.0,0.0]" in command
