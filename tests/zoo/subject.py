"""A model of the zoo with what it does without a cache: made once, shared by the cells of all methods."""

from __future__ import annotations

import functools
from functools import cached_property
from typing import Any

from torch import Tensor, nn

import toca
from toca.eval.counting.flops import FlopMeter
from toca.models import FamilySpec, Layout, describe, family_of

from ..conformance.test_off_is_off import snapshot
from .tiny import EVERY, Tiny, run


def family_of_entry(entry: Tiny) -> FamilySpec | None:
    """The family that an entry's class is registered for; no model is made."""
    return family_of(entry.model_class.__new__(entry.model_class))


def supported() -> tuple[str, ...]:
    """The names in `EVERY` whose class has a family."""
    return tuple(name for name, entry in EVERY.items() if family_of_entry(entry) is not None)


@functools.lru_cache(maxsize=2)
def subject_of(name: str) -> Subject:
    """Kept until two others have been asked for: tests of one model come one after the other."""
    return Subject(EVERY[name])


class Subject:
    """A model in the dtype that it can be compared in, and its runs without a cache.

    Args:
        entry (`Tiny`): Of the zoo; its class has a family.
    """

    def __init__(self, entry: Tiny):
        self.entry = entry
        self.model: nn.Module = entry.make(entry.exact)
        spec = family_of(self.model)
        assert spec is not None
        self.spec: FamilySpec = spec
        self.untouched = snapshot(self.model)

    @property
    def batch(self) -> int:
        return 2 if self.entry.batches else 1

    @cached_property
    def layout(self) -> Layout:
        return describe(self.model, self.spec)

    def calls(self, **options: Any) -> list[dict[str, Any]]:
        """A generation's arguments; see `Tiny.inputs`."""
        return self.entry.generation(**{"batch": self.batch, "dtype": self.entry.exact, **options})

    @cached_property
    def _stock(self) -> tuple[list[list[Tensor]], int]:
        with FlopMeter() as meter:
            outputs = run(self.model, self.calls())
        return outputs, meter.total

    @property
    def stock(self) -> list[list[Tensor]]:
        """What the model returns in each step of a generation."""
        return self._stock[0]

    @property
    def flops(self) -> int:
        """FLOPs of that generation, as they are counted."""
        return self._stock[1]

    @cached_property
    def stock_still(self) -> list[list[Tensor]]:
        """The same for inputs that stand still."""
        return run(self.model, self.calls(still=True))

    @cached_property
    def shape(self) -> toca.CallShape:
        """Of a call, as the family reads it."""
        return self.spec.call_shape(self.model, self.calls()[0])
