"""Whose generation it is: threads, tasks, and pipelines that share a transformer never meet each other's features."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler

import toca
from toca.engine.install import engine_of
from toca.models import FAMILIES

from ..helpers import TINY, TINY_PIPELINES, inputs_for, pipeline_arguments, run_steps
from .common import (
    STEPS,
    PipelineLike,
    assert_equal,
    at,
    cached_run,
    caching_method,
    differ,
    every_family,
    method_of,
    scheduler_for,
)


class Turns:
    """Runs functions in threads of their own, one call at a time."""

    def __init__(self):
        self.threads = {name: ThreadPoolExecutor(1) for name in ("first", "second")}

    def __call__(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.threads[name].submit(torch.no_grad()(function), *args, **kwargs).result()

    def end(self, name: str) -> None:
        self.threads[name].shutdown()


@pytest.fixture
def turns() -> Turns:
    return Turns()


@every_family
@pytest.mark.parametrize("name", ["preset", "fora", "gate"])
def test_another_thread_in_the_middle_is_refused(family: str, name: str, turns: Turns) -> None:
    """And the generation that it came into goes on as if nothing had been."""
    transformer, method = TINY[family](), method_of(family, name)
    inputs, others = inputs_for(family, STEPS, seed=1), inputs_for(family, STEPS, seed=5)
    wanted = cached_run(transformer, method, inputs)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        got = [turns("first", transformer, **call).sample for call in inputs[:4]]
        with pytest.raises(RuntimeError, match="Another thread or task is in the middle of a generation"):
            turns("second", transformer, **others[4])
        got += [turns("first", transformer, **call).sample for call in inputs[4:]]
        assert_equal(got, wanted)
        # A generation that has ended is nobody's.
        assert_equal([turns("second", transformer, **call).sample for call in inputs], wanted)


@every_family
def test_a_generation_that_another_thread_has_overtaken_is_refused(family: str, turns: Turns) -> None:
    """The newer one is what it is alone, and the older one does not go on from it, nor from what it had before."""
    transformer, method = TINY[family](), toca.FORA(interval=3)
    pipe, inputs = PipelineLike(scheduler_for(family), transformer), inputs_for(family, STEPS, seed=1)
    calls = [at(inputs[position], timestep) for position, timestep in pipe.steps(STEPS)]
    wanted = cached_run(transformer, method, calls)
    with toca.cached(pipe, method):
        older = pipe.steps(STEPS)
        for (position, timestep), _ in zip(older, range(3), strict=False):
            turns("first", transformer, **at(inputs[position], timestep))
        timestep = pipe.scheduler.timesteps[3]
        got = []
        for position, newer in pipe.steps(STEPS):
            got.append(turns("second", transformer, **at(inputs[position], newer)).sample)
            if position == 4:
                with pytest.raises(RuntimeError, match="has begun a generation since"):
                    turns("first", transformer, **at(inputs[3], timestep))
        assert_equal(got, wanted)


def test_calls_at_the_same_time_are_refused(turns: Turns) -> None:
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    inside, go_on = threading.Event(), threading.Event()

    def wait(*_: Any) -> None:
        inside.set()
        assert go_on.wait(20)

    with toca.cached(transformer, toca.FORA(), num_inference_steps=STEPS):
        hook = transformer.transformer_blocks[1].register_forward_hook(wait)
        future = turns.threads["first"].submit(run_steps, transformer, inputs[:1])
        assert inside.wait(20)
        with pytest.raises(RuntimeError, match="Another thread or task is in the middle of a call"):
            run_steps(transformer, inputs[:1])
        go_on.set()
        hook.remove()
        assert torch.equal(future.result()[0], TINY["dit"]()(**inputs[0]).sample)


def test_a_schedule_that_another_thread_sets_between_two_steps_shifts_nothing() -> None:
    """It has set the scheduler's timesteps, and is not at its first call yet."""
    pipe = TINY_PIPELINES["dit"]()
    pipe.scheduler = DDIMScheduler()
    toca.enable_cache(pipe, toca.FORA(interval=3))
    wanted = torch.as_tensor(pipe(**pipeline_arguments("dit", 4))[0])
    hook = pipe.transformer.register_forward_hook(lambda *_: pipe.scheduler.set_timesteps(4))
    made = torch.as_tensor(pipe(**pipeline_arguments("dit", 4))[0])
    hook.remove()
    assert torch.equal(made, wanted)


@pytest.mark.parametrize("family", ["pixart", "flux"])
def test_a_schedule_that_another_thread_sets_between_two_steps_is_refused(family: str) -> None:
    """These schedulers remember where they are, and have forgotten it: whoever steps them gets wrong latents."""
    pipe = TINY_PIPELINES[family]()
    toca.enable_cache(pipe, toca.FORA(interval=3))
    wanted = picture(pipe, family)

    def set_anew(*_: Any) -> None:
        pipe.scheduler.set_timesteps(6, **({"mu": 0.5} if family == "flux" else {}))
        pipe.scheduler.set_begin_index(0)

    hook = pipe.transformer.register_forward_hook(set_anew)
    with pytest.raises(RuntimeError, match="set anew in the middle of a generation, by another thread"):
        picture(pipe, family)
    hook.remove()
    assert torch.equal(picture(pipe, family), wanted)


def test_a_pipeline_that_ends_in_another_thread_ends_no_generation_but_its_own() -> None:
    """Its denoising is over, and while it decoded its latents somebody else began."""
    pipe = TINY_PIPELINES["dit"]()
    toca.enable_cache(pipe, toca.FORA(interval=3))
    wanted = torch.as_tensor(pipe(**pipeline_arguments("dit", 6))[0])

    def end_elsewhere(*_: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(pipe.maybe_free_model_hooks).result()

    hook = pipe.transformer.register_forward_hook(end_elsewhere)
    made = torch.as_tensor(pipe(**pipeline_arguments("dit", 6))[0])
    hook.remove()
    assert torch.equal(made, wanted)


def test_threads_without_a_lock_make_right_pictures_or_raise() -> None:
    """Each thread's label has one right picture; a scheduler without state, so that the pipeline itself is safe."""
    pipe = TINY_PIPELINES["dit"]()
    pipe.scheduler = DDIMScheduler()
    toca.enable_cache(pipe, toca.FORA(interval=2))

    def make(label: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(label)
        return pipe(class_labels=[label], num_inference_steps=4, generator=generator, output_type="pt").images

    wanted = {label: make(label) for label in (1, 7)}
    outcomes: list[bool] = []

    def work(label: int) -> None:
        for _ in range(5):
            try:
                outcomes.append(torch.equal(torch.as_tensor(make(label)), torch.as_tensor(wanted[label])))
            except RuntimeError as error:
                assert "Another thread" in str(error)

    threads = [threading.Thread(target=work, args=(label,)) for label in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(outcomes)
    assert torch.equal(torch.as_tensor(make(7)), torch.as_tensor(wanted[7]))


@pytest.mark.parametrize("family", ["dit", "flux"])
def test_a_lock_makes_threads_safe(family: str) -> None:
    pipe, lock = TINY_PIPELINES[family](), threading.Lock()
    toca.enable_cache(pipe, toca.FORA(interval=2))

    def make(_: int) -> torch.Tensor:
        with lock:
            return torch.as_tensor(pipe(**pipeline_arguments(family, 4))[0])

    wanted = make(0)
    with ThreadPoolExecutor(3) as pool:
        assert all(torch.equal(picture, wanted) for picture in pool.map(make, range(6)))


def test_a_thread_that_ended_in_the_middle_blocks_nobody(turns: Turns) -> None:
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    wanted = cached_run(transformer, toca.FORA(), inputs)
    with toca.cached(transformer, toca.FORA(), num_inference_steps=STEPS):
        turns("first", transformer, **inputs[0])
        turns.end("first")
        assert_equal(run_steps(transformer, inputs), wanted)


def test_reset_ends_the_generation_of_another_thread(turns: Turns) -> None:
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    with toca.cached(transformer, toca.FORA(), num_inference_steps=STEPS):
        turns("first", run_steps, transformer, inputs[:3])
        toca.reset(transformer)
        # In the middle of the schedule it begins with a full step.
        assert torch.equal(run_steps(transformer, inputs[3:4])[0], TINY["dit"]()(**inputs[3]).sample)


def test_tasks_are_told_apart() -> None:
    """Two tasks in one thread that take turns: the second is refused, the first is what it is alone."""
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS, seed=1)
    wanted = cached_run(transformer, toca.FORA(interval=3), inputs)

    async def generate(calls: list[dict[str, Any]], pause: asyncio.Event) -> list[torch.Tensor]:
        outputs = []
        for call in calls:
            outputs += run_steps(transformer, [call])
            pause.set()
            await asyncio.sleep(0)
        return outputs

    async def both() -> list[Any]:
        begun = asyncio.Event()
        first = asyncio.create_task(generate(inputs, begun))
        await begun.wait()
        second = asyncio.create_task(generate(inputs_for("dit", STEPS, seed=2)[3:], asyncio.Event()))
        return await asyncio.gather(first, second, return_exceptions=True)

    with toca.cached(transformer, toca.FORA(interval=3), num_inference_steps=STEPS):
        got, refused = asyncio.run(both())
    assert_equal(got, wanted)
    assert isinstance(refused, RuntimeError) and "Another thread or task" in str(refused)


def test_each_thread_is_in_its_own_branch(turns: Turns) -> None:
    """A name that one thread gives in `cache_context` is no other's."""
    transformer, inputs = TINY["flux"](), inputs_for("flux", STEPS)
    with toca.cached(transformer, toca.FORA(), num_inference_steps=STEPS):
        with transformer.cache_context("uncond"):
            turns("first", run_steps, transformer, inputs[:2])
        assert {call.branch for call in toca.summary(transformer).trace} == {None}


@pytest.mark.parametrize("names", [("cond", "uncond"), ("pred_cond", "pred_uncond")])
def test_guiders_names_are_those_of_pipelines(names: tuple[str, str]) -> None:
    """T-GATE drops the unconditional branch of either."""
    transformer, method = TINY["flux"](), toca.TGate(gate_step=2)
    runs = [inputs_for("flux", STEPS, seed=seed) for seed in (1, 2)]
    with toca.cached(transformer, method, num_inference_steps=STEPS), torch.no_grad():
        last = []
        for calls in zip(*runs, strict=True):
            last = []
            for name, call in zip(names, calls, strict=True):
                with transformer.cache_context(name):
                    last.append(transformer(**call).sample)
        assert torch.equal(*last)
        assert {call.branch for call in toca.summary(transformer).trace} == {"cond", "uncond"}


# --- pipelines that share a transformer ----------------------------------------------------------------------------


def picture(pipe: Any, family: str, steps: int = 6, **arguments: Any) -> torch.Tensor:
    return torch.as_tensor(pipe(**(pipeline_arguments(family, steps) | arguments))[0])


def stop_at(step: int, family: str) -> dict[str, Any]:
    """Arguments that end a pipeline's call by an exception after a step."""

    class Gone(Exception):
        pass

    def callback(*args: Any) -> Any:
        number, values = (args[1], args[3]) if len(args) == 4 else (args[0], None)
        if number == step:
            raise Gone
        return values

    if family == "pixart":
        return {"callback": callback, "callback_steps": 1}
    return {"callback_on_step_end": callback}


@pytest.mark.parametrize("family", ["pixart", "flux", "latte"])
@pytest.mark.parametrize("before", ["nothing", "a generation", "an aborted one"])
@pytest.mark.parametrize("steps", [6, 5])
def test_a_pipeline_with_a_scheduler_of_its_own(
    family: str, before: str, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It shares the transformer and not the scheduler. Where both schedules are one, and its calls tell which step
    they are at (DDIM has no step index), it is cached; else its calls run in full, with a warning. The first pipeline
    goes on as before."""
    pipe = TINY_PIPELINES[family]()
    stock = picture(pipe, family, steps)
    method = toca.FORA(interval=3)
    with toca.cached(pipe, method):
        wanted = picture(pipe, family)
    toca.enable_cache(pipe, method)
    if before == "a generation":
        picture(pipe, family)
    elif before == "an aborted one":
        with pytest.raises(Exception, match="^$"):
            picture(pipe, family, **stop_at(1, family), prompt="a blue dog")
    other = type(pipe).from_pipe(pipe, scheduler=type(pipe.scheduler).from_config(pipe.scheduler.config))
    other.set_progress_bar_config(disable=True)
    if family == "flux":
        other.default_sample_size = 16
    caplog.set_level(logging.WARNING)
    # A scheduler without a step index tells by the timesteps alone.
    told = family == "latte" and steps == 6
    for _ in range(2):
        assert torch.equal(picture(other, family, steps), wanted if told else stock)
    assert sum("toca.cached(pipeline" in record.getMessage() for record in caplog.records) == (not told)
    assert told or (toca.summary(pipe).bypassed and not toca.summary(pipe).steps)
    assert torch.equal(picture(pipe, family), wanted)
    with toca.cached(TINY_PIPELINES[family](), method) as alone:
        assert torch.equal(picture(alone, family), wanted)


@pytest.mark.parametrize("family", ["pixart", "flux"])
def test_a_cache_a_request_on_pipelines_that_share_a_transformer(family: str) -> None:
    """What the warning advises."""
    pipe, method = TINY_PIPELINES[family](), toca.FORA(interval=3)
    with toca.cached(pipe, method):
        wanted = picture(pipe, family)
    for _ in range(2):
        other = type(pipe).from_pipe(pipe, scheduler=type(pipe.scheduler).from_config(pipe.scheduler.config))
        other.set_progress_bar_config(disable=True)
        if family == "flux":
            other.default_sample_size = 16
        with toca.cached(other, method):
            assert torch.equal(picture(other, family), wanted)
            assert toca.summary(other).steps == method.plan(other.transformer, 6).steps


# --- bare transformers ---------------------------------------------------------------------------------------------


@every_family
@caching_method
def test_requests_of_other_lengths(family: str, name: str) -> None:
    """Fewer steps than told, one given up, and more than told: the next one is what it is alone."""
    transformer, method = TINY[family](), method_of(family, name)
    inputs, others = inputs_for(family, STEPS, seed=1), inputs_for(family, 6, seed=5)
    wanted = cached_run(transformer, method, inputs)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        for requests in (others, others[:1], inputs_for(family, STEPS + 2, seed=5)):
            run_steps(transformer, requests)
            assert_equal(run_steps(transformer, inputs), wanted)
            assert toca.summary(transformer).steps == method.plan(transformer, STEPS).steps


@every_family
def test_more_steps_than_told_run_in_full(family: str, caplog: pytest.LogCaptureFixture) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS + 2)
    stock = run_steps(transformer, inputs)
    with toca.cached(transformer, toca.FORA(interval=3), num_inference_steps=STEPS):
        assert_equal(run_steps(transformer, inputs)[STEPS:], stock[STEPS:])
    assert sum("more steps than the 8" in record.getMessage() for record in caplog.records) == 1


@every_family
@caching_method
@pytest.mark.parametrize("given_up", [0, 3])
def test_unnamed_guidance_of_a_bare_transformer(family: str, name: str, given_up: int) -> None:
    """Two calls at one timestep with the same latents are the branches of one step; also after a generation was given
    up between them."""
    transformer, method = TINY[family](), method_of(family, name)
    halves = [inputs_for(family, STEPS, seed=seed) for seed in (1, 2)]
    halves[1] = [call | {"hidden_states": mine["hidden_states"]} for mine, call in zip(*halves, strict=True)]
    other = inputs_for(family, STEPS, seed=5)
    wanted = [cached_run(transformer, method, calls) for calls in halves]
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        run_steps(transformer, other[:given_up])
        for _ in range(2):
            got: list[list[torch.Tensor]] = [[], []]
            for pair in zip(*halves, strict=True):
                for outputs, call in zip(got, pair, strict=True):
                    outputs += run_steps(transformer, [call])
            assert_equal(got[0], wanted[0])
            assert_equal(got[1], wanted[1])
        assert toca.summary(transformer).steps == method.plan(transformer, STEPS).steps


@every_family
def test_another_prompt_never_meets_old_features(family: str) -> None:
    """A generation given up after its first call, and another from the same noise at the same timestep: its calls are
    taken for branches of one step, but each prompt's features are its own."""
    transformer, method = TINY[family](), toca.FORA(interval=4)
    given_up, inputs = inputs_for(family, STEPS, seed=2), inputs_for(family, STEPS, seed=1)
    inputs = [call | {"hidden_states": mine["hidden_states"]} for call, mine in zip(inputs, given_up, strict=True)]
    stock = run_steps(transformer, inputs)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        run_steps(transformer, given_up[:1])
        got = run_steps(transformer, inputs)
    assert_equal(got[:2], stock[:2])
    assert differ(got[2:], stock[2:])


@pytest.mark.parametrize("family", ["pixart", "flux", "dit"])
def test_a_prompt_written_over_another_is_another(family: str) -> None:
    """A server may keep one buffer for the prompts of all requests."""
    transformer, name = TINY[family](), FAMILIES[family].condition
    calls = inputs_for(family, STEPS)
    buffer, other = calls[0][name].clone(), inputs_for(family, STEPS, seed=5)[0][name]
    calls = [call | {name: buffer} for call in calls]
    wanted = run_steps(transformer, [call | {name: other} for call in calls])[3]
    with toca.cached(transformer, toca.FORA(interval=8), num_inference_steps=STEPS):
        run_steps(transformer, calls[:3])
        buffer.copy_(other)
        assert torch.equal(run_steps(transformer, calls[3:4])[0], wanted)


@every_family
@pytest.mark.parametrize("name", ["preset", "gate", "forecast-blocks"])
def test_an_exception_leaves_nothing_alive(family: str, name: str) -> None:
    """Out of memory in a block: features and arguments are let go at once."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    toca.enable_cache(transformer, method_of(family, name), num_inference_steps=STEPS)
    run_steps(transformer, inputs[:1])
    held = [weakref.ref(tensor) for tensor in _tensors_of(transformer)]
    held.append(weakref.ref(inputs[1]["hidden_states"]))

    def out_of_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = transformer.transformer_blocks[0].register_forward_hook(out_of_memory)
    with contextlib.suppress(torch.OutOfMemoryError):
        run_steps(transformer, inputs[1:2])
    hook.remove()
    inputs.clear()
    gc.collect()
    assert len(held) > 1 and not any(tensor() is not None for tensor in held)


def _tensors_of(transformer: Any) -> list[torch.Tensor]:
    memories = engine_of(transformer).branches.values()
    return [tensor for memory in memories for part in memory.parts for tensor in part.tensors()]
