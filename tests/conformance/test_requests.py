"""Whatever one pipeline was asked before, a request makes what it makes on a pipeline that was asked nothing.

Requests are drawn by chance: steps, sizes, prompts, guidance, negative prompts, schedulers, exceptions within a block
or between two steps, interrupts.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import diffusers
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

import toca

from ..helpers import FAMILIES, LATTE_SIZE, TEXT_TOKENS, TINY_PIPELINES
from .test_arguments import CALIBRATED, method_named, methods_of
from .test_resets import first_stack

PROMPTS = ("a red owl on a wire", "the big moon", "")
DDIM, DPM = diffusers.DDIMScheduler, diffusers.DPMSolverMultistepScheduler
EULER, FLOW = diffusers.EulerDiscreteScheduler, diffusers.FlowMatchEulerDiscreteScheduler
SCHEDULERS: dict[str, tuple[Any, ...]] = {
    "dit": (DDIM, DPM, functools.partial(DDIM, timestep_spacing="trailing")),
    "pixart": (DPM, EULER, DDIM),
    "latte": (DDIM, DPM, diffusers.EulerAncestralDiscreteScheduler),
    "flux": (functools.partial(FLOW, use_dynamic_shifting=True), functools.partial(FLOW, shift=3.0)),
}
GUIDANCE = {"dit": (1.0, 4.0), "pixart": (1.0, 4.5), "latte": (1.0, 7.5), "flux": (3.5, 1.0)}
CASES = [(family, name) for family in FAMILIES for name in methods_of(family) if name not in CALIBRATED]
# Every method once, the families in turn.
NAMES = list(dict.fromkeys(name for _, name in CASES))
CHOSEN = [
    [case for case in CASES if case[1] == name][i % sum(case[1] == name for case in CASES)]
    for i, name in enumerate(NAMES)
]

# The same ones in every run: what is drawn anew is behind the marker.
FEW = settings(deadline=None, derandomize=True, phases=[Phase.generate])


@dataclass(frozen=True)
class Request:
    """What somebody asks for, and what goes wrong: `stopped` is the block call that raises, `ends` how."""

    steps: int
    seed: int
    prompts: tuple[int, ...]
    negative: bool
    guidance: int
    wide: bool
    scheduler: int | None
    stopped: int | None
    ends: str


REQUESTS = st.builds(
    Request,
    steps=st.integers(1, 7),
    seed=st.integers(0, 1),
    prompts=st.lists(st.integers(0, 2), min_size=1, max_size=2).map(tuple),
    negative=st.booleans(),
    guidance=st.integers(0, 1),
    wide=st.booleans(),
    scheduler=st.none() | st.integers(0, 2),
    stopped=st.none() | st.integers(0, 5),
    ends=st.sampled_from(["block", "between", "interrupt"]),
)


class Stop(Exception):
    """Raised where a request is to end."""


def answer(pipe: Any, family: str, request: Request) -> Tensor | str:
    """What a pipeline makes of a request, or how it fails."""
    if request.scheduler is not None:
        makers = SCHEDULERS[family]
        pipe.scheduler = makers[request.scheduler % len(makers)]()
    try:
        with failing(pipe, request):
            output = pipe(**arguments(family, request))
    except Exception as error:  # noqa: BLE001
        # Some schedulers cannot take one step, and some methods not so few.
        return f"{type(error).__name__}: {error}"
    return torch.as_tensor(output[0])


def arguments(family: str, request: Request) -> dict[str, Any]:
    common = {
        "num_inference_steps": request.steps,
        "generator": torch.Generator().manual_seed(request.seed),
        "guidance_scale": GUIDANCE[family][request.guidance],
    }
    if family == "dit":
        return common | {"class_labels": [7 * i for i in request.prompts], "output_type": "pt"}
    common |= {"prompt": [PROMPTS[i] for i in request.prompts], "output_type": "latent"}
    if family == "flux":
        side = {"width": 48} if request.wide else {}
        return common | {"max_sequence_length": TEXT_TOKENS, "height": 32, "width": 32} | side
    if request.negative:
        common |= {"negative_prompt": "a wire" if family == "latte" else ["a wire"] * len(request.prompts)}
    if family == "latte":
        return common | {"clean_caption": False} | LATTE_SIZE | ({"width": 48} if request.wide else {})
    return (
        common
        | {"clean_caption": False, "use_resolution_binning": False, "height": 256, "width": 256}
        | ({"width": 384} if request.wide else {})
    )


@contextlib.contextmanager
def failing(pipe: Any, request: Request) -> Iterator[None]:
    """The request's end before its time, within the model or between two calls of it."""
    calls = iter(range(1000))

    def end(*_: Any) -> None:
        if next(calls) != request.stopped:
            return
        if request.ends == "interrupt":
            pipe._interrupt = True
        else:
            raise Stop

    where = first_stack(pipe.transformer)[1] if request.ends == "block" else pipe.transformer
    hook = where.register_forward_hook(end)
    try:
        yield
    finally:
        hook.remove()


@functools.cache
def fresh(family: str, name: str, request: Request, scheduler: int | None) -> Tensor | str:
    """The answer of a pipeline that was asked nothing before, whose scheduler is the one at hand."""
    pipe = TINY_PIPELINES[family]()
    if scheduler is not None:
        pipe.scheduler = SCHEDULERS[family][scheduler % len(SCHEDULERS[family])]()
    toca.enable_cache(pipe, method_named(family, name))
    return answer(pipe, family, request)


def check(family: str, name: str, requests: list[Request]) -> None:
    pipe, scheduler = TINY_PIPELINES[family](), None
    toca.enable_cache(pipe, method_named(family, name))
    for request in requests:
        scheduler = scheduler if request.scheduler is None else request.scheduler
        made, wanted = answer(pipe, family, request), fresh(family, name, request, scheduler)
        assert type(made) is type(wanted)
        assert made == wanted if isinstance(made, str) else torch.equal(made, wanted)


@pytest.mark.parametrize(("family", "name"), CHOSEN)
@settings(FEW, max_examples=4)
@given(requests=st.lists(REQUESTS, min_size=3, max_size=5))
def test_requests(family: str, name: str, requests: list[Request]) -> None:
    check(family, name, requests)


@pytest.mark.matrix
@pytest.mark.parametrize(("family", "name"), CASES)
@settings(max_examples=15, deadline=None)
@given(requests=st.lists(REQUESTS, min_size=3, max_size=6))
def test_many_requests(family: str, name: str, requests: list[Request]) -> None:
    check(family, name, requests)
