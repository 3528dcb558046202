"""A setting a request: `toca.cached` on one pipeline from many threads gives each its own picture, or refuses."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toca
from toca.engine.callers import Caller, Ownership

from .helpers import TINY_PIPELINES, pipeline_arguments

SETTINGS = (toca.FORA(interval=2), toca.FORA(interval=4), toca.NoCache(), toca.TaylorSeer(interval=3))
REFUSED = "Another thread or task is within `toca.cached` on this model: a pipeline serves one request at a time"
WAIT = 20


@pytest.fixture(scope="module")
def pipe() -> Any:
    return TINY_PIPELINES["dit"]()


@pytest.fixture(scope="module")
def wanted(pipe: Any) -> list[torch.Tensor]:
    made = [request(pipe, method) for method in SETTINGS]
    assert all(not torch.equal(made[0], other) for other in made[1:])
    return made


@pytest.fixture
def other() -> Iterator[Callable[..., Any]]:
    """Runs a function in another thread, which is the same one for all of a test's calls."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda function, *args, **kwargs: pool.submit(function, *args, **kwargs).result(WAIT)


def picture(pipe: Any) -> torch.Tensor:
    return torch.as_tensor(pipe(**pipeline_arguments("dit", 5))[0])


def request(pipe: Any, method: Any) -> torch.Tensor:
    with toca.cached(pipe, method):
        return picture(pipe)


@contextlib.contextmanager
def hasty_threads() -> Iterator[None]:
    """Threads are exchanged as often as they can be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


requests = st.lists(st.lists(st.integers(0, len(SETTINGS) - 1), min_size=1, max_size=3), min_size=2, max_size=4)


@settings(max_examples=5, deadline=None, derandomize=True, database=None)
@given(of_threads=requests, locked=st.booleans())
def test_each_request_gets_its_own_picture_or_a_sentence(
    pipe: Any, wanted: list[torch.Tensor], of_threads: list[list[int]], locked: bool
) -> None:
    """Whatever the threads ask for, and in whatever order they come; under a lock nobody is refused."""
    together, lock = threading.Barrier(len(of_threads)), threading.Lock() if locked else contextlib.nullcontext()

    def serve(asked: list[int]) -> list[str]:
        outcomes = []
        together.wait(WAIT)
        for number in asked:
            try:
                with lock:
                    made = request(pipe, SETTINGS[number])
                outcomes.append("right" if torch.equal(made, wanted[number]) else "wrong")
            except RuntimeError as error:
                outcomes.append(str(error))
        return outcomes

    with hasty_threads(), ThreadPoolExecutor(len(of_threads)) as pool:
        outcomes = [outcome for each in pool.map(serve, of_threads) for outcome in each]
    assert "right" in outcomes
    assert all(outcome == "right" or (outcome.startswith(REFUSED) and not locked) for outcome in outcomes), outcomes
    assert torch.equal(request(pipe, SETTINGS[0]), wanted[0])


def test_who_is_within_keeps_the_model(pipe: Any, wanted: list[torch.Tensor], other: Callable[..., Any]) -> None:
    """Another thread neither enters, nor puts a cache on or takes this one off, however the first one is along."""
    attempts = (
        lambda: request(pipe, SETTINGS[1]),
        lambda: toca.enable_cache(pipe.transformer, SETTINGS[1], num_inference_steps=5),
        lambda: toca.disable_cache(pipe),
    )
    with toca.cached(pipe, SETTINGS[0]):
        for attempt in attempts:
            with pytest.raises(RuntimeError, match=REFUSED):
                other(attempt)
        assert torch.equal(picture(pipe), wanted[0])
        with pytest.raises(RuntimeError, match=REFUSED):
            other(attempts[0])
    assert torch.equal(other(attempts[0]), wanted[1])


def test_a_thread_that_the_block_itself_starts_may_call(
    pipe: Any, wanted: list[torch.Tensor], other: Callable[..., Any]
) -> None:
    with toca.cached(pipe, SETTINGS[0]):
        assert torch.equal(other(picture, pipe), wanted[0])


def test_a_block_may_end_in_another_thread(pipe: Any, other: Callable[..., Any]) -> None:
    """As frameworks do with what a request depends on."""
    block = toca.cached(pipe, SETTINGS[0])
    other(block.__enter__)
    with pytest.raises(RuntimeError, match=REFUSED):
        request(pipe, SETTINGS[1])
    block.__exit__(None, None, None)
    request(pipe, SETTINGS[1])


def test_who_leaves_takes_off_nobody_elses_cache(
    pipe: Any, wanted: list[torch.Tensor], other: Callable[..., Any]
) -> None:
    theirs = toca.cached(pipe, SETTINGS[1])
    with toca.cached(pipe, SETTINGS[0]):
        toca.disable_cache(pipe)
        other(theirs.__enter__)
    assert torch.equal(other(picture, pipe), wanted[1])
    other(theirs.__exit__, None, None, None)
    with pytest.raises(ValueError, match="No toca cache is on"):
        toca.summary(pipe)


def test_a_block_whose_thread_has_ended_in_it_can_be_taken_off(pipe: Any) -> None:
    block = toca.cached(pipe, SETTINGS[0])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(block.__enter__).result(WAIT)
    with pytest.raises(ValueError, match="already on.*disable_cache"):
        request(pipe, SETTINGS[1])
    toca.disable_cache(pipe)
    request(pipe, SETTINGS[1])


def test_tasks_are_told_apart(pipe: Any, wanted: list[torch.Tensor]) -> None:
    async def serve(number: int) -> torch.Tensor:
        with toca.cached(pipe, SETTINGS[number]):
            await asyncio.sleep(0)
            return picture(pipe)

    async def both() -> list[Any]:
        return await asyncio.gather(serve(0), serve(1), return_exceptions=True)

    made, refused = asyncio.run(both())
    assert torch.equal(made, wanted[0])
    assert isinstance(refused, RuntimeError) and str(refused).startswith(REFUSED)


def test_a_call_that_is_under_way_is_waited_for(
    pipe: Any, wanted: list[torch.Tensor], other: Callable[..., Any]
) -> None:
    """The cache is not taken off between two of its blocks, but between two calls; those that follow run in full."""
    inside, go_on, off = threading.Event(), threading.Event(), threading.Event()

    def wait(*_: Any) -> None:
        if not inside.is_set():
            inside.set()
            assert go_on.wait(WAIT)
            assert not off.wait(0.2)

    def take_off() -> None:
        toca.disable_cache(pipe)
        off.set()

    toca.enable_cache(pipe, SETTINGS[0])
    hook = pipe.transformer.transformer_blocks[1].register_forward_hook(wait)
    with ThreadPoolExecutor(1) as painter:
        made = painter.submit(picture, pipe)
        assert inside.wait(WAIT)
        threading.Thread(target=take_off).start()
        go_on.set()
        assert off.wait(WAIT)
        # Its first call, which is full with a cache on or not; the others found none.
        assert torch.equal(made.result(WAIT), wanted[2])
    hook.remove()


def test_a_call_whose_thread_has_ended_is_not_waited_for() -> None:
    ownership = Ownership()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: ownership.enter(Caller.current(), lambda: True, lambda: True)).result(WAIT)
    ownership.close()
    assert not ownership.enter(Caller.current(), lambda: True, lambda: True)
