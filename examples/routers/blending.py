"""Soft caching: each site's output is blended from what it computes and what it computed before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from toca.axes.actions import COMPUTE, REUSE
from toca.engine.connection import Connection
from toca.engine.decisions import Decisions
from toca.hooks.handle import Handle
from toca.methods import FORA
from toca.models import Layout, describe, known_family
from toca.plan import Plan


class SoftHandle(Handle):
    """The handle of a site that always computes, and hands on r f + (1 - r) kept instead of its output f.

    Attributes:
        r (`Tensor` or `None`): The weight of what is computed; `None` hands on f itself.
        keeps (`bool`): Whether f replaces what was kept.
        last (`tuple[Tensor, ...]`): What was kept: one tensor, or those of the streams of joint attention.
    """

    def __init__(self) -> None:
        super().__init__()
        self.soften(None, False)
        self.last: tuple[Tensor, ...] = ()

    def soften(self, r: Tensor | None, keeps: bool) -> None:
        """What the site does in the next calls."""
        self.r, self.keeps = r, keeps
        self.keep = keeps or r is not None  # a parallel block asks only a handle that keeps

    def kept(self, output: Any) -> Any:
        fresh = output if isinstance(output, tuple) else (output,)
        blended = fresh if self.r is None else tuple(map(self._blend, fresh, self.last))
        if self.keeps:
            self.last = tuple(part.detach() for part in fresh)
        return blended if isinstance(output, tuple) else blended[0]

    def _blend(self, fresh: Tensor, last: Tensor) -> Tensor:
        r = self.r.to(fresh.dtype)  # type: ignore[union-attr]
        return r * fresh + (1 - r) * last


def _reaching_all(layout: Layout) -> Plan:
    """A plan in which every site is filled in a step where its output is looked at: what is connected is what is."""
    plan = FORA(3, counts_down=False).plan_layout(layout, 3)
    outer = {(site.layer, site.inside) for site in layout.sites}
    inner_filled = tuple(COMPUTE if site.key in outer else REUSE for site in layout.sites)
    return replace(plan, table=(plan.table[0], inner_filled, plan.table[2]))


class Blender:
    """Soft handles on every site of a transformer, for the length of a `with` block.

    They sit where a cache's own handles sit, so that what is blended is what a cache keeps: the output before the
    adaLN gate, of joint attention for each stream, of a parallel block before its residual. While `blending` a
    gradient reaches r through the rest of the network. Otherwise the transformer computes as ever.

    Args:
        transformer (`nn.Module`): A transformer of a family that toca knows.

    Raises:
        ValueError: If it is of another family.
    """

    def __init__(self, transformer: nn.Module):
        spec = known_family(transformer)
        layout = describe(transformer, spec)
        self.transformer = transformer
        self.handles = [SoftHandle() for _ in layout.sites]
        # A site within another is not run at all where that one is reused, and then keeps nothing new.
        places = {site.key: i for i, site in enumerate(layout.sites)}
        self._outer = [i if s.inside is None else places[s.layer, s.inside] for i, s in enumerate(layout.sites)]
        decisions = Decisions(layout, spec)
        decisions.handles = list[Handle](self.handles)
        self._connection = Connection(transformer, spec, decisions)
        self._plan = _reaching_all(layout)

    def __enter__(self) -> Blender:
        self._connection.follow(self.transformer, self._plan)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.remove(self.transformer)
        for handle in self.handles:
            handle.last = ()

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Within the block every site computes, and its output is kept."""
        with self._softened([None] * len(self.handles), [True] * len(self.handles)):
            yield

    @contextmanager
    def blending(self, weights: Tensor, keeps: Sequence[bool] | None = None) -> Iterator[None]:
        """Within the block every site hands on a blend.

        Args:
            weights (`Tensor`): r, one a site.
            keeps (`Sequence[bool]`, *optional*): The sites whose fresh output replaces the one kept; none by default.
        """
        keeps = [False] * len(self.handles) if keeps is None else keeps
        with self._softened(list(weights), [keeps[i] and keeps[outer] for i, outer in enumerate(self._outer)]):
            yield

    @contextmanager
    def _softened(self, weights: Sequence[Tensor | None], keeps: Sequence[bool]) -> Iterator[None]:
        for handle, r, keep in zip(self.handles, weights, keeps, strict=True):
            handle.soften(r, keep)
        try:
            yield
        finally:
            for handle in self.handles:
                handle.soften(None, False)
