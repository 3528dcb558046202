"""A model is freed when it is dropped, and a cache is on or off in whatever order it was switched."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import PixArtAlphaPipeline
from torch import nn

import toca

from ..helpers import TINY, TINY_PIPELINES, Inputs, inputs_for, pipeline_arguments, run_steps
from .common import STEPS, PipelineLike, assert_equal, cached_run, every_family, method_of, scheduler_for
from .test_exchanges import traces_of_toca
from .test_off_is_off import snapshot


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def abort(transformer: nn.Module, inputs: Inputs) -> None:
    """A block runs out of memory in the middle of a generation."""
    block = transformer.transformer_blocks[1]
    hook = block.register_forward_pre_hook(_out_of_memory)
    try:
        run_steps(transformer, inputs)
    except torch.OutOfMemoryError:
        pass
    hook.remove()


def _out_of_memory(*_: Any) -> None:
    raise torch.OutOfMemoryError("no memory")


COURSES = {
    "on": "",
    "run": "r",
    "run and part": "rp",
    "summary": "rs",
    "exception": "pe",
    "off": "ro",
    "exception and off": "eo",
    "copied": "pc",
}


@every_family
@pytest.mark.parametrize("name", ["self", "random", "forecast-blocks", "gate", "gate-input"])
def test_a_transformer_is_freed_when_it_is_dropped(family: str, name: str, no_collector: None) -> None:
    """Also its blocks and what was cached, whatever has happened."""
    inputs = inputs_for(family, STEPS)
    for course, steps in COURSES.items():
        transformer: Any = TINY[family]()
        toca.enable_cache(transformer, method_of(family, name), num_inference_steps=STEPS)
        for step in steps:
            _take(step, transformer, inputs)
        held = [transformer, transformer.transformer_blocks[0], transformer.transformer_blocks[-1].ff]
        alive = [weakref.ref(item) for item in held]
        del held, transformer
        assert [ref() is None for ref in alive] == [True] * 3, course


def _take(step: str, transformer: nn.Module, inputs: Inputs) -> None:
    if step in "rp":
        run_steps(transformer, inputs if step == "r" else inputs[:3])
    elif step == "e":
        abort(transformer, inputs)
    elif step == "s":
        str(toca.summary(transformer))
    elif step == "c":
        copy.deepcopy(transformer)
    else:
        toca.disable_cache(transformer)


@pytest.mark.parametrize("family", ["dit", "pixart"])
@pytest.mark.parametrize("off", [True, False])
def test_a_pipeline_is_freed_when_it_is_dropped(family: str, off: bool, no_collector: None) -> None:
    """FLUX and Latte hang on hook registries of diffusers after a run, with a cache or without."""
    pipe: Any = TINY_PIPELINES[family]()
    toca.enable_cache(pipe, method_of(family, "self"))
    pipe(**pipeline_arguments(family, 4))
    str(toca.summary(pipe))
    if off:
        toca.disable_cache(pipe)
    alive = [weakref.ref(item) for item in (pipe, pipe.transformer, pipe.scheduler)]
    del pipe
    assert [ref() for ref in alive] == [None] * 3


def test_the_engine_goes_with_the_cache(no_collector: None) -> None:
    transformer = TINY["flux"]()
    toca.enable_cache(transformer, method_of("flux", "self"), num_inference_steps=STEPS)
    run_steps(transformer, inputs_for("flux", 3))
    engine = weakref.ref(transformer._toca_engine)
    toca.disable_cache(transformer)
    assert engine() is None


# --- in any order ----------------------------------------------------------------------------------------------------


def test_nested_caches_are_refused_and_the_outer_goes_on() -> None:
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    before, options = snapshot(transformer), {"num_inference_steps": STEPS}
    wanted, stock = cached_run(transformer, toca.FORA(), inputs), run_steps(transformer, inputs)
    with toca.cached(transformer, toca.FORA(), **options):
        got = run_steps(transformer, inputs[:4])
        with pytest.raises(ValueError, match="already on"), toca.cached(transformer, toca.FORA(interval=2), **options):
            pytest.fail("two caches")
        got += run_steps(transformer, inputs[4:])
        assert_equal(got, wanted)
    assert snapshot(transformer) == before
    assert_equal(run_steps(transformer, inputs), stock)


def test_off_and_on_again_within_a_block() -> None:
    """The end of the block takes off whichever cache is on."""
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    before, options = snapshot(transformer), {"num_inference_steps": STEPS}
    other = cached_run(transformer, toca.FORA(interval=2), inputs)
    with toca.cached(transformer, toca.FORA(), **options):
        toca.disable_cache(transformer)
        assert snapshot(transformer) == before
        toca.enable_cache(transformer, toca.FORA(interval=2), **options)
        assert_equal(run_steps(transformer, inputs), other)
    assert snapshot(transformer) == before
    with toca.cached(transformer, toca.FORA(), **options):
        toca.disable_cache(transformer)
    assert snapshot(transformer) == before


def test_a_transformer_of_two_pipelines() -> None:
    """It has one cache, which goes on and off through either."""
    one = TINY_PIPELINES["pixart"]()
    two = PixArtAlphaPipeline.from_pipe(one)
    two.set_progress_bar_config(disable=True)
    before, stock = snapshot(one.transformer), one(**pipeline_arguments("pixart"))[0]
    toca.enable_cache(one, toca.FORA(interval=2))
    cached = one(**pipeline_arguments("pixart"))[0]
    with pytest.raises(ValueError, match="already on"):
        toca.enable_cache(two, toca.FORA(interval=3))
    assert toca.summary(two) == toca.summary(one)
    toca.disable_cache(two)
    assert snapshot(one.transformer) == before
    assert torch.equal(one(**pipeline_arguments("pixart"))[0], stock)
    with toca.cached(two, toca.FORA(interval=2)):
        assert torch.equal(two(**pipeline_arguments("pixart"))[0], cached)
        toca.disable_cache(one)
    assert snapshot(one.transformer) == before


def test_one_transformer_under_two_names() -> None:
    transformer = TINY["dit"]()
    before = snapshot(transformer)
    with toca.cached(PipelineLike(scheduler_for("dit"), transformer, transformer), toca.FORA()):
        assert snapshot(transformer) != before
    assert snapshot(transformer) == before


def test_a_transformer_exchanged_in_its_pipeline() -> None:
    """The cache stays on the transformer, which is freed with it."""
    pipe, other = TINY_PIPELINES["dit"](), TINY["dit"](1)
    before = snapshot(other)
    toca.enable_cache(pipe, toca.FORA())
    taken, pipe.transformer = pipe.transformer, other
    toca.disable_cache(pipe)
    assert snapshot(other) == before and traces_of_toca(taken)
    toca.disable_cache(taken)
    assert not traces_of_toca(taken)


@every_family
@pytest.mark.parametrize("name", ["preset", "fora", "forecast", "gate", "gate-input"])
def test_blocks_that_two_models_have(family: str, name: str) -> None:
    """As a shallow copy has them: between two steps it is the stock model, and gets no cache of its own."""
    transformer, inputs, method = TINY[family](), inputs_for(family, STEPS), method_of(family, name)
    stock, wanted = run_steps(transformer, inputs), cached_run(transformer, method, inputs)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        other = copy.copy(transformer)
        got = run_steps(transformer, inputs[:4])
        assert_equal(run_steps(other, inputs), stock)
        with pytest.raises(ValueError, match="another model's too"):
            toca.enable_cache(other, method, num_inference_steps=STEPS)
        got += run_steps(transformer, inputs[4:])
    assert_equal(got, wanted)
    assert not traces_of_toca(transformer) and not traces_of_toca(other)
