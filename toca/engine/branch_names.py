"""What a pipeline says of a call in `cache_context`: the name of the branch of guidance, and maybe the step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

GUIDERS_NAMES = {"pred_cond": "cond", "pred_uncond": "uncond"}
"""What diffusers' guiders call the branches that pipelines call `cond` and `uncond`."""


@dataclass(frozen=True)
class Told:
    """What a caller says of its calls.

    Args:
        name (`str` or `None`): Of the branch of guidance.
        step (`int` or `None`): Which step of its loop it is in.
        num_inference_steps (`int` or `None`): How many steps its loop has.
    """

    name: str | None = None
    step: int | None = None
    num_inference_steps: int | None = None

    def step_of(self, num_inference_steps: int) -> int | None:
        """The step in a loop of so many; `None` where it was not told, or is none of them."""
        known = self.step is not None and 0 <= self.step < num_inference_steps
        return self.step if known else None


NOTHING = Told()
_told: ContextVar[Mapping[int, Told]] = ContextVar("toca_told", default=MappingProxyType({}))
"""For each `BranchNames` what its caller has told; another thread or task has its own."""


class BranchNames:
    """What the callers of one transformer say."""

    @property
    def current(self) -> Told:
        """Of the call that is made now."""
        return _told.get().get(id(self), NOTHING)

    @contextlib.contextmanager
    def named(self, name: str, step_index: Any = None, num_inference_steps: Any = None, **_: Any) -> Iterator[None]:
        """Calls in the `with` block are of the branch of this name; the arguments are `cache_context`'s."""
        numbers = (int(number) if isinstance(number, int) else None for number in (step_index, num_inference_steps))
        token = _told.set({**_told.get(), id(self): Told(GUIDERS_NAMES.get(name, name), *numbers)})
        try:
            yield
        finally:
            _told.reset(token)
