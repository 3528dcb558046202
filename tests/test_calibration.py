"""Calibrations: what is measured, the file it is kept in, and whom the file is refused to."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from torch import Tensor, nn

import toca
from toca.calibration.charts import Chart, draw_charts
from toca.calibration.file import Calibration
from toca.engine.calibration_run import Recorder
from toca.methods.composed import CacheMethod
from toca.methods.magcache import MagCache
from toca.methods.smoothcache import SmoothCache
from toca.methods.teacache import TeaCache
from toca.models import describe, family_of
from toca.models.fingerprint import Fingerprint, fingerprint
from toca.plan.schedulers import SchedulerMark

from .conformance.common import PipelineLike, at
from .helpers import (
    FRAMES,
    TINY,
    TINY_PIPELINES,
    inputs_for,
    pipeline_arguments,
    run_steps,
    tiny_dit,
    tiny_pixart,
)

STEPS = 7
METHODS: dict[str, Any] = {"smoothcache": SmoothCache, "magcache": MagCache, "teacache": TeaCache}
every_family = pytest.mark.parametrize("family", TINY)
every_method = pytest.mark.parametrize("name", METHODS)


def calibration_of(transformer: nn.Module, method: Any, runs: list[list[dict]]) -> Calibration:
    with Recorder(transformer, method, len(runs[0])) as recorder:
        for inputs in runs:
            run_steps(transformer, inputs)
    return recorder.calibration()


@pytest.fixture
def saved(tmp_path):
    """A method with a calibration of a tiny model, and what changes in its file."""

    def make(name: str, target: Any = None, steps: int = STEPS, **changes: Any) -> Any:
        target = tiny_pixart() if target is None else target
        bare = isinstance(target, nn.Module)
        with Recorder(target, METHODS[name](), steps if bare else None) as recorder:
            if bare:
                run_steps(target, inputs_for(family_of(target).name, steps))
            else:
                target(**pipeline_arguments(family_of(target.transformer).name, steps))
        path = tmp_path / f"{name}.json"
        recorder.calibration().save(path)
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return METHODS[name](calibration=str(path))

    return make


# --- what is measured ----------------------------------------------------------------------------------------------

SITES = {
    "dit": {"main.self_attn": "transformer_blocks.{}.attn1", "main.ff": "transformer_blocks.{}.ff"},
    "pixart": {
        "main.self_attn": "transformer_blocks.{}.attn1",
        "main.cross_attn": "transformer_blocks.{}.attn2",
        "main.ff": "transformer_blocks.{}.ff",
    },
    "flux": {
        "dual.self_attn": "transformer_blocks.{}.attn",
        "dual.ff": "transformer_blocks.{}.ff",
        "dual.ff_context": "transformer_blocks.{}.ff_context",
        "single.self_attn": "single_transformer_blocks.{}.attn",
        "single.block": "single_transformer_blocks.{}.proj_out",
    },
    "latte": {
        "spatial.self_attn": "transformer_blocks.{}.attn1",
        "spatial.cross_attn": "transformer_blocks.{}.attn2",
        "spatial.ff": "transformer_blocks.{}.ff",
        "temporal.self_attn": "temporal_transformer_blocks.{}.attn1",
        "temporal.ff": "temporal_transformer_blocks.{}.ff",
    },
}
FIRST = {"flux": "transformer_blocks.0.attn"}
LAST = {"dit": "transformer_blocks.2", "pixart": "transformer_blocks.2", "latte": "temporal_transformer_blocks.1"}


def every_output(transformer: nn.Module, paths: list[str], runs: list[list[dict]]) -> dict[str, list[list[tuple]]]:
    """What modules return, in each step of each run, all of it kept: path -> run -> step -> tensors."""
    kept: dict[str, list[list[tuple]]] = {path: [] for path in paths}

    def keep(path: str):
        return lambda module, args, output: kept[path][-1].append(output if isinstance(output, tuple) else (output,))

    hooks = [transformer.get_submodule(path).register_forward_hook(keep(path)) for path in paths]
    for inputs in runs:
        for path in paths:
            kept[path].append([])
        run_steps(transformer, inputs)
    for hook in hooks:
        hook.remove()
    return kept


def by_sample(outputs: tuple[Tensor, ...], samples: int) -> np.ndarray:
    """(samples, everything of a sample)."""
    return np.concatenate([output.numpy().reshape(samples, -1) for output in outputs], axis=1)


@every_family
def test_the_errors_are_those_of_the_formula(family: str) -> None:
    """E(s, k) = sum |x_s - x_(s-k)| / sum |x_s|, by sample, then the mean over samples and blocks."""
    transformer, cfg = TINY[family](), family != "flux"
    runs = [inputs_for(family, STEPS, batch_size=2, seed=seed, cfg=cfg) for seed in (0, 50)]
    samples = 4 if cfg else 2
    got = calibration_of(transformer, SmoothCache(max_lag=2), runs).curves
    assert set(got) == set(SITES[family])
    for curve, pattern in SITES[family].items():
        depth = len(transformer.get_submodule(pattern.split(".")[0]))
        paths = [pattern.format(i) for i in range(depth)]
        kept = every_output(transformer, paths, runs)
        for step in range(STEPS):
            for lag in (1, 2):
                errors = []
                for path in paths:
                    for run in kept[path]:
                        if step >= lag:
                            now, then = by_sample(run[step], samples), by_sample(run[step - lag], samples)
                            errors.append(np.abs(now - then).sum(1) / np.abs(now).sum(1))
                wanted = np.mean(errors) if errors else 0.0
                assert got[curve][step][lag - 1] == pytest.approx(wanted, rel=1e-4), (curve, step, lag)
                assert (wanted > 0.01) == (step >= lag)


def test_what_is_kept_of_a_parallel_block_is_its_fused_output_before_the_gate() -> None:
    transformer, inputs = TINY["flux"](), inputs_for("flux", 2)
    seen: dict[str, list] = {"enter": [], "leave": [], "gate": []}
    block = transformer.single_transformer_blocks[0]
    hooks = [
        block.register_forward_pre_hook(lambda m, a, k: seen["enter"].append(k["hidden_states"]), with_kwargs=True),
        block.register_forward_hook(lambda m, a, out: seen["leave"].append(out[1])),
        block.norm.register_forward_hook(lambda m, a, out: seen["gate"].append(out[1])),
    ]
    kept = every_output(transformer, ["single_transformer_blocks.0.proj_out"], [inputs])
    for hook in hooks:
        hook.remove()
    [(fused, _)] = kept["single_transformer_blocks.0.proj_out"]
    image = fused[0][:, -64:]
    torch.testing.assert_close(seen["enter"][0] + seen["gate"][0][:, None] * image, seen["leave"][0])


def test_the_ratio_is_that_of_the_formula() -> None:
    """gamma_s = mean over tokens of |r_s| / |r_(s-1)|, r what the blocks have added to what the embedder made."""
    transformer = TINY["dit"]()
    runs = [inputs_for("dit", STEPS, batch_size=3, seed=seed) for seed in (0, 50)]
    kept = every_output(transformer, ["pos_embed", "transformer_blocks.2"], runs)
    wanted = [1.0]
    for step in range(1, STEPS):
        sizes = []
        for entering, leaving in zip(kept["pos_embed"], kept["transformer_blocks.2"], strict=True):
            now, before = (np.linalg.norm((leaving[s][0] - entering[s][0]).numpy(), axis=2) for s in (step, step - 1))
            sizes.append((now / before).mean())
        wanted.append(np.mean(sizes))
    got = calibration_of(transformer, MagCache(), runs)
    assert got.curves["ratio"] == pytest.approx(wanted, rel=1e-4)


def test_the_ratio_of_a_video_compares_each_token_with_itself() -> None:
    """Latte's first block has rows of frames, its last one rows of positions."""
    transformer, inputs = TINY["latte"](), inputs_for("latte", 3, batch_size=2)
    kept = every_output(transformer, ["pos_embed", LAST["latte"]], [inputs])
    sizes = []
    for (entered,), (left,) in zip(kept["pos_embed"][0], kept[LAST["latte"]][0], strict=True):
        frames_first = entered.reshape(2, FRAMES, 64, -1)
        positions_first = left.reshape(2, 64, FRAMES, -1)
        sizes.append((positions_first - frames_first.permute(0, 2, 1, 3)).norm(dim=-1))
    wanted = [1.0, *((now / before).mean().item() for before, now in zip(sizes, sizes[1:], strict=False))]
    assert calibration_of(transformer, MagCache(), [inputs]).curves["ratio"] == pytest.approx(wanted, rel=1e-4)


@every_family
def test_the_changes_and_their_fit_are_those_of_the_formula(family: str) -> None:
    transformer, runs = TINY[family](), [inputs_for(family, STEPS, batch_size=2, seed=seed) for seed in (0, 50)]
    attention = FIRST.get(family, "transformer_blocks.0.attn1")
    inputs_seen: list[Tensor] = []
    hook = transformer.get_submodule(attention).register_forward_pre_hook(
        lambda m, args, kwargs: inputs_seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    last = LAST.get(family, "single_transformer_blocks.2")
    kept = every_output(transformer, [last], runs)[last]
    hook.remove()
    x, y = [], []
    for run in range(2):
        for s in range(1, STEPS):
            now, then = (inputs_seen[run * STEPS + t].numpy().reshape(2, -1) for t in (s, s - 1))
            x.append(np.abs(now - then).mean(1) / np.abs(then).mean(1))
            # FLUX's single block returns the text and then the image.
            now, then = (kept[run][t][-1].numpy().reshape(2, -1) for t in (s, s - 1))
            y.append(np.abs(now - then).mean(1) / np.abs(then).mean(1))
    x, y = np.array(x).reshape(2, STEPS - 1, 2), np.array(y).reshape(2, STEPS - 1, 2)
    got = calibration_of(transformer, TeaCache(), runs).curves
    assert got["input"] == pytest.approx([0, *x.mean(axis=(0, 2))], rel=1e-4)
    assert got["output"] == pytest.approx([0, *y.mean(axis=(0, 2))], rel=1e-4)
    # The least squares of powers of x, by another way than polyfit's.
    powers = x.ravel()[:, None].astype(float) ** np.arange(4, -1, -1)
    wanted = powers @ np.linalg.lstsq(powers, y.ravel().astype(float), rcond=None)[0]
    fitted = np.polyval(got["coefficients"], x.ravel())
    np.testing.assert_allclose(fitted, wanted, atol=1e-3 * y.max())
    explained = 1 - np.square(y.ravel() - wanted).sum() / np.square(y - y.mean()).sum()
    assert got["explained"] == pytest.approx([explained], abs=1e-3)


@every_method
def test_guidance_branches_called_one_by_one_are_never_compared_with_each_other(name: str) -> None:
    """A pipeline that calls twice a step: each branch against itself, and the mean over both."""
    transformer, steps = tiny_dit(), 6
    scheduler = DDIMScheduler()
    pipe = type("Pipe", (PipelineLike,), {"transformer": transformer})(scheduler, transformer)
    branches = [inputs_for("dit", steps, seed=seed) for seed in (0, 50)]
    with Recorder(pipe, METHODS[name]()) as recorder, torch.no_grad():
        for step, timestep in pipe.steps(steps):
            for branch in branches:
                transformer(**at(branch[step], timestep))
    timesteps = scheduler.timesteps
    runs = [[at(call, timesteps[step]) for step, call in enumerate(branch)] for branch in branches]
    got, wanted = recorder.calibration().curves, calibration_of(transformer, METHODS[name](), runs).curves
    for curve in wanted:
        np.testing.assert_allclose(got[curve], wanted[curve], rtol=1e-4, err_msg=curve)


@every_family
@every_method
def test_the_recorder_leaves_no_trace(family: str, name: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    stock = run_steps(transformer, inputs)
    with Recorder(transformer, METHODS[name](), STEPS):
        watched = run_steps(transformer, inputs)
    assert all(torch.equal(a, b) for a, b in zip(stock, watched, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(stock, run_steps(transformer, inputs), strict=True))
    assert not hooked(transformer)


def hooked(transformer: nn.Module) -> list[nn.Module]:
    return [module for module in transformer.modules() if module._forward_hooks or module._forward_pre_hooks]


@every_method
def test_hooks_come_off_however_the_block_ends(name: str) -> None:
    transformer = tiny_dit()
    with pytest.raises(KeyboardInterrupt), Recorder(transformer, METHODS[name](), STEPS):
        run_steps(transformer, inputs_for("dit", STEPS)[:3])
        raise KeyboardInterrupt
    assert not hooked(transformer)


def test_hooks_come_off_where_they_cannot_all_be_put_on() -> None:
    transformer = tiny_dit()
    recorder = Recorder(transformer, SmoothCache(), STEPS)
    transformer.transformer_blocks[2].ff.register_forward_hook = None
    with pytest.raises(TypeError):
        recorder.__enter__()
    del transformer.transformer_blocks[2].ff.register_forward_hook
    assert not hooked(transformer)


@pytest.mark.parametrize("max_lag", (1, 3))
def test_features_are_let_go_when_no_lag_needs_them(max_lag: int) -> None:
    """Of each module at most max_lag outputs are held between two calls, and none after the block."""
    transformer = tiny_pixart()
    held = []
    with Recorder(transformer, SmoothCache(max_lag=max_lag), STEPS) as recorder, torch.no_grad():
        for call in inputs_for("pixart", STEPS):
            transformer(**call)
            held.append({len(steps) for steps in recorder.gauge.before.values()})
    assert held == [{min(step + 1, max_lag)} for step in range(STEPS)]
    assert not recorder.gauge.before


def test_only_an_uncached_model_of_a_known_family_and_length_is_calibrated() -> None:
    transformer = tiny_dit()
    with (
        toca.cached(transformer, toca.FORA(), num_inference_steps=4),
        pytest.raises(ValueError, match="A cache is on"),
    ):
        Recorder(transformer, MagCache(), 4)
    with pytest.raises(ValueError, match="pass `num_inference_steps`"):
        Recorder(transformer, MagCache())
    with pytest.raises(ValueError, match="Linear is of no family"):
        Recorder(nn.Linear(1, 1), MagCache(), 4)
    with pytest.raises(ValueError, match="PipelineLike has no transformer"):
        Recorder(PipelineLike(DDIMScheduler()), MagCache())


def test_generations_must_come_to_their_end_and_be_alike() -> None:
    pipe = TINY_PIPELINES["dit"]()
    with pytest.raises(ValueError, match="Nothing has run yet"), Recorder(pipe, MagCache()) as recorder:
        recorder.calibration()
    with pytest.raises(ValueError, match="of 4 steps was followed by one of 5"), Recorder(pipe, MagCache()):
        pipe(**pipeline_arguments("dit", 4))
        pipe(**pipeline_arguments("dit", 5))
    transformer = tiny_dit()
    with Recorder(transformer, MagCache(), 4) as recorder:
        run_steps(transformer, inputs_for("dit", 3))
    with pytest.raises(ValueError, match="ended in step 3 of 4"):
        recorder.calibration()


def test_a_polynomial_needs_enough_steps() -> None:
    transformer = tiny_dit()
    with pytest.raises(ValueError, match="takes 6 steps or more, got 5"), Recorder(transformer, TeaCache(), 5):
        run_steps(transformer, inputs_for("dit", 1))
    assert calibration_of(transformer, TeaCache(), [inputs_for("dit", 6)]).curves["coefficients"]


# --- the file ------------------------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("family", ("pixart", "flux"))
def test_a_saved_calibration_comes_back(tmp_path, family: str, name: str) -> None:
    pipe = TINY_PIPELINES[family]()
    with Recorder(pipe, METHODS[name]()) as recorder:
        pipe(**pipeline_arguments(family, STEPS))
    made = recorder.calibration(prompts=["a red owl"], guidance_scale=4.5)
    made.save(tmp_path / "a.json")
    again = Calibration.load(tmp_path / "a.json")
    assert again == made and again.source == str(tmp_path / "a.json")
    assert again.made_with == {"prompts": ["a red owl"], "guidance_scale": 4.5}
    assert again.timesteps == pytest.approx([float(t) for t in pipe.scheduler.timesteps])
    assert again.scheduler.name == type(pipe.scheduler).__name__ and set(again.versions) == {
        "toca",
        "torch",
        "diffusers",
    }
    again.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "b.json"}


def test_the_file_is_json_in_the_strict_sense(tmp_path) -> None:
    """The scheduler of PixArt has an infinite setting, for which JSON has no word."""
    pipe = TINY_PIPELINES["pixart"]()
    assert -math.inf in pipe.scheduler.config.values()
    with Recorder(pipe, MagCache()) as recorder:
        pipe(**pipeline_arguments("pixart", STEPS))
    recorder.calibration().save(tmp_path / "a.json")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    made = calibration_of(tiny_dit(), MagCache(), [inputs_for("dit", 4)])
    made.save(tmp_path / "a.json")
    before = (tmp_path / "a.json").read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="no space left.*a.json"):
        made.save(tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@every_method
def test_a_missing_file(tmp_path, name: str) -> None:
    with pytest.raises(ValueError, match="nowhere.json' cannot be read.*No such file.*toca calibrate"):
        METHODS[name](calibration=str(tmp_path / "nowhere.json"))


@pytest.mark.parametrize("text", ("", "{", "[]", "null", '{"format": "toca-plan"}', "\x00", '{"format": 1}'))
@every_method
def test_a_file_that_is_no_calibration(tmp_path, name: str, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="c.json' is not a valid calibration: "):
        METHODS[name](calibration=str(path))


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("magcache", {"version": 2}, "version 2, this library reads version 1"),
    ("magcache", {"method": "smoothcache"}, "is for smoothcache, and not for magcache"),
    ("magcache", {"curves": {}}, "it has no curve `ratio`"),
    ("magcache", {"curves": {"ratio": [1.0] * 6}}, "`ratio` is not of 7 numbers"),
    ("magcache", {"curves": {"ratio": [1.0] * 6 + [math.nan]}}, r"curves.ratio\[6\]: nan is no finite number"),
    ("magcache", {"curves": {"ratio": [1.0] * 6 + ["high"]}}, "holds 'high', which is no finite number"),
    ("magcache", {"curves": {"ratio": [[1.0]] * 7}}, "`ratio` is not of 7 numbers"),
    ("magcache", {"curves": 3}, "`curves` must be a mapping, got 3"),
    ("magcache", {"model": {"family": "dit"}}, "missing key"),
    ("smoothcache", {"curves": {"main.ff": [[0.1]] * 6}}, "rows of one length"),
    ("smoothcache", {"curves": {"main.ff": [[0.1]] * 6 + [[0.1, 0.2]]}}, "rows of one length"),
    ("smoothcache", {"curves": {"main.ff": [0.1] * 7}}, "rows of one length"),
    ("smoothcache", {"curves": {}}, "rows of one length"),
    ("smoothcache", {"curves": {"main.ff": [[0.1, 0.2]] * 7}}, "`max_lag` must be at most the 2.*got 3"),
    ("teacache", {"curves": {"input": [0.0] * 7, "output": [0.0] * 7}}, "no curve `coefficients`"),
    ("teacache", {"num_inference_steps": 8}, "`input` is not of 8 numbers"),
]


@pytest.mark.parametrize(("name", "changes", "message"), BROKEN, ids=[f"{n}-{m[:20]}" for n, _, m in BROKEN])
def test_a_broken_file_says_what_is_wrong(saved, name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        saved(name, **changes)
    assert "max_lag" in message or ".json" in str(error.value)


def test_a_curve_is_read_as_what_it_is() -> None:
    transformer = tiny_dit()
    model = fingerprint(describe(transformer, family_of(transformer)))
    made = Calibration("magcache", model, 3, {"flat": [0.5, 1], "rows": [[0.5], [1]], "mixed": [0.5, [1]]})
    assert made.numbers("flat") == [0.5, 1] and made.rows("rows") == [[0.5], [1]]
    for name in ("rows", "mixed"):
        with pytest.raises(ValueError, match=f"curve `{name}` is not of numbers"):
            made.numbers(name)
    for name in ("flat", "mixed"):
        with pytest.raises(ValueError, match=f"curve `{name}` is not of rows of numbers"):
            made.rows(name)
    with pytest.raises(ValueError, match="has no curve `other`"):
        made.numbers("other")


def test_a_smoothcache_file_must_know_every_kind_of_module(saved) -> None:
    method = saved("smoothcache", curves={"main.ff": [[0.1] * 3] * STEPS})
    with pytest.raises(ValueError, match="has no curve `main.self_attn`"):
        method.plan(tiny_pixart(), STEPS)


def test_no_number_that_is_none_is_written(tmp_path) -> None:
    transformer = tiny_dit()
    transformer.transformer_blocks[0].ff.net[2].weight.zero_()
    transformer.transformer_blocks[0].ff.net[2].bias.zero_()
    with Recorder(transformer, SmoothCache(), 4) as recorder:
        run_steps(transformer, inputs_for("dit", 4))
    with pytest.raises(ValueError, match="`main.ff` holds nan"):
        recorder.calibration()


# --- whom it is refused to -----------------------------------------------------------------------------------------


@every_method
def test_another_model_is_refused_when_the_cache_is_put_on(saved, name: str) -> None:
    method = saved(name)
    for other in (tiny_pixart(num_layers=4), tiny_dit(), tiny_pixart(sample_size=32), tiny_pixart(in_channels=8)):
        with pytest.raises(ValueError, match=f"{name}.json' was made for .*calibrate this model"):
            toca.enable_cache(other, method)
    toca.disable_cache(toca.enable_cache(tiny_pixart(seed=9), method))  # other weights are a fine-tuned copy


def test_the_reason_says_what_differs(saved) -> None:
    method = saved("magcache")
    with pytest.raises(
        ValueError, match="a pixart model of 3 layers and 9 sites of width 32, and this is a dit model"
    ):
        method.plan(tiny_dit(), STEPS)
    with pytest.raises(ValueError, match="`tokens` was 64, and here it is 256"):
        method.plan(tiny_pixart(sample_size=32), STEPS)


@every_family
def test_a_fingerprint_is_of_the_architecture_alone(family: str) -> None:
    layouts = [
        describe(model, family_of(model))
        for model in (TINY[family](), TINY[family](seed=3), TINY[family]().to(torch.bfloat16))
    ]
    first, *others = map(fingerprint, layouts)
    assert all(first == other and not first.difference(other) for other in others)
    assert Fingerprint.from_dict(json.loads(json.dumps(first.to_dict()))) == first


@every_method
def test_another_number_of_steps_is_refused(saved, name: str) -> None:
    pipe = TINY_PIPELINES["pixart"]()
    method = saved(name, pipe, steps=STEPS)
    assert method.num_inference_steps == STEPS
    with pytest.raises(ValueError, match=f"made for {STEPS} steps, and not for 6"):
        toca.enable_cache(pipe.transformer, method, num_inference_steps=6)
    with toca.cached(pipe, method):
        pipe(**pipeline_arguments("pixart", STEPS))
        with pytest.raises(ValueError, match=f"made for {STEPS} steps, and not for 6: sample in {STEPS} steps"):
            pipe(**pipeline_arguments("pixart", 6))
        pipe(**pipeline_arguments("pixart", STEPS))


@every_method
def test_another_scheduler_is_refused_when_the_cache_is_put_on(saved, name: str) -> None:
    pipe = TINY_PIPELINES["pixart"]()
    method, config = saved(name, pipe), pipe.scheduler.config
    pipe.scheduler = EulerDiscreteScheduler()
    with pytest.raises(ValueError, match="made with DPMSolverMultistepScheduler, and this.*EulerDiscreteScheduler"):
        toca.enable_cache(pipe, method)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(config, solver_order=3)
    with pytest.raises(ValueError, match="with `solver_order` 2, and here it is 3"):
        toca.enable_cache(pipe, method)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(config)
    toca.enable_cache(pipe, method)


def test_schedulers_of_equal_timesteps_are_told_apart(saved) -> None:
    """DDIM and DDPM meet the same timesteps on other courses."""
    pipe = TINY_PIPELINES["dit"]()
    method = saved("magcache", pipe)
    with toca.cached(pipe, method):
        pipe(**pipeline_arguments("dit", STEPS))
        before = pipe.scheduler.timesteps.clone()
        pipe.scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
        with pytest.raises(ValueError, match="made with DDIMScheduler, and this pipeline samples with DDPMScheduler"):
            pipe(**pipeline_arguments("dit", STEPS))
        assert torch.equal(pipe.scheduler.timesteps, before)


@every_method
def test_other_timesteps_are_refused_in_the_first_step(saved, name: str) -> None:
    """FLUX shifts its timesteps by the size of the picture: nothing but the timesteps tells."""
    pipe = TINY_PIPELINES["flux"]()
    arguments = pipeline_arguments("flux", STEPS)
    method = saved(name, pipe)
    with toca.cached(pipe, method):
        pipe(**arguments)
        with pytest.raises(ValueError, match="made for other timesteps: step 1 was at .* and here it is at"):
            pipe(**arguments, height=64, width=64)


def test_what_only_one_version_of_a_scheduler_knows_is_passed_over() -> None:
    mark = SchedulerMark.of(DDIMScheduler())
    older = replace(mark, config={key: value for key, value in mark.config.items() if key != "steps_offset"})
    assert mark.config["steps_offset"] == 0 and not any(name.startswith("_") for name in mark.config)
    assert not mark.difference(older) and not older.difference(mark)


def test_a_bare_transformer_is_asked_for_model_and_steps_only(saved) -> None:
    transformer = tiny_pixart()
    method = saved("magcache", TINY_PIPELINES["pixart"]())
    assert method.measured.timesteps
    own = saved("smoothcache", transformer)
    assert own.measured.timesteps == () and own.measured.scheduler is None
    with toca.cached(transformer, own):
        run_steps(transformer, inputs_for("pixart", STEPS))
        assert len(toca.summary(transformer).steps) == STEPS


@every_method
def test_a_method_without_its_file_says_how_to_get_one(name: str) -> None:
    method = METHODS[name]()
    assert method.num_inference_steps is None and not method.reads_timesteps and method.lacks_file
    if name == "teacache":
        return  # it takes the change of the input as it is
    with pytest.raises(ValueError, match=f"{name} needs a calibration.*toca calibrate --method {name}"):
        toca.enable_cache(TINY_PIPELINES["pixart"](), method)


def test_a_combination_checks_its_parts(saved) -> None:
    pipe = TINY_PIPELINES["pixart"]()
    method = CacheMethod(when=saved("smoothcache", pipe), which="toca/pixart")
    assert method.num_inference_steps == STEPS and method.reads_timesteps
    with toca.cached(pipe, method):
        pipe(**pipeline_arguments("pixart", STEPS))
    with pytest.raises(ValueError, match="was made for"):
        toca.enable_cache(tiny_dit(), method)
    pipe.scheduler = DDIMScheduler()
    with pytest.raises(ValueError, match="was made with"):
        toca.enable_cache(pipe, method)


# --- TeaCache, calibrated ------------------------------------------------------------------------------------------


def naive_teacache(changes: list[float], coefficients: list[float], threshold: float) -> str:
    """acc += poly(d); reuse while acc < threshold, else compute and acc = 0; the first and the last step compute."""
    letters, acc = "F", 0.0
    for d in changes[1:-1]:
        acc += sum(c * d ** (4 - i) for i, c in enumerate(coefficients))
        letters += "a" if acc < threshold else "F"
        acc = acc if acc < threshold else 0.0
    return letters + "F"


@pytest.mark.parametrize("threshold", (0.0, 0.3, 0.6, 1.2, 100.0))
@pytest.mark.parametrize("family", ("dit", "flux"))
def test_teacache_decides_by_its_polynomial(saved, family: str, threshold: float) -> None:
    """One sample in the very generation that was calibrated: what is expected is what happens, step by step."""
    transformer = TINY[family]()
    method = replace(saved("teacache", transformer, steps=9), threshold=threshold)
    curves = method.measured.curves
    wanted = naive_teacache(curves["input"], curves["coefficients"], threshold)
    assert method.expected_plan(transformer).steps == wanted
    with toca.cached(transformer, method):
        run_steps(transformer, inputs_for(family, 9))
        assert toca.summary(transformer).steps == wanted
    assert threshold != 0.6 or ("a" in wanted and "F" in wanted[1:-1])


def test_teacache_takes_coefficients_or_a_calibration_and_not_both(saved) -> None:
    method = saved("teacache")
    with pytest.raises(ValueError, match="`calibration` comes in place of `coefficients`, got '.*teacache.json'"):
        replace(method, coefficients=(1.0, 0.0))
    assert not TeaCache(coefficients=(2.0, 0.0)).lacks_file
    assert TeaCache().polynomial == (1.0, 0.0) and TeaCache(coefficients=(2.0, 0.0)).polynomial == (2.0, 0.0)


def test_a_saved_plan_does_not_need_the_calibration(saved, tmp_path) -> None:
    transformer, inputs = tiny_pixart(), inputs_for("pixart", STEPS)
    method = replace(saved("teacache"), threshold=0.5)
    method.plan(transformer, STEPS).save(tmp_path / "plan.yaml")
    with toca.cached(transformer, method):
        wanted = run_steps(transformer, inputs)
    Path(method.calibration).unlink()
    with toca.cached(transformer, toca.Plan.load(tmp_path / "plan.yaml")):
        assert all(a.equal(b) for a, b in zip(run_steps(transformer, inputs), wanted, strict=True))


# --- the picture ---------------------------------------------------------------------------------------------------


@every_method
def test_the_charts_show_what_the_plan_does(saved, name: str, tmp_path) -> None:
    method, transformer = saved(name), tiny_pixart()
    charts = method.charts()
    plan = method.expected_plan(transformer)
    for chart in charts:
        assert isinstance(chart, Chart) and len(chart.filled) == STEPS and not chart.filled[0]
        assert all(len(values) <= STEPS for values in chart.lines.values())
        if chart.limit is not None:
            assert all(value <= chart.limit[1] for value in chart.accepted.values())
    if name != "smoothcache":
        assert [letter == "a" for letter in plan.steps] == list(charts[0].filled) == list(charts[1].filled)
    draw_charts(charts, plan.steps, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
