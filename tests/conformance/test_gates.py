"""Methods that decide while the model runs: each image of a batch decides as it would alone, as its paper says.

The references in tests/reference/gates.py see one image at a time. The thresholds below are those at which the images
of a batch decide differently; rounding would have to move a decision by 1e-6 to make a test fail by chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import toca
from toca.engine.summary import Summary
from toca.methods.adacache import AdaCache
from toca.methods.dicache import DiCache
from toca.methods.easycache import EasyCache
from toca.methods.fbcache import DBCache, FBCache
from toca.methods.rfc import RFC
from toca.methods.seacache import SeaCache
from toca.methods.speca import SpeCa
from toca.methods.teacache import TeaCache

from ..helpers import FAMILIES, TINY, Inputs, inputs_for, relative_error, run_steps, tiny_pixart_pipeline
from ..reference import gates
from .common import assert_close, assert_equal, cached_run
from .test_batch import rows_of
from .test_cost import counted_flops, held_bytes, options_for

STEPS = 10
SPEEDS = (1.0, 0.35, 1.6, 0.7)


@dataclass(frozen=True)
class Case:
    """A method, its naive restatement, and for each family a threshold at which images differ."""

    method: Any
    reference: Callable[..., gates.Run]
    thresholds: dict[str, float]

    def of(self, family: str, **changes: Any) -> Any:
        return dataclasses.replace(self.method, **{"threshold": self.thresholds[family], **changes})


POLYNOMIAL = (0.5, 1.0, 0.01)
DRAFTS = {"decay": 0.3, "floor": 0.001, "min_drafts": 0, "max_drafts": 5, "order": 1}
BOOK = ((0.4, 5), (0.6, 4), (0.8, 3), (1.0, 2), (1.2, 1))
CASES = {
    "fbcache": Case(FBCache(), gates.run_dbcache, {"dit": 1.0, "pixart": 0.58, "flux": 0.78, "latte": 0.78}),
    "dbcache": Case(
        DBCache(first_blocks=1, last_blocks=1, warmup_steps=2, max_cached_steps=2),
        partial(gates.run_dbcache, last=1, warmup=2, most=2),
        {"dit": 1.0, "pixart": 0.32, "flux": 1.0, "latte": 0.43},
    ),
    "teacache": Case(
        TeaCache(POLYNOMIAL),
        partial(gates.run_teacache, coefficients=list(POLYNOMIAL)),
        {"dit": 0.58, "pixart": 0.58, "flux": 0.32, "latte": 0.58},
    ),
    "seacache": Case(SeaCache(), gates.run_seacache, {"dit": 0.45, "pixart": 0.45, "flux": 0.8, "latte": 0.45}),
    "easycache": Case(
        EasyCache(warmup_steps=2),
        partial(gates.run_easycache, warmup=2),
        {"dit": 0.32, "pixart": 0.58, "flux": 0.78, "latte": 1.4},
    ),
    "dicache": Case(DiCache(), gates.run_dicache, {"dit": 0.18, "pixart": 0.43, "flux": 0.43, "latte": 0.43}),
    "adacache": Case(
        AdaCache(BOOK, motion_window=(0.3, 0.7)),
        partial(gates.run_adacache, codebook=list(BOOK), depth=0.5, motion=True, window=(0.3, 0.7)),
        {"dit": 1.0, "pixart": 0.6, "flux": 0.8, "latte": 0.8},
    ),
    "rfc": Case(
        RFC(order=2),
        partial(gates.run_rfc, order=2, warmup=2),
        {"dit": 0.8, "pixart": 0.65, "flux": 0.8, "latte": 0.425},
    ),
    "speca": Case(
        SpeCa(warmup_steps=2, **DRAFTS),
        partial(gates.run_speca, warmup=2, **DRAFTS),
        {"dit": 0.15, "pixart": 0.58, "flux": 0.26, "latte": 0.26},
    ),
}
every_gate = pytest.mark.parametrize("name", CASES)
every_family = pytest.mark.parametrize("family", FAMILIES)
two_families = pytest.mark.parametrize("family", ["dit", "pixart"])


def lively(family: str, images: int, cfg: bool = False, seed: int = 0, dtype: torch.dtype = torch.float32) -> Inputs:
    """A generation whose images move at different speeds."""
    inputs = inputs_for(family, STEPS, batch_size=images, seed=seed, cfg=cfg, dtype=dtype)
    start = inputs[0]["hidden_states"]
    speed = torch.tensor(SPEEDS[:images] * (2 if cfg else 1), dtype=dtype).view(-1, *[1] * (start.ndim - 1))
    return [call | {"hidden_states": start + speed * (call["hidden_states"] - start)} for call in inputs]


def rows(image: int, images: int, cfg: bool) -> list[int]:
    return [image, image + images] if cfg else [image]


def observed_run(transformer: nn.Module, method: Any, inputs: Inputs, **options: Any) -> tuple[list[Tensor], Summary]:
    with toca.cached(transformer, method, num_inference_steps=len(inputs), **options):
        return run_steps(transformer, inputs), toca.summary(transformer)


def letters_of(summary: Summary, images: int) -> list[str]:
    return [summary.steps_of(image) for image in range(images)]


def assert_as_alone(
    transformer: nn.Module, case: Case, method: Any, inputs: Inputs, images: int, cfg: bool, only: range | None = None
) -> Summary:
    """Images `only` of the batch decide, and come out, as the naive restatement does with each alone."""
    outputs, summary = observed_run(transformer, method, inputs, batched_cfg=cfg)
    for image in only or range(images):
        mine = rows(image, images, cfg)
        wanted, letters = case.reference(transformer, rows_of(inputs, mine), threshold=method.threshold)
        assert summary.steps_of(image) == letters
        assert_close([output[mine] for output in outputs], wanted)
    return summary


@every_gate
@every_family
def test_batch_decides_as_each_image_alone(name: str, family: str) -> None:
    transformer, case = TINY[family](), CASES[name]
    summary = assert_as_alone(transformer, case, case.of(family), lively(family, 3), 3, cfg=False)
    letters = letters_of(summary, 3)
    assert len(set(letters)) > 1, "the threshold must tell the images apart"
    assert summary.steps == "".join(x[0] if len(set(x)) == 1 else "m" for x in zip(*letters, strict=True))


@every_gate
@two_families
def test_batched_guidance_decides_once_an_image(name: str, family: str) -> None:
    transformer, case = TINY[family](), CASES[name]
    assert_as_alone(transformer, case, case.of(family), lively(family, 3, cfg=True), 3, cfg=True)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_threshold_and_batch_size(data: st.DataObject) -> None:
    name, family = data.draw(st.sampled_from(list(CASES))), data.draw(st.sampled_from(["dit", "pixart"]))
    images, cfg = data.draw(st.integers(1, 4)), data.draw(st.booleans())
    image, seed = data.draw(st.integers(0, images - 1)), data.draw(st.integers(0, 5))
    case = CASES[name]
    threshold = case.thresholds[family] * data.draw(st.floats(0.2, 3))
    inputs = lively(family, images, cfg, seed)
    method = case.of(family, threshold=threshold)
    assert_as_alone(TINY[family](seed), case, method, inputs, images, cfg, only=range(image, image + 1))


@pytest.mark.parametrize("images", [1, 2, 4])
@every_gate
def test_alone_or_in_company(name: str, images: int) -> None:
    transformer, method, inputs = TINY["pixart"](), CASES[name].of("pixart"), lively("pixart", images)
    together, summary = observed_run(transformer, method, inputs)
    for image in range(images):
        alone, mine = observed_run(transformer, method, rows_of(inputs, [image]))
        assert_close([rows[image : image + 1] for rows in together], alone)
        assert summary.steps_of(image) == mine.steps == mine.steps_of(0)


TOKENS = toca.ToCa(interval=3, fresh_ratio=0.4, score="self_attention")
COMPOSED = {
    "modules": toca.CacheMethod(when=CASES["easycache"].of("pixart")),
    "tokens": toca.CacheMethod(when=CASES["fbcache"].of("pixart"), which=TOKENS, fill=toca.TaylorSeer(order=1)),
    "verified modules": toca.CacheMethod(when=CASES["speca"].of("pixart", threshold=0.5, min_drafts=1)),
    "verified tokens": toca.CacheMethod(when=CASES["speca"].of("pixart", threshold=0.3), which=TOKENS),
    "stack": toca.CacheMethod(
        when=CASES["dicache"].of("pixart"), which=CASES["dicache"].of("pixart"), fill=toca.TaylorSeer(order=2)
    ),
}


@pytest.mark.parametrize("cfg", [False, True], ids=["plain", "cfg"])
@pytest.mark.parametrize("name", COMPOSED)
def test_any_composition_alone_or_in_company(name: str, cfg: bool) -> None:
    """Whatever is filled by whatever forecast where these gates do not compute."""
    transformer, method, inputs = TINY["pixart"](), COMPOSED[name], lively("pixart", 3, cfg)
    together, summary = observed_run(transformer, method, inputs, batched_cfg=cfg)
    assert len(set(letters_of(summary, 3))) > 1
    for image in range(3):
        mine = rows(image, 3, cfg)
        alone, its = observed_run(transformer, method, rows_of(inputs, mine), batched_cfg=cfg)
        assert_close([output[mine] for output in together], alone)
        assert summary.steps_of(image) == its.steps


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("speca", "rfc")])
def test_a_step_takes_as_many_passes_as_there_are_decisions(name: str) -> None:
    """Images that went different ways come together again. (A forecast that depends on the way keeps them apart.)"""
    _, summary = observed_run(TINY["pixart"](), CASES[name].of("pixart"), lively("pixart", 4))
    passes = [sum(call.step == step for call in summary.trace) for step in range(STEPS)]
    assert passes == [1 + (letter == "m") for letter in summary.steps]
    together = [call.images for call in summary.trace if call.step == STEPS - 1 and summary.steps[-1] != "m"]
    assert together in ([None], [])
    assert len(set(letters_of(summary, 4))) > 1


@pytest.mark.parametrize(
    ("name", "changes", "restated"),
    [
        ("dbcache", {"first_blocks": 2, "last_blocks": 0}, {"first": 2, "last": 0}),
        ("dicache", {"probe_blocks": 2, "warmup_steps": 3, "threshold": 0.3}, {"probe": 2, "warmup": 3}),
        ("seacache", {"indicator": "latents", "power": 1.5}, {"latents": True, "p": 1.5}),
        ("seacache", {"residual_order": 1, "max_cached_steps": 2}, {"line": True, "most": 2}),
        ("adacache", {"motion": False, "depth": 1.0}, {"motion": False, "depth": 1.0}),
        ("rfc", {"order": 1, "warmup_steps": 1}, {"order": 1, "warmup": 1}),
        ("rfc", {"scope": "stack"}, {"stack": True}),
        ("speca", {"compared": "residual", "threshold": 2.0}, {"residual": True}),
        ("speca", {"error": "elements", "threshold": 3.0}, {"elements": True}),
        ("speca", {"min_drafts": 2, "max_drafts": 3, "order": 3}, {"min_drafts": 2, "max_drafts": 3, "order": 3}),
        ("speca", {"min_drafts": 1, "decay": 1.0, "floor": 9.0}, {"min_drafts": 1, "decay": 1.0, "floor": 9.0}),
    ],
)
@every_family
def test_other_settings(family: str, name: str, changes: dict, restated: dict) -> None:
    transformer, method = TINY[family](), CASES[name].of(family, **changes)
    case = dataclasses.replace(CASES[name], reference=partial(CASES[name].reference, **restated))
    assert_as_alone(transformer, case, method, lively(family, 2), 2, cfg=False)


@every_gate
@two_families
def test_whole_batch_decides_together(name: str, family: str) -> None:
    """As the published code does: to the restatement the batch is one image."""
    transformer, case = TINY[family](), CASES[name]
    method, inputs = case.of(family, per_sample=False), lively(family, 3)
    for cfg in (False, True):
        outputs, summary = observed_run(transformer, method, inputs[:STEPS], batched_cfg=cfg and None)
        wanted, letters = case.reference(transformer, inputs, threshold=method.threshold)
        assert summary.steps == letters and letters_of(summary, 3) == [letters] * 3
        assert_close(outputs, wanted)


@every_gate
def test_named_branches_decide_for_themselves(name: str) -> None:
    transformer, method = TINY["flux"](), CASES[name].of("flux")
    runs = {"cond": lively("flux", 2, seed=1), "uncond": lively("flux", 2, seed=2)}
    wanted = {branch: observed_run(transformer, method, inputs) for branch, inputs in runs.items()}
    got: dict[str, list[Tensor]] = {"cond": [], "uncond": []}
    with toca.cached(transformer, method, num_inference_steps=STEPS), torch.no_grad():
        for step in range(STEPS):
            for branch, inputs in runs.items():
                with transformer.cache_context(branch):
                    got[branch].append(transformer(**inputs[step]).sample)
        summary = toca.summary(transformer)
    assert wanted["cond"][1].steps != wanted["uncond"][1].steps
    for branch, (outputs, _) in wanted.items():
        assert_equal(got[branch], outputs)
    both = [[wanted[branch][1].steps_of(image) for branch in runs] for image in range(2)]
    expected = ["".join(a if a == b else "m" for a, b in zip(*letters, strict=True)) for letters in both]
    assert letters_of(summary, 2) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@every_gate
@every_family
def test_nothing_let_pass_is_the_uncached_output(name: str, family: str, dtype: torch.dtype) -> None:
    transformer, inputs = TINY[family]().to(dtype), lively(family, 2, dtype=dtype)
    nothing = {"max_drafts": 0} if name == "speca" else {"threshold": 0.0}
    outputs, summary = observed_run(transformer, CASES[name].of(family, **nothing), inputs)
    assert summary.steps == "F" * STEPS
    assert_equal(outputs, run_steps(transformer, inputs))


@every_gate
@every_family
def test_measured_costs_are_the_counted_ones(name: str, family: str) -> None:
    transformer, method, cfg = TINY[family](), CASES[name].of(family), family != "flux"
    inputs = lively(family, 3, cfg)
    batch = inputs[0]["hidden_states"].shape[0]
    predicted = method.plan(transformer, STEPS).cost(**options_for(family, batch, (16, 16)), batched_cfg=cfg)
    full = counted_flops(transformer, inputs)
    with toca.cached(transformer, method, num_inference_steps=STEPS, batched_cfg=cfg):
        counted = counted_flops(transformer, inputs[:-1])
        running, held = toca.summary(transformer), held_bytes(transformer)
        counted += counted_flops(transformer, inputs[-1:])
        summary = toca.summary(transformer)
    assert summary.flops == counted and summary.flops_full == predicted.flops_full == full
    assert predicted.cache_bytes == running.cache_bytes == held
    assert set(summary.steps) != {"F"}


@every_gate
def test_bytes_in_bfloat16(name: str) -> None:
    transformer, method = TINY["dit"]().bfloat16(), CASES[name].of("dit")
    predicted = method.plan(transformer, STEPS).cost(batch_size=2)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        run_steps(transformer, lively("dit", 2, dtype=torch.bfloat16)[:-1])
        assert held_bytes(transformer) == predicted.cache_bytes == toca.summary(transformer).cache_bytes


@every_gate
def test_equal_images_decide_alike_in_bfloat16(name: str) -> None:
    transformer, method = TINY["dit"]().bfloat16(), CASES[name].of("dit")
    inputs = rows_of(lively("dit", 3, dtype=torch.bfloat16), [2, 2, 2])
    outputs, summary = observed_run(transformer, method, inputs)
    assert "m" not in summary.steps and len(set(summary.steps)) == 2
    for output in outputs:
        assert relative_error(output[2], output[0]) < 1e-6


class Stop(Exception):
    """Raised in the middle of a step."""


@pytest.mark.parametrize("layer", [0, 2])
@every_gate
def test_exception_in_any_pass_starts_anew(name: str, layer: int) -> None:
    """In a probe, in the step of some of the images, in a verification: wherever a block is called."""
    transformer, method = TINY["dit"](), CASES[name].of("dit")
    inputs, others = lively("dit", 3, seed=1), lively("dit", 3)
    block = transformer.transformer_blocks[layer]
    calls: list[int] = []
    hook = block.register_forward_hook(lambda *_: calls.append(0))
    wanted, summary = observed_run(transformer, method, inputs)
    observed_run(transformer, method, others)
    hook.remove()
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        for last in range(0, len(calls) - len(calls) // 2, 5):
            left = iter(range(last, -1, -1))

            def fail(*_: Any, left: Any = left) -> None:
                if next(left) == 0:
                    raise Stop

            hook = block.register_forward_hook(fail)
            with pytest.raises(Stop):
                run_steps(transformer, others * 2)
            hook.remove()
            assert_equal(run_steps(transformer, inputs), wanted)
            assert toca.summary(transformer).steps == summary.steps


@every_gate
@two_families
def test_generations_do_not_meet(name: str, family: str) -> None:
    """A second generation, one given up, and one with another number of images."""
    transformer, method = TINY[family](), CASES[name].of(family)
    inputs, others, fewer = lively(family, 3, seed=1), lively(family, 3), lively(family, 2)
    wanted, wanted_fewer = cached_run(transformer, method, inputs), cached_run(transformer, method, fewer)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        run_steps(transformer, others)
        assert_equal(run_steps(transformer, inputs), wanted)
        run_steps(transformer, others[:5])
        assert_equal(run_steps(transformer, fewer), wanted_fewer)
        run_steps(transformer, others[:5])
        toca.reset(transformer)
        assert_equal(run_steps(transformer, inputs), wanted)


@every_gate
@every_family
def test_caller_writes_in_its_own_tensors(name: str, family: str) -> None:
    assert_unmoved_by_writing(TINY[family](), CASES[name].of(family), lively(family, 2))


@every_family
@pytest.mark.parametrize("order", [0, 2])
def test_caller_writes_in_a_cached_output(family: str, order: int) -> None:
    method = toca.TaylorSeer(interval=3, order=order, scope="lite")
    assert_unmoved_by_writing(TINY[family](), method, lively(family, 2))


def assert_unmoved_by_writing(transformer: nn.Module, method: Any, inputs: Inputs) -> None:
    """One buffer for the latents of all steps, and outputs overwritten once they are used."""
    wanted = cached_run(transformer, method, inputs)
    buffer = inputs[0]["hidden_states"].clone()
    got = []
    with toca.cached(transformer, method, num_inference_steps=STEPS), torch.no_grad():
        for call in inputs:
            buffer.copy_(call["hidden_states"])
            output = transformer(**(call | {"hidden_states": buffer})).sample
            got.append(output.clone())
            output.zero_()
    assert_equal(got, wanted)


@every_gate
def test_a_branch_that_missed_a_step_computes(name: str) -> None:
    """Guidance for some of the steps only: what is remembered is too old, so the step is computed; then on it goes."""
    transformer, method, inputs = TINY["flux"](), CASES[name].of("flux"), lively("flux", 2)
    stock = run_steps(transformer, inputs)
    pipe = Steps(transformer, inputs)
    got = {}
    with toca.cached(pipe, method), torch.no_grad():
        for step in pipe:
            for branch in ("cond", "uncond"):
                if branch == "cond" or step < 2 or step >= 5:
                    with transformer.cache_context(branch):
                        got[branch, step] = transformer(**inputs[step]).sample
        summary = toca.summary(pipe)
    assert_close([got["uncond", 5]], stock[5:6])
    late = [call.letter for call in summary.trace if call.branch == "uncond" and call.step >= 5]
    assert late[0] == "F" and set(late) != {"F"}


class Steps:
    """A pipeline's scheduler, and nothing else of a pipeline."""

    def __init__(self, transformer: nn.Module, inputs: Inputs):
        self.components = {"transformer": transformer}
        self.scheduler = self
        # FLUX is told thousandths.
        self.timesteps, self.step_index = 1000 * torch.cat([call["timestep"][:1] for call in inputs]), 0

    def __iter__(self):
        for self.step_index in range(STEPS):
            yield self.step_index


@every_gate
def test_equal_noise_without_guidance_is_no_guidance_pair(name: str) -> None:
    """Four prompts from two seeds look like the halves of guidance in the first step; they are four images."""
    pipe, method = tiny_pixart_pipeline(), CASES[name].of("pixart", threshold=1.0)
    noise = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1, 1)
    arguments = {"num_inference_steps": 8, "guidance_scale": 1.0, "output_type": "latent", "clean_caption": False}
    prompts = ["a red owl", "the big moon on a tree", "running", "a small house"]
    with toca.cached(pipe, method):
        together = pipe(prompts, latents=noise, **arguments).images
        letters = letters_of(toca.summary(pipe), 4)
        for image, prompt in enumerate(prompts):
            alone = pipe(prompt, latents=noise[image : image + 1], **arguments).images
            assert letters[image] == toca.summary(pipe).steps
            assert_close([together[image : image + 1]], [alone], 1e-4)
    assert set("".join(letters)) != {"F"}
