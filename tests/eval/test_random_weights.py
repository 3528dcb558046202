"""Published architectures with random weights: their sizes, their calls, any scale of them, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import typer
from typer.testing import CliRunner

import toca
from toca import registry
from toca.eval.architectures import Setting, architecture, memory, names
from toca.eval.architectures.making import make_random
from toca.eval.architectures.memory import GIB, SHARE, largest_scale, weight_bytes
from toca.eval.benchmarks import random_weights
from toca.eval.benchmarks.random_weights import build, build_denoiser
from toca.eval.counting.flops import FlopMeter
from toca.models import FAMILIES, family_of

META = torch.device("meta")
TINY = 0.01  # one layer of one head
BILLIONS = {
    "cogvideox-5b": 5.57,
    "dit-xl": 0.75,  # of diffusers, which has an embedding of timestep and class in each block
    "flux-dev": 11.9,
    "hunyuanvideo": 12.8,
    "ltx-video": 1.92,
    "pixart-256": 0.61,
    "pixart-512": 0.61,
    "pixart-1024": 0.61,
    "sd3.5-large": 8.1,
    "wan2.1-1.3b": 1.42,
    "wan2.1-14b": 14.3,
}
"""Parameters, as the authors say of their transformers."""


def small(name: str, steps: int = 2) -> Setting:
    """32 x 32 pixels, 9 frames of a video, 8 text tokens."""
    defaults = architecture(name).defaults
    frames = 1 if defaults.frames == 1 else 9
    return replace(defaults, height=32, width=32, frames=frames, steps=steps, text_tokens=8)


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_architecture_is_here():
    assert names() == sorted(BILLIONS)


LATENTS = {
    "cogvideox-5b": (2, 13, 16, 60, 90),
    "dit-xl": (2, 4, 32, 32),
    "flux-dev": (1, 4096, 64),
    "hunyuanvideo": (1, 16, 33, 90, 160),
    "ltx-video": (2, 7392, 128),
    "pixart-256": (2, 4, 32, 32),
    "pixart-512": (2, 4, 64, 64),
    "pixart-1024": (2, 4, 128, 128),
    "sd3.5-large": (2, 16, 128, 128),
    "wan2.1-1.3b": (1, 16, 21, 60, 104),
    "wan2.1-14b": (1, 16, 21, 90, 160),
}
"""Of one call of a generation as it is published."""


@pytest.mark.parametrize("name", sorted(BILLIONS))
def test_the_transformer_has_its_published_size(name):
    transformer, calls = build_denoiser(name, device=META, dtype=torch.bfloat16)
    assert parameters(transformer) == pytest.approx(BILLIONS[name] * 1e9, rel=0.03)
    assert parameters(transformer) == architecture(name).transformer.parameters
    assert calls[0]["hidden_states"].shape == LATENTS[name]


def test_flux_costs_its_published_flops():
    """3719.5 TFLOPs in 50 steps, as the papers on caching say, which count a multiply-add as two."""
    transformer, calls = build_denoiser("flux-dev", device=META, dtype=torch.bfloat16)
    with torch.no_grad(), FlopMeter() as meter:
        transformer(**calls[0])
    assert len(calls) == 50
    assert 50 * meter.total == pytest.approx(3719.5e12, rel=0.01)


def test_every_other_part_has_its_published_size():
    parts = [part for name in names() for part in architecture(name).components.values()]
    for part in {part.class_name + part.source: part for part in parts}.values():
        assert parameters(make_random(part, 1, META, torch.float32)) == pytest.approx(part.parameters, rel=0.01), part


@pytest.mark.parametrize("name", sorted(set(BILLIONS) - {"pixart-512", "pixart-1024"}))
def test_a_tiny_model_generates(name):
    model = build(name, TINY, setting=small(name))
    pixels = model()
    frames = () if small(name).frames == 1 else (9,)
    assert pixels.shape == (1, 3, *frames, 32, 32)
    assert pixels.isfinite().all()
    assert torch.equal(pixels, model())


@pytest.mark.parametrize("name", sorted(BILLIONS))
def test_a_tiny_transformer_takes_batches(name):
    transformer, calls = build_denoiser(name, TINY, batch_size=2, setting=small(name))
    with torch.no_grad():
        outputs = [transformer(**call).sample for call in calls]
    assert all(output.isfinite().all() for output in outputs)
    assert not torch.equal(outputs[0], outputs[-1])
    assert outputs[0].shape[0] == (4 if architecture(name).guidance == "batched" else 2)


@pytest.mark.parametrize("name", sorted(BILLIONS))
@pytest.mark.parametrize("scale", [0.03, 0.3, 0.77])
def test_a_scale_shrinks_layers_and_width_and_keeps_the_heads(name, scale):
    full = architecture(name).transformer.config
    config = architecture(name).transformer.config_at(scale)
    for key in ("num_layers", "num_attention_heads"):
        assert config[key] == max(1, round(scale * full[key]))
    assert config["attention_head_dim"] == full["attention_head_dim"]
    width = config["num_attention_heads"] * config["attention_head_dim"]
    for key in ("cross_attention_dim", "caption_projection_dim"):
        assert config.get(key, width) == width
    transformer, _ = build_denoiser(name, scale, META, setting=small(name))
    assert parameters(transformer) < scale * architecture(name).transformer.parameters


@pytest.mark.parametrize("name", sorted(BILLIONS))
def test_everything_is_made_in_the_precision_asked_for(name):
    for part in architecture(name).components.values():
        model = make_random(part, 0.05, META, torch.bfloat16)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_building_leaves_the_generator_and_the_default_dtype_alone():
    before = torch.get_rng_state()
    build_denoiser("pixart-256", TINY, dtype=torch.bfloat16, setting=small("pixart-256"))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32


def test_sequential_guidance_is_two_calls_a_step_with_other_texts():
    _, calls = build_denoiser("wan2.1-14b", TINY, setting=small("wan2.1-14b", steps=3))
    made = list(calls)
    assert (len(calls), calls.steps) == (6, 3)
    for first, second in zip(made[::2], made[1::2], strict=True):
        assert torch.equal(first["hidden_states"], second["hidden_states"])
        assert torch.equal(first["timestep"], second["timestep"])
        assert not torch.equal(first["encoder_hidden_states"], second["encoder_hidden_states"])
    assert made[0]["timestep"] > made[2]["timestep"] > made[4]["timestep"]
    with pytest.raises(IndexError):
        calls[6]


# --- methods -------------------------------------------------------------------------------------------------------


CACHEABLE = [name for name in sorted(BILLIONS) if architecture(name).cacheable]


def test_models_of_known_families_are_cacheable():
    assert {"flux-dev", "pixart-1024", "wan2.1-14b", "cogvideox-5b"} <= set(CACHEABLE)


@pytest.mark.parametrize("name", CACHEABLE)
def test_a_known_family_is_cached(name):
    model = build(name, TINY, setting=small(name, steps=4))
    with model.cached(toca.FORA(interval=2)):
        model()
        summary = toca.summary(model.transformer)
    assert len(summary.steps) == 4
    assert set(summary.steps) == {"F", "r"}
    assert summary.cache_bytes > 0


@pytest.mark.parametrize("name", CACHEABLE)
def test_at_the_published_size_a_call_costs_what_the_layout_says(name):
    transformer, calls = build_denoiser(name, device=META, dtype=torch.bfloat16, setting=smaller(name))
    spec = family_of(transformer)
    layout = toca.FORA().plan(transformer, 2).layout
    shape = spec.call_shape(transformer, calls[0])
    predicted = sum(site.flops(shape, site.geometry(shape)[1]) for site in layout.sites)
    with torch.no_grad(), FlopMeter() as meter:
        transformer(**calls[0])
    assert meter.total == predicted + layout.overhead_flops(shape)


def smaller(name: str) -> Setting:
    """The published setting, with fewer frames: a mask over all tokens of a long video has no place anywhere."""
    defaults = architecture(name).defaults
    return defaults if defaults.frames == 1 else replace(defaults, frames=9, height=256, width=256)


@pytest.mark.parametrize(
    ("name", "wanted"), [("wan2.1-14b", "toca"), ("flux-dev", "toca/flux"), ("pixart-512", "toca/pixart")]
)
def test_the_method_that_suits_a_model_has_a_name(name, wanted):
    assert random_weights.method_of("toca", architecture(name)) == registry.named(wanted)
    assert random_weights.method_of("fora/dit", architecture(name)) == toca.preset("fora/dit")
    with pytest.raises(ValueError, match="no method or preset 'tocca': did you mean toca"):
        random_weights.method_of("tocca", architecture(name))


@pytest.fixture
def unknown(monkeypatch):
    """Wan as a family that nobody has said anything of."""
    monkeypatch.delitem(FAMILIES, "wan")


def test_a_method_on_an_unknown_family_is_refused(unknown):
    name = "wan2.1-14b"
    assert not architecture(name).cacheable
    with pytest.raises(ValueError, match=rf"^{name} can only be timed uncached, .* leave the method out\.$"):
        random_weights.check_cacheable(architecture(name))


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "scale", "changes", "sentence"),
    [
        ("flux", 1, {}, "There is no architecture 'flux'; there are cogvideox-5b, dit-xl, "),
        ("flux-dev", 0, {}, "`scale` must be above 0 and at most 1, got 0."),
        ("flux-dev", 1.5, {}, "`scale` must be above 0 and at most 1, got 1.5."),
        ("flux-dev", 1, {"height": 100}, "`height` must be a multiple of 16 for flux-dev, got 100."),
        ("flux-dev", 1, {"frames": 5}, "`frames` must be 1 for flux-dev, which makes pictures, got 5."),
        ("wan2.1-14b", 1, {"frames": 8}, "`frames` must be 1 more than a multiple of 4 for wan2.1-14b, got 8."),
        ("flux-dev", 1, {"steps": 0}, "`steps` must be at least 1, got 0."),
    ],
)
def test_what_cannot_be_is_refused(name, scale, changes, sentence):
    defaults = architecture("flux-dev" if name == "flux" else name).defaults
    with pytest.raises(ValueError) as error:
        build_denoiser(name, scale, META, setting=replace(defaults, **changes))
    assert str(error.value).startswith(sentence)


def test_a_model_that_does_not_fit_names_the_largest_scale_that_does(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: GIB)
    with pytest.raises(ValueError) as error:
        build_denoiser("pixart-256")
    text = str(error.value)
    assert text.startswith("pixart-256 at scale 1 needs 2.3 GiB for its weights in float32, but cpu has 1.0 GiB free")
    scale = float(text.rpartition(" is ")[2].rstrip("."))
    part = [architecture("pixart-256").transformer]
    assert weight_bytes(part, scale, torch.float32) <= SHARE * GIB
    assert weight_bytes(part, scale + 0.01, torch.float32) > SHARE * GIB


def test_half_the_precision_is_half_the_bytes():
    part = [architecture("sd3.5-large").components["text_encoder"]]
    single, half = (weight_bytes(part, 1, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert single == pytest.approx(2 * half, rel=1e-3)


def test_the_largest_scale_is_exact_to_a_hundredth():
    assert largest_scale(lambda scale: round(1000 * scale), 335) == 0.33
    assert largest_scale(lambda scale: round(1000 * scale), 1000) == 1
    assert largest_scale(lambda scale: round(1000 * scale), 9) == 0


# --- command line --------------------------------------------------------------------------------------------------


def run(*arguments: str):
    app = typer.Typer()
    app.command()(random_weights.main)
    return CliRunner().invoke(app, [*arguments, "--device", "cpu"])


def test_the_command_writes_what_it_measured(tmp_path):
    output = tmp_path / "times.json"
    size = ["--scale", "0.01", "--height", "32", "--width", "32", "--steps", "3"]
    rounds = ["--repeats", "1", "--warmups", "1", "--output", str(output)]
    result = run("pixart-256", *size, *rounds, "--method", "fora/dit", "--in-ram")
    assert result.exit_code == 0, result.output
    assert "Too few rounds" in result.output
    record = json.loads(output.read_text())
    assert set(record["jobs"]) == {"uncached", "fora/dit", "fora/dit, in RAM"}
    assert record["jobs"]["fora/dit, in RAM"]["cache_bytes"] == record["jobs"]["fora/dit"]["cache_bytes"]
    assert record["setting"]["steps"] == 3
    gained = record["jobs"]["fora/dit"]["gain"]["denoiser"]
    assert gained["flops"] > 1
    assert gained["wall_over_flops"] == gained["wall"][0] / gained["flops"]
    assert not gained["skipped_nothing"]
    assert record["jobs"]["fora/dit"]["cache_bytes"] > 0


def test_a_method_that_skips_nothing_fails():
    size = ["--scale", "0.01", "--height", "32", "--width", "32", "--steps", "1"]
    result = run("pixart-256", *size, "--repeats", "1", "--warmups", "1", "--method", "fora/dit")
    assert result.exit_code == 1
    assert "fora/dit skipped nothing in 1 steps" in result.output


def test_the_command_refuses_a_method_before_it_builds_anything(monkeypatch, unknown):
    monkeypatch.setattr(random_weights, "build", pytest.fail)
    result = run("wan2.1-14b", "--method", "fora/dit")
    assert result.exit_code == 2
    assert "can only be timed" in result.output
