"""Learned routers: their rule and their file, and the training of them in examples/routers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

import toca
from examples.routers import train as script
from examples.routers.blending import Blender
from examples.routers.conditions import first_call, settings_of_call, split_prompts
from examples.routers.figures import shuffled
from examples.routers.harmonica import HarmoniCa
from examples.routers.learning_to_cache import LearningToCache
from examples.routers.loop import mean_losses
from examples.routers.recipe import Logits, Settings
from examples.routers.trajectory import Denoiser
from examples.routers.yardstick import Outcome, Reuse, Spread
from toca.methods.learned import LearnedRouter
from toca.methods.router import Router
from toca.methods.router_drawing import draw_routers
from toca.models import describe, family_of
from toca.models.fingerprint import fingerprint
from toca.pipelines.skeleton import load_skeleton
from toca.plan.schedulers import SchedulerMark

from .helpers import TINY, TINY_PIPELINES, inputs_for, pipeline_arguments, run_steps, tiny_dit, tiny_pixart
from .pipelines.folders import save_tiny

STEPS = 6
RECIPES = ("learning-to-cache", "harmonica")
PROMPTS = ["a red owl", "a green cat", "the blue moon", "a small dog", "a tree", "a house", "the star", "a big sun"]
ROUTERS = sorted((Path(__file__).parents[1] / "pipelines").glob("*/calibration/learned*.json"))

every_recipe = pytest.mark.parametrize("recipe", RECIPES)
every_family = pytest.mark.parametrize("family", ("dit", "pixart", "flux"))


def router_for(transformer: Any, recipe: str, steps: int = STEPS, seed: int = 0) -> Router:
    """A router of random scores, made without any of the training code."""
    layout = describe(transformer, family_of(transformer))
    full = range(0, steps, 2) if recipe == "learning-to-cache" else [0]
    drawn = torch.rand(steps, len(layout.sites), generator=torch.Generator().manual_seed(seed)).tolist()
    scores = tuple(None if step in full else tuple(drawn[step]) for step in range(steps))
    return Router(recipe, fingerprint(layout), steps, SchedulerMark("DDIMScheduler", {}), scores, {"seed": seed})


@pytest.fixture
def saved(tmp_path):
    """The path of a router, saved."""

    def save(router: Router) -> str:
        router.save(tmp_path / "router.json")
        return str(tmp_path / "router.json")

    return save


# --- the rule ------------------------------------------------------------------------------------------------------


def naive_kind(data: dict[str, Any], step: int, column: int, threshold: float) -> str:
    """Notes, section 4, word for word."""
    if data["recipe"] == "learning-to-cache" and step % 2 == 0:
        return "compute"  # even steps are full
    if data["recipe"] == "harmonica" and step == 0:
        return "compute"  # the first step always computes
    return "compute" if data["scores"][step][column] > threshold else "reuse"


@every_recipe
@pytest.mark.parametrize("threshold", (0.0, 0.1, 0.5, 0.9, 1.0))
@pytest.mark.parametrize("family", TINY)
def test_the_plan_is_the_papers_rule(saved, family, threshold, recipe):
    transformer = TINY[family]()
    path = saved(router_for(transformer, recipe))
    plan = LearnedRouter(path, threshold).plan(transformer, STEPS)
    data = json.loads(Path(path).read_text())
    for step, row in enumerate(plan.table):
        assert [a.kind for a in row] == [naive_kind(data, step, i, threshold) for i in range(len(row))]


def test_a_score_at_the_threshold_reuses(saved):
    router = router_for(tiny_dit(), "harmonica", steps=2)
    router = replace(router, scores=(None, (0.1, 0.1001) * 3))
    plan = LearnedRouter(saved(router)).plan(tiny_dit(), 2)
    assert [action.kind for action in plan.table[1]] == ["reuse", "compute"] * 3


def test_the_defaults_are_the_published_ones(saved):
    method = LearnedRouter(saved(router_for(tiny_dit(), "harmonica")))
    assert method.threshold == 0.1 and method.num_inference_steps == STEPS


@every_recipe
@every_family
def test_the_engine_does_what_the_hard_blend_does(saved, family, recipe):
    """A site reused by the engine is a site blended with r = 0, whose input the training never saw otherwise."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2, cfg=True)
    router = router_for(transformer, recipe)
    with toca.cached(transformer, LearnedRouter(saved(router), 0.5), num_inference_steps=STEPS):
        got = run_steps(transformer, inputs)
    wanted = []
    with Blender(transformer) as blender, torch.no_grad():
        for call, row in zip(inputs, router.scores, strict=True):
            computed = torch.tensor([True] * len(blender.handles) if row is None else [r > 0.5 for r in row])
            weights = computed.float()
            with blender.keeping() if row is None else blender.blending(weights, computed.tolist()):
                wanted.append(transformer(**call).sample)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(got[-1], run_steps(transformer, inputs)[-1], atol=1e-4)


def test_a_bare_transformer_takes_the_number_of_steps_from_the_router(saved):
    transformer = tiny_dit()
    with toca.cached(transformer, LearnedRouter(saved(router_for(transformer, "harmonica")), 0.5)):
        run_steps(transformer, inputs_for("dit", STEPS))
        assert len(toca.summary(transformer).steps) == STEPS


def test_a_pipeline_of_the_right_number_of_steps(saved):
    pipe = TINY_PIPELINES["dit"]()
    with toca.cached(pipe, LearnedRouter(saved(router_for(pipe.transformer, "learning-to-cache")), 0.5)):
        pipe(**pipeline_arguments("dit", STEPS))
        assert toca.summary(pipe).steps[::2] == "FFF"
        with pytest.raises(ValueError, match=f"trained for {STEPS} steps.*got `num_inference_steps` 4"):
            pipe(**pipeline_arguments("dit", 4))


# --- the file ------------------------------------------------------------------------------------------------------


@every_recipe
def test_a_saved_router_comes_back(tmp_path, recipe):
    router = router_for(tiny_pixart(), recipe)
    router.save(tmp_path / "a.json")
    again = Router.load(tmp_path / "a.json")
    assert again == router
    again.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "b.json"}


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="nowhere.json.*No such file.*examples/routers"):
        LearnedRouter(str(tmp_path / "nowhere.json"))


@pytest.mark.parametrize("text", ("", "{", "[]", "null", '{"format": "toca-plan"}', "\x00"))
def test_a_file_that_is_no_router(tmp_path, text):
    path = tmp_path / "router.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="router.json' is not a valid router: "):
        LearnedRouter(str(path))


BROKEN: list[tuple[str, Any, str]] = [
    ("version", 2, "version 2.*reads version 1"),
    ("recipe", "magic", "`recipe` must be one of learning-to-cache, harmonica, got 'magic'"),
    ("scores", [None], "scores for 1 steps, expected 6"),
    ("num_inference_steps", 8, "scores for 6 steps, expected 8"),
    ("scores", [None] * STEPS, "Step 1 must have scores in harmonica"),
    ("scores", [[0.5] * 6] * STEPS, "Step 0 must have no scores in harmonica"),
    ("scores", [None] + [[0.5] * 5] * (STEPS - 1), "Step 1 has 5 scores, expected one for each of the 6 sites"),
    ("scores", [None] + [[1.5] * 6] * (STEPS - 1), "Step 1 has the score 1.5; scores run from 0 to 1"),
    ("scores", [None] + [[float("nan")] * 6] * (STEPS - 1), r"scores\[\d\]\[\d\]: nan"),
    ("scores", [None] + [["high"] * 6] * (STEPS - 1), "Step 1 has the score 'high'"),
    ("model", {"sites": [[0, "ff"]]}, "not enough values"),
    ("model", {}, "missing key 'sites'"),
    ("model", None, "not subscriptable"),
]


@pytest.mark.parametrize(("key", "value", "message"), BROKEN)
def test_a_file_with_a_wrong_value(saved, key, value, message):
    path = Path(saved(router_for(tiny_dit(), "harmonica")))
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ValueError, match=f"router.json' is not a valid router: .*{message}"):
        LearnedRouter(str(path))


@pytest.mark.parametrize("key", ("version", "recipe", "model", "scores", "scheduler", "training"))
def test_a_file_without_something(saved, key):
    path = Path(saved(router_for(tiny_dit(), "harmonica")))
    data = json.loads(path.read_text())
    del data[key]
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=f"missing key '{key}'"):
        LearnedRouter(str(path))


@pytest.mark.parametrize("threshold", (-0.1, 1.1, float("nan")))
def test_a_wrong_threshold(saved, threshold):
    with pytest.raises(ValueError, match=f"`threshold` must be between 0 and 1, got {threshold}"):
        LearnedRouter(saved(router_for(tiny_dit(), "harmonica")), threshold)


OTHERS = {
    "family": lambda: tiny_pixart(),
    "layers": lambda: tiny_dit(num_layers=4),
    "width": lambda: tiny_dit(num_attention_heads=4),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_model(saved, other):
    method = LearnedRouter(saved(router_for(tiny_dit(), "harmonica")))
    with pytest.raises(ValueError, match="for a dit model of 3 layers and 6 sites of width 32, and this is a "):
        method.plan(OTHERS[other](), STEPS)
    with pytest.raises(ValueError, match="trained for a dit model"):
        toca.enable_cache(OTHERS[other](), method, num_inference_steps=STEPS)


def test_another_number_of_steps(saved):
    method = LearnedRouter(saved(router_for(tiny_dit(), "harmonica")))
    with pytest.raises(ValueError, match="trained for 6 steps, got `num_inference_steps` 5: sample in 6"):
        method.plan(tiny_dit(), 5)


def test_another_scheduler(saved):
    pipe = TINY_PIPELINES["dit"]()
    method = LearnedRouter(saved(router_for(pipe.transformer, "harmonica")))
    pipe.scheduler = DPMSolverMultistepScheduler()
    with pytest.raises(ValueError, match="trained with DDIMScheduler, and .*DPMSolverMultistepScheduler: sample with"):
        toca.enable_cache(pipe, method)


def test_without_a_router_there_is_no_plan():
    method = LearnedRouter()
    assert method.num_inference_steps is None
    for use in (lambda: method.plan(tiny_dit(), STEPS), lambda: toca.enable_cache(TINY_PIPELINES["dit"](), method)):
        with pytest.raises(ValueError, match="learned needs a router: .*examples/routers.* path as `router`"):
            use()


@pytest.mark.parametrize("path", ROUTERS, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_the_routers_of_the_embedded_models(path):
    """They are small, fit the model, are presets, and reuse a fifth to a half of all computations."""
    assert path.stat().st_size < 40_000
    model, further = path.parents[1].name, path.stem.removeprefix("learned")
    router, transformer = Router.load(path), load_skeleton(model).transformer
    assert router.training["model"] == model and further in ("", "-harmonica")
    assert router.recipe == ("harmonica" if further else "learning-to-cache")
    method = toca.preset(f"learned/{model}{further}")
    assert method == LearnedRouter(str(path))
    plan = method.plan(transformer, router.num_inference_steps)
    reused = [action.kind == "reuse" for row in plan.table for action in row]
    assert 0.15 <= sum(reused) / len(reused) <= 0.55


# --- the training --------------------------------------------------------------------------------------------------


def denoiser_of(family: str, steps: int = STEPS) -> Denoiser:
    return Denoiser(TINY_PIPELINES[family](), PROMPTS, steps, guidance_scale=4.0)


def learning_to_cache(denoiser: Denoiser, blender: Blender, **settings: Any) -> LearningToCache:
    clean = denoiser.gaussian(6, torch.Generator().manual_seed(1))
    settings = {"batch": 4, "lr": 0.1, "weight": 0.0} | settings
    return LearningToCache(denoiser, blender, Settings(**settings), clean=clean, captions=torch.arange(6))


def naive_pixart(transformer: Any, call: dict[str, Any], weights: Tensor | None, kept: list[Tensor]) -> list[Tensor]:
    """The blocks of PixArt written out; each site's output is r f + (1 - r) kept. Returns the sites' own outputs f
    and, last, the prediction."""
    own: list[Tensor] = []

    def blend(fresh: Tensor) -> Tensor:
        i = len(own)
        own.append(fresh)
        return fresh if weights is None else weights[i] * fresh + (1 - weights[i]) * kept[i]

    x = transformer.pos_embed(call["hidden_states"])
    rows, tokens = x.shape[:2]
    time, embedded = transformer.adaln_single(call["timestep"], call["added_cond_kwargs"], rows, x.dtype)
    text = transformer.caption_projection(call["encoder_hidden_states"])
    mask = (1 - call["encoder_attention_mask"][:, None].float()) * -10000.0
    for block in transformer.transformer_blocks:
        table = block.scale_shift_table[None] + time.reshape(rows, 6, -1)
        shift, scale, gate, shift_ff, scale_ff, gate_ff = table.chunk(6, dim=1)
        x = x + gate * blend(block.attn1(block.norm1(x) * (1 + scale) + shift))
        x = x + blend(block.attn2(x, encoder_hidden_states=text, attention_mask=mask))
        x = x + gate_ff * blend(block.ff(block.norm2(x) * (1 + scale_ff) + shift_ff))
    shift, scale = (transformer.scale_shift_table[None] + embedded[:, None]).chunk(2, dim=1)
    x = transformer.proj_out(transformer.norm_out(x) * (1 + scale) + shift)
    side, patch = int(tokens**0.5), transformer.config.patch_size
    x = x.reshape(rows, side, side, patch, patch, -1).permute(0, 5, 1, 3, 2, 4)
    return [*own, x.reshape(rows, -1, side * patch, side * patch)]


def test_the_blend_and_its_gradient_are_those_of_a_block_written_out():
    transformer, (first, second) = tiny_pixart(), inputs_for("pixart", 2, batch_size=2)
    target = torch.randn(2, 8, 16, 16)
    logits = torch.randn(9)

    naive_logits = logits.clone().requires_grad_()
    *kept, plain = naive_pixart(transformer, first, None, [])
    wanted = naive_pixart(transformer, second, torch.sigmoid(naive_logits), kept)[-1]
    F.mse_loss(wanted, target).backward()

    hooked_logits = logits.clone().requires_grad_()
    with Blender(transformer) as blender:
        with blender.keeping():
            torch.testing.assert_close(transformer(**first).sample, plain, atol=1e-5, rtol=1e-4)
        with blender.blending(torch.sigmoid(hooked_logits)):
            got = transformer(**second).sample
    F.mse_loss(got, target).backward()
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(hooked_logits.grad, naive_logits.grad, atol=1e-6, rtol=1e-3)
    assert hooked_logits.grad.abs().min() > 1e-6


@every_family
def test_the_blender_leaves_no_trace(family):
    transformer, inputs = TINY[family](), inputs_for(family, 2)
    stock = run_steps(transformer, inputs)
    with Blender(transformer) as blender:
        assert torch.equal(run_steps(transformer, inputs)[0], stock[0])
        with blender.keeping():
            assert torch.equal(run_steps(transformer, inputs[:1])[0], stock[0])
        with blender.blending(torch.ones(len(blender.handles))):
            assert torch.equal(run_steps(transformer, inputs)[1], stock[1])
        with blender.blending(torch.zeros(len(blender.handles))):
            assert not torch.equal(run_steps(transformer, inputs)[1], stock[1])
    assert torch.equal(run_steps(transformer, inputs)[1], stock[1])
    assert not any(module._forward_hooks for module in transformer.modules())


def test_every_site_of_every_family_is_blended():
    """Also attention within a parallel block, of which nobody sees anything but the block's output."""
    for family, make in TINY.items():
        transformer, inputs = make(), inputs_for(family, 2)
        with Blender(transformer) as blender:
            with blender.keeping():
                run_steps(transformer, inputs[:1])
            weights = torch.full((len(blender.handles),), 0.5, requires_grad=True)
            with blender.blending(weights):
                transformer(**inputs[1]).sample.square().sum().backward()
        assert weights.grad.abs().min() > 1e-3, family


def test_a_model_of_no_family_is_refused():
    with pytest.raises(ValueError, match="Linear"):
        Blender(torch.nn.Linear(2, 2))


def test_a_pipeline_that_calls_its_model_once_a_branch_is_refused():
    pipe = TINY_PIPELINES["flux"]()
    type(pipe).do_classifier_free_guidance = True
    try:
        with pytest.raises(ValueError, match="FluxPipeline calls its transformer once for each branch of guidance"):
            Denoiser(pipe, PROMPTS, STEPS, guidance_scale=4.0)
    finally:
        del type(pipe).do_classifier_free_guidance


@every_family
def test_a_trajectory_is_the_stock_pipelines_generation(family):
    pipe = TINY_PIPELINES[family]()
    arguments = pipeline_arguments(family, STEPS) | {"guidance_scale": 4.0}
    arguments.pop("max_sequence_length", None)  # nobody has said what suits this model
    denoiser = Denoiser(pipe, [*PROMPTS, arguments.get("prompt", "")], STEPS, guidance_scale=4.0)
    asked = arguments.get("class_labels") or [arguments["prompt"]]
    generator = torch.Generator().manual_seed(0)
    noise = first_call(pipe, asked, settings_of_call(pipe, STEPS, 4.0), generator=generator).latents
    places = asked if family == "dit" else [len(PROMPTS)]
    latents = denoiser.sampling_from(noise, torch.tensor(places)).finish()
    if family == "dit":
        latents = (pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    wanted = torch.as_tensor(pipe(**arguments).images)
    if wanted.shape != latents.shape:
        # An older DiT pipeline returns arrays whatever it is asked for.
        wanted = wanted.movedim(-1, 1)
    torch.testing.assert_close(latents, wanted, atol=2e-3, rtol=1e-3)


def test_a_fork_goes_its_own_way():
    denoiser = denoiser_of("pixart")
    whole = denoiser.sampling(torch.arange(2), torch.Generator().manual_seed(0)).finish()
    batch = denoiser.sampling(torch.arange(2), torch.Generator().manual_seed(0))
    while batch.step < STEPS:
        assert torch.equal(batch.fork().finish(), whole)
        batch.advance(batch.predict())


def test_logits_are_the_papers():
    logits = Logits("learning-to-cache", 200, 50, seed=0)
    drawn = torch.cat(list(logits.rows.values()))
    assert list(logits.rows) == list(range(1, 200, 2))
    assert abs(drawn.mean()) < 0.05 and abs(drawn.std() - 1) < 0.05
    with torch.no_grad():
        logits.rows[1].fill_(9.0)
        logits.rows[3].fill_(-9.0)
    logits.clamp()
    assert logits.rows[1].max() == 5 and logits.rows[3].min() == -5
    assert logits.table()[0] is None and logits.table()[1][0] == round(torch.sigmoid(torch.tensor(5.0)).item(), 4)
    assert list(Logits("harmonica", 4, 2, seed=0).rows) == [1, 2, 3]


def test_a_router_goes_on_from_another():
    other = router_for(tiny_pixart(), "learning-to-cache", seed=5)
    logits = Logits("harmonica", STEPS, 9, seed=0)
    drawn = logits.table()
    logits.start_from(other.scores)
    for step, row in enumerate(logits.table()[1:], start=1):
        assert row == pytest.approx(drawn[step] if step % 2 == 0 else clamped(other.scores[step]), abs=1e-4)


def clamped(scores: tuple[float, ...]) -> list[float]:
    largest = torch.sigmoid(torch.tensor(5.0)).item()
    return [min(max(score, 1 - largest), largest) for score in scores]


@every_family
def test_an_iteration_of_learning_to_cache_lowers_the_loss(family):
    """The same batch, again and again: two steps, so that it is always the same step that learns."""
    denoiser = denoiser_of(family, steps=2)
    with Blender(denoiser.transformer) as blender:
        recipe = learning_to_cache(denoiser, blender, weight=1e-5)
        before = {name: value.clone() for name, value in denoiser.transformer.state_dict().items()}
        for _ in range(6):
            recipe.round(torch.Generator().manual_seed(3))
    losses = [loss for loss, _ in recipe.losses]
    assert all(later < earlier for earlier, later in zip(losses, losses[1:], strict=False)), losses
    assert all(torch.equal(value, before[name]) for name, value in denoiser.transformer.state_dict().items())


def test_the_loss_of_learning_to_cache_written_out():
    """Noise at step 0, in full; one step of the sampler; at step 1 the full output against the blended one."""
    denoiser = denoiser_of("pixart", steps=2)
    with Blender(denoiser.transformer) as blender:
        recipe = learning_to_cache(denoiser, blender, weight=0.01)
        scores = recipe.logits.scores(1).detach()
        recipe.round(torch.Generator().manual_seed(3))

    generator = torch.Generator().manual_seed(3)
    torch.randint(1, (), generator=generator)
    chosen = torch.randint(6, (4,), generator=generator)
    dropped = torch.rand(4, generator=generator) < 0.1
    call = denoiser.conditions.pick(chosen, dropped)
    scheduler, (t0, t1) = denoiser.scheduler(), denoiser.timesteps
    noise = torch.randn(4, 4, 32, 32, generator=generator)
    noisy = scheduler.add_noise(recipe.clean[chosen], noise, t0.expand(4))
    transformer = denoiser.transformer
    *kept, full = naive_pixart(transformer, {"hidden_states": noisy, "timestep": t0.expand(4), **call}, None, [])
    moved = scheduler.step(full[:, :4], t0, noisy).prev_sample
    second = {"hidden_states": moved, "timestep": t1.expand(4), **call}
    wanted = naive_pixart(transformer, second, None, [])[-1][:, :4]
    got = naive_pixart(transformer, second, scores, kept)[-1][:, :4]
    error = F.mse_loss(got, wanted).item()
    assert recipe.losses == [pytest.approx((error + 0.01 * scores.sum().item(), error), rel=1e-3)]


def test_the_penalty_alone_drives_every_score_down():
    denoiser = denoiser_of("dit", steps=2)
    with Blender(denoiser.transformer) as blender:
        recipe = learning_to_cache(denoiser, blender, weight=1e3, lr=1.0)
        for seed in range(12):
            recipe.round(torch.Generator().manual_seed(seed))
    assert recipe.logits.share(0.1) == 0 and recipe.logits.rows[1].min() == -5


def test_the_image_errors_of_harmonica():
    """lambda_t is what following step t's decisions moves the final latents by, after those of the steps before."""
    denoiser = denoiser_of("pixart", steps=4)
    with Blender(denoiser.transformer) as blender:
        recipe = HarmoniCa(denoiser, blender, Settings(2, 0.01, 1e-3, threshold=0.5), proxy_batch=2)
        with torch.no_grad():
            recipe.logits.rows[2].fill_(1.0)  # step 2 reuses nothing
        errors = recipe.measure()

        finals = []
        for followed in range(4):
            generator = torch.Generator().manual_seed(2**31)
            batch = denoiser.sampling(denoiser.captions(2, generator), generator)
            for step in range(4):
                hard = (recipe.logits.scores(step) > 0.5).float() if 0 < step <= followed else torch.ones(9)
                with blender.keeping() if step == 0 else blender.blending(hard, (hard > 0).tolist()), torch.no_grad():
                    batch.advance(batch.predict())
            finals.append(batch.latents)
    wanted = [0.0] + [F.mse_loss(b, a).item() for a, b in zip(finals, finals[1:], strict=False)]
    assert errors == pytest.approx(wanted, rel=1e-4)
    assert errors[1] > 0 and errors[2] == 0 and errors[3] > 0


def test_a_round_of_harmonica_is_one_generation():
    denoiser = denoiser_of("dit", steps=4)
    with Blender(denoiser.transformer) as blender:
        recipe = HarmoniCa(denoiser, blender, Settings(2, 0.05, 1e-2), proxy_every=6, proxy_batch=2)
        before = recipe.logits.table()
        recipe.round(torch.Generator().manual_seed(0))
        assert recipe.iteration == 3 and recipe.measured_at == 0
        recipe.round(torch.Generator().manual_seed(1))
        recipe.round(torch.Generator().manual_seed(2))
        assert recipe.iteration == 9 and recipe.measured_at == 6
    after = recipe.logits.table()
    assert all(a != b for a, b in zip(before[1:], after[1:], strict=True)) and after[0] is None


def test_losses_in_parts():
    losses = [(float(i), 2.0 * i) for i in range(10)]
    assert mean_losses(losses, parts=2) == [(5, 2.0, 4.0), (10, 7.0, 14.0)]
    assert [end for end, *_ in mean_losses(losses[:3])] == [1, 2, 3]


def test_some_prompts_are_held_out():
    prompts = [f"prompt {i}" for i in range(100)]
    train, chosen, held_out = split_prompts(prompts)
    assert (len(chosen), len(held_out)) == (8, 16) and sorted(train + chosen + held_out) == sorted(prompts)
    assert split_prompts(prompts) == (train, chosen, held_out)


# --- the script ----------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Run the script on a tiny pipeline and read what it wrote."""
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("\n".join(PROMPTS))

    def run(recipe: str, *more: object, family: str = "pixart", output: str = "router.json") -> Router:
        folder = save_tiny(family, tmp_path / family)
        given = ["--recipe", recipe, "--model", folder, "--prompts", "prompts.txt", "--steps", 4, "--device", "cpu"]
        script.main([str(argument) for argument in (*given, "--output", output, *more)])
        return Router.load(output)

    return run


SMOKE_RUNS = (("harmonica", "dit"), ("harmonica", "pixart"), ("learning-to-cache", "pixart"), (RECIPES[0], "flux"))


@pytest.mark.parametrize(("recipe", "family"), SMOKE_RUNS)
def test_the_smoke_run(trained, recipe, family, monkeypatch):
    monkeypatch.setitem(script.SMOKE, "iterations", 20)
    size = ("--size", 32) if family == "flux" else ()  # its folder does not say that it is small
    router = trained(recipe, "--smoke", *size, family=family)
    transformer = TINY_PIPELINES[family]().transformer
    assert router.recipe == recipe and router.num_inference_steps == 4
    assert router.model == fingerprint(describe(transformer, family_of(transformer)))
    assert router.training["iterations"] >= 20 and router.training["losses"][-1][0] == router.training["iterations"]
    assert "iteration 20" in Path(".data/routers/router/log.txt").read_text() or recipe == "harmonica"
    assert LearnedRouter("router.json").plan(transformer, 4).steps[0] == "F"


@every_recipe
def test_a_run_that_stops_goes_on_as_if_it_had_not(trained, recipe):
    small = ["--batch", 2, "--latents", 4, "--weight", 1e-3, "--lr", 0.05, "--proxy-every", 6]
    # HarmoniCa stops between two looks at its image errors, so that a run that forgot them would go on otherwise.
    whole = trained(recipe, *small, "--iterations", 9, output="whole.json")
    trained(recipe, *small, "--iterations", 3, output="parts.json")
    parts = trained(recipe, *small, "--iterations", 9, output="parts.json")
    assert parts.scores == whole.scores and parts.training == whole.training
    assert Path("parts.json").read_bytes() == Path("whole.json").read_bytes()
    with pytest.raises(SystemExit, match="checkpoint.pt was made with {'lr': 0.05}, not with {'lr': 0.01}"):
        trained(recipe, *small, "--lr", 0.01, output="parts.json")


def test_errors_are_one_sentence(trained):
    with pytest.raises(SystemExit, match="^Error: Unknown model 'nobody'"):
        trained("harmonica", "--model", "nobody")
    Path("empty.txt").write_text("")
    with pytest.raises(SystemExit, match="^Error: There are no captions"):
        trained("harmonica", "--prompts", "empty.txt")


def test_the_published_settings_are_the_default():
    for recipe, wanted in (("learning-to-cache", (64, 1e-3, 5e-6)), ("harmonica", (64, 1e-2, 7e-8))):
        settings = script.settings_of(script.parse(["--recipe", recipe, "--output", "router.json"]))
        assert (settings.batch, settings.lr, settings.weight) == wanted
        assert (settings.threshold, settings.seed) == (0.1, 0)


class FakeYardstick:
    """n full steps of 10 cost n + 1 tenths, and give n + 20 dB; by the clock n + 2."""

    steps = 10

    def measure(self, method: Spread) -> Outcome:
        n = method.full_steps
        return Outcome(n / 10, 10 / (n + 1), 10 / (n + 2), 20.0 + n)


@pytest.mark.parametrize(("speedup", "psnr"), ((2.0, 24.0), (10 / 4.5, 23.5), (5.0, 21.0), (9.0, 21.0), (0.9, 29.0)))
def test_plain_reuse_at_any_speedup(speedup, psnr):
    """On the straight line between two numbers of steps, in what they cost; at the ends the nearest."""
    reuse = Reuse(FakeYardstick(), whole=True)
    assert reuse.at(speedup).psnr == pytest.approx(psnr)
    assert reuse.at(10 / 7, by="clock").psnr == pytest.approx(25.0)


@pytest.mark.parametrize("whole", (False, True))
def test_full_steps_are_spread_evenly(whole):
    plan = Spread(3, whole).plan(tiny_dit(), 7)
    assert [i for i, row in enumerate(plan.table) if all(action.kind == "compute" for action in row)] == [0, 3, 6]
    assert [bool(spans) for spans in plan.spans] == [whole and i not in (0, 3, 6) for i in range(7)]
    assert Spread(1, whole).plan(tiny_dit(), 7).steps[0] == "F"


def test_shuffling_moves_scores_and_changes_none(tmp_path):
    router = router_for(tiny_dit(), "learning-to-cache")
    other = shuffled(router, seed=1)
    assert other != router and other == shuffled(router, seed=1)
    flat = [sorted(score for row in r.scores if row for score in row) for r in (router, other)]
    assert flat[0] == flat[1]


def test_the_drawing(tmp_path):
    draw_routers([router_for(tiny_pixart(), recipe) for recipe in RECIPES], 0.1, tmp_path / "routers.png")
    assert (tmp_path / "routers.png").read_bytes().startswith(b"\x89PNG")
