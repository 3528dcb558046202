"""One setting has one cost: what `plan` and its drawing foretell is what `generate` does and what the table counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from diffusers import CogView4Pipeline, DDIMScheduler, UniPCMultistepScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from matplotlib.figure import Figure
from typer.testing import CliRunner

import toca
from toca.pipelines import loading
from toca.pipelines.call_sizes import call_sizes
from toca.pipelines.cli import app
from toca.pipelines.generate import generate
from toca.pipelines.method_options import find_method, from_record
from toca.pipelines.planning import plan_of, timesteps_of
from toca.pipelines.registry import find_model
from toca.pipelines.request import Request, own_config, prepare
from toca.pipelines.skeleton import Skeleton, load_skeleton

PROMPTS = {
    "emoji": "a red apple", "emoji-flux": "an owl, noto style", "fashion": "sneaker",
    "emoji-video": "a red apple bouncing",
}  # fmt: skip
PLANNED = ("fora", "toca", "random", "taylorseer", "pab", "tgate", "fastercache", "none")
ONLINE = ("easycache", "fbcache")
STEPS = 4
RESULTS = Path(__file__).parents[2] / "eval" / "results"


@pytest.fixture(scope="module", params=PROMPTS)
def job(request):
    """An embedded pipeline, and a small generation."""
    return prepare(Request(PROMPTS[request.param], model=request.param, steps=STEPS, device="cpu"))


@pytest.mark.parametrize("name", [*PLANNED, *ONLINE])
def test_plan_foretells_what_generate_does(job, name):
    method, skeleton = find_method(name), load_skeleton(job.model)
    if not method.runs_on(toca.models.family_of(skeleton.transformer)):
        pytest.skip("not for this family")
    cost = plan_of(method, skeleton, job.config).cost(**call_sizes(skeleton, job.config))
    summary = generate(job.pipe, job.config, method).summary
    assert cost.flops_full == summary.flops_full
    assert cost.decides_online == (name in ONLINE)
    if cost.decides_online:
        assert cost.flops <= summary.flops and cost.speedup_text == f"at most {cost.flops_speedup:.2f}x"
    else:
        assert (cost.flops, cost.cache_bytes) == (summary.flops, summary.cache_bytes)


@pytest.mark.parametrize(
    "changes", [{"guidance_scale": 1.0}, {"batch_size": 2, "num_images": 2}, {"prompt": "an owl"}]
)
@pytest.mark.parametrize("name", ["emoji", "emoji-video"])
def test_guidance_batches_and_prompts_count(name, changes):
    request = Request(**{"prompt": PROMPTS[name], "model": name, "steps": STEPS, "device": "cpu", **changes})
    job, skeleton = prepare(request), load_skeleton(name)
    method = toca.FORA(interval=2)
    sizes = call_sizes(skeleton, job.config)
    cost, summary = plan_of(method, skeleton, job.config).cost(**sizes), generate(job.pipe, job.config, method).summary
    assert (cost.flops, cost.flops_full, cost.cache_bytes) == (summary.flops, summary.flops_full, summary.cache_bytes)
    assert call_sizes(Skeleton.of(job.pipe, name), job.config) == sizes


@pytest.mark.parametrize("name", PROMPTS)
def test_a_skeleton_has_the_timesteps_of_the_pipeline(name):
    job = prepare(Request(PROMPTS[name], model=name, steps=STEPS, device="cpu"))
    generate(job.pipe, job.config)
    assert timesteps_of(load_skeleton(name), job.config) == pytest.approx(tuple(job.pipe.scheduler.timesteps.tolist()))


FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "use_dynamic_shifting": True}


def flux_planned():
    """The skeleton of emoji-flux, and a small generation."""
    skeleton, request = load_skeleton("emoji-flux"), Request("an owl", model="emoji-flux", steps=STEPS)
    return skeleton, own_config(request, "emoji-flux", skeleton.pipeline_class, None)


def test_a_scheduler_without_settings_of_its_shift_is_shifted_by_the_defaults():
    skeleton, config = flux_planned()
    other = replace(skeleton, scheduler=UniPCMultistepScheduler(**FLOW))
    scheduler = UniPCMultistepScheduler(**FLOW)
    scheduler.set_timesteps(STEPS, mu=calculate_shift(64))  # tokens of 64 x 64 pixels
    assert timesteps_of(other, config) == tuple(scheduler.timesteps.tolist())


def test_timesteps_that_a_pipeline_makes_by_another_rule_are_not_guessed():
    skeleton, config = flux_planned()
    assert timesteps_of(replace(skeleton, pipeline_class=CogView4Pipeline), config) == ()
    # One that takes no noise levels, which the pipeline refuses by itself.
    assert timesteps_of(replace(skeleton, scheduler=DDIMScheduler()), config) == ()


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("method", ["fora", "easycache"])
def test_the_command_its_drawing_and_generate_say_the_same(name, method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "_best_device", lambda: "cpu")
    titles, write = [], Figure.suptitle
    monkeypatch.setattr(Figure, "suptitle", lambda *args, **more: titles.append(args[1]) or write(*args, **more))
    setting = [PROMPTS[name], "--model", name, "--method", method, "--steps", str(STEPS)]
    planned = CliRunner().invoke(app, ["plan", *setting, "--draw", "plan.png"])
    made = CliRunner().invoke(app, ["generate", *setting])
    assert (planned.exit_code, made.exit_code) == (0, 0), planned.output + made.output
    foretold = planned.stdout.split("(")[1].split(")")[0]
    title, cost = titles[0].splitlines()[:2]
    assert title == f"{method} on {name}" and cost.startswith(f"{foretold} fewer FLOPs, ")
    done = made.stdout.split("G: ")[1].split("\n")[0]
    assert foretold == done if method == "fora" else foretold.startswith("at most ")
    assert float(foretold.removeprefix("at most ").removesuffix("x")) >= float(done.removesuffix("x"))


@pytest.mark.parametrize("name", PROMPTS)
def test_the_recorded_table_says_what_plan_says(name):
    """Its FLOPs are counted operation by operation, in another process, at another time."""
    recorded = json.loads((RESULTS / f"{name}.json").read_text())
    skeleton, batch = load_skeleton(name), recorded["config"]["bench_batch_size"]
    first = recorded["config"]["items"][0][2]
    request = Request(first, model=name, batch_size=batch, num_images=batch)
    compared = 0
    for row in recorded["methods"]:
        if row["group"].startswith("peer:"):
            continue
        method = from_record(row["method"])
        config = own_config(request, name, skeleton.pipeline_class, method)
        cost = plan_of(method, skeleton, config).cost(**call_sizes(skeleton, config))
        if not cost.decides_online:
            assert (cost.flops, cost.cache_bytes) == (row["parts"]["denoiser"]["flops"], row["cache_bytes"])
            compared += 1
    assert compared >= 3


def test_what_a_pipeline_does_by_itself_counts_where_a_model_has_no_name():
    assert find_model("emoji-flux").call == {"max_sequence_length": 16}
    skeleton = load_skeleton("emoji-flux")
    unnamed = Skeleton("./a-folder", skeleton.pipeline_class, skeleton.transformer, skeleton.vae)
    config = own_config(Request("an owl"), "./a-folder", skeleton.pipeline_class, toca.FORA())
    assert call_sizes(unnamed, config)["text_tokens"] == 512
