"""The name of the branch of guidance that a caller is in, as its pipeline gives it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

GUIDERS_NAMES = {"pred_cond": "cond", "pred_uncond": "uncond"}
"""What diffusers' guiders call the branches that pipelines call `cond` and `uncond`."""

_names: ContextVar[Mapping[int, str]] = ContextVar("toca_branch_names", default=MappingProxyType({}))
"""For each `BranchNames` the name that its caller is in; another thread or task has its own."""


class BranchNames:
    """The names that the callers of one transformer are in."""

    @property
    def current(self) -> str | None:
        """The name of the branch that the caller is in."""
        return _names.get().get(id(self))

    @contextlib.contextmanager
    def named(self, name: str) -> Iterator[None]:
        """Calls in the `with` block are of the branch of this name."""
        token = _names.set({**_names.get(), id(self): GUIDERS_NAMES.get(name, name)})
        try:
            yield
        finally:
            _names.reset(token)
