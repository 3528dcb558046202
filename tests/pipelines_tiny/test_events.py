"""What happens to a pipeline between and during its calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import toca
from toca.engine.install import engine_of

from ..conformance.test_cost import held_bytes
from . import STYLES
from .style import noise, transformers_of

FORA = toca.FORA(interval=2)


@pytest.mark.parametrize("name", ["flux-true-guidance", "wan", "wan-two-transformers", "sd3"])
def test_interrupted(name: str) -> None:
    """The pipeline goes through the rest of its steps without a call; the next generation is a whole one."""
    style = STYLES[name]
    pipe, _ = style.cacheable()

    def interrupt(pipe: Any, step: int, timestep: Any, kept: dict[str, Any]) -> dict[str, Any]:
        pipe._interrupt = step >= 1
        return kept

    with toca.cached(pipe, FORA):
        wanted = style.generate(pipe)
        whole = toca.summary(pipe)
        style.generate(pipe, callback_on_step_end=interrupt)
        assert toca.summary(pipe).steps == whole.steps[:2]
        assert all(held_bytes(transformer) == 0 for transformer in transformers_of(pipe))
        assert torch.equal(style.generate(pipe), wanted)
        assert toca.summary(pipe) == whole


@pytest.mark.parametrize("name", ["flux-true-guidance", "wan", "sd3"])
def test_a_callback_changes_latents_or_breaks_off(name: str) -> None:
    style = STYLES[name]
    pipe, _ = style.cacheable()

    def halve(pipe: Any, step: int, timestep: Any, kept: dict[str, Any]) -> dict[str, Any]:
        return {"latents": 0.5 * kept["latents"]}

    def fail(pipe: Any, step: int, timestep: Any, kept: dict[str, Any]) -> dict[str, Any]:
        if step == 2:
            raise InterruptedError
        return kept

    halved = style.generate(pipe, callback_on_step_end=halve)
    with toca.cached(pipe, toca.FORA(interval=1)):
        assert torch.equal(style.generate(pipe, callback_on_step_end=halve), halved)
    with toca.cached(pipe, FORA):
        wanted, whole = style.generate(pipe), toca.summary(pipe)
        with pytest.raises(InterruptedError):
            style.generate(pipe, callback_on_step_end=fail)
        assert torch.equal(style.generate(pipe), wanted) and toca.summary(pipe) == whole


def test_a_call_that_failed_after_its_loop_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder runs out of memory: what the pipeline is called for next has a summary of its own."""
    style = STYLES["sd3"]
    pipe, _ = style.cacheable()

    def fail(pipe: Any) -> None:
        raise MemoryError

    with toca.cached(pipe, FORA):
        style.generate(pipe)
        whole = toca.summary(pipe)
        for _ in range(3):
            with monkeypatch.context() as patched, pytest.raises(MemoryError):
                patched.setattr(type(pipe), "maybe_free_model_hooks", fail)
                style.generate(pipe)
            style.generate(pipe)
            assert toca.summary(pipe) == whole


@pytest.mark.parametrize("name", ["sd3"])
def test_guidance_is_cut_off_in_mid_run(name: str) -> None:
    """A callback that ends guidance halves the batch: what is kept of two halves is nothing to go on from."""
    style = STYLES[name]
    pipe, _ = style.cacheable()

    def cut(pipe: Any, step: int, timestep: Any, kept: dict[str, Any]) -> dict[str, Any]:
        if step == 2:
            pipe._guidance_scale = 1.0
            kept = {key: value.chunk(2)[1] for key, value in kept.items()}
        return kept

    kept = ["prompt_embeds", "pooled_prompt_embeds"]
    told = {"callback_on_step_end": cut, "callback_on_step_end_tensor_inputs": kept}
    stock = style.generate(pipe, **told)
    with toca.cached(pipe, toca.FORA(interval=1)):
        assert torch.equal(style.generate(pipe, **told), stock)
    with toca.cached(pipe, toca.FORA(interval=4)):
        style.generate(pipe, **told)
        assert toca.summary(pipe).steps == "FrrFF"


METHODS = ["toca", "fora", "taylorseer", "fbcache", "teacache", "easycache", "speca", "tgate"]
FEW = [
    (name, steps, method)
    for name in ("pixart-euler", "flux-true-guidance", "wan-two-transformers", "sd3")
    for steps in (1, 2, 3, 4)
    for method in METHODS
]
CHOSEN = FEW[::7]


@pytest.mark.parametrize(
    ("name", "steps", "method"),
    [pytest.param(*cell, marks=() if cell in CHOSEN else pytest.mark.matrix) for cell in FEW],
)
def test_few_steps(name: str, steps: int, method: str) -> None:
    """Distilled models have few steps, in which a method may find nothing to reuse: then it says so."""
    style = STYLES[name]
    pipe, _ = style.cacheable()
    stock = style.generate(pipe, num_inference_steps=steps)
    with toca.cached(pipe, toca.methods()[method]()):
        got, summary = style.generate(pipe, num_inference_steps=steps), toca.summary(pipe)
    assert len(summary.steps) == steps and summary.bypassed == style.past and got.isfinite().all()
    if set(summary.steps) == {"F"}:
        assert torch.equal(got, stock) and "Nothing was skipped." in str(summary)
    assert steps > 1 or summary.steps == "F"


TGATE = toca.methods()["tgate"](gate_step=2, warm_up=1, fi_interval=1)
PAIRS = ["dit", "pixart", "pixart-images", "sd3", "omnigen", "sana", "zimage", "cogvideox", "ltx"]
NAMED = ["flux-true-guidance", "wan", "wan-longer-negative", "qwen-longer-negative", "hunyuanimage", "hunyuanvideo15"]
LEFT_ALONE = ["dit-unguided", "pixart-pag", "sd3-pag", "omnigen-picture", "flux", "wan-unguided", "lumina2", "chroma"]


@pytest.mark.parametrize("name", [*PAIRS, *NAMED, *LEFT_ALONE])
def test_guidance_is_dropped_where_its_branches_can_be_told(name: str) -> None:
    """T-GATE leaves out the unconditional half of a pair, or the call that has its name; three parts stay."""
    style = STYLES[name]
    pipe, _ = style.cacheable()
    with toca.cached(pipe, TGATE):
        style.generate(pipe)
        summary = toca.summary(pipe)
        calls = [call for each in transformers_of(pipe) for call in engine_of(each).record.calls]
    late = [call for call in calls if call.step >= 2]
    halved = [call.full_batch == 2 * call.shape.batch for call in late]
    unconditional = {call.letter for call in late if call.branch == "uncond"}
    assert all(halved) if name in PAIRS else not any(halved)
    assert unconditional == ({"a"} if name in NAMED else set())
    assert summary.bypassed == 0


SIZES = {
    "dit": {"class_labels": [3, 4, 5]},
    "pixart": {"height": 64},
    "flux-true-guidance": {"width": 64},
    "wan": {"latents": noise(1, 4, 2, 8, 8), "num_frames": 5, "width": 64},
    "zimage": {"width": 96},
    "sd3": {"height": 128},
}


@pytest.mark.parametrize("name", SIZES)
def test_each_call_is_as_it_would_be_alone(name: str) -> None:
    """Other sizes, batches, numbers of steps and dtypes follow each other on one cache."""
    style = STYLES[name]
    pipe, _ = style.cacheable()
    calls: list[dict[str, Any]] = [{}, SIZES[name], {"num_inference_steps": 3}, {}]
    for dtype in (torch.float32, torch.bfloat16, torch.float32):
        pipe.to(dtype)
        alone = []
        for more in calls:
            with toca.cached(pipe, FORA):
                alone.append((style.generate(pipe, **more), toca.summary(pipe)))
        with toca.cached(pipe, FORA):
            for more, (wanted, its) in zip(calls, alone, strict=True):
                assert torch.equal(style.generate(pipe, **more), wanted)
                assert toca.summary(pipe) == its and its.bypassed == 0


GATES = ["fbcache", "dicache", "teacache", "easycache", "speca"]
STYLED = [(name, method) for name in ("sd3-skip-layer-guidance", "pixart-pag", "omnigen-picture") for method in GATES]


@pytest.mark.parametrize(
    ("name", "method"),
    [pytest.param(*cell, marks=() if i % 4 == 0 else pytest.mark.matrix) for i, cell in enumerate(STYLED)],
)
def test_gates_in_other_styles(name: str, method: str) -> None:
    """A call that leaves out layers runs in full, and a gate that looks at blocks is none the worse for it."""
    style = STYLES[name]
    pipe, stock = style.cacheable()
    cls = toca.methods()[method]
    nothing = {"max_drafts": 0} if method == "speca" else {"threshold": 0.0}
    with toca.cached(pipe, cls(**nothing)):
        assert torch.equal(style.generate(pipe), stock)
        assert toca.summary(pipe).steps == "FFFFF" and toca.summary(pipe).bypassed == style.past
    everything = {"warmup_steps": 2} if method in ("speca", "easycache") else {}
    with toca.cached(pipe, cls(threshold=1e9, **everything)):
        assert style.generate(pipe).isfinite().all()
        assert set(toca.summary(pipe).steps) != {"F"} and toca.summary(pipe).bypassed == style.past
