"""Soft caching: each site's output is blended from what it computes and what it computed before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from toca.models import family_of, walk_blocks

FAMILIES = ("dit", "pixart")


class Blender:
    """Forward hooks on every site of a transformer, for the length of a `with` block.

    A hook sees the module's output f before the adaLN gate, which is what a cache keeps. While `blending`, it hands on
    r f + (1 - r) kept instead (this is how both papers train their routers), and a gradient reaches r through the rest
    of the network. Otherwise the transformer is untouched.

    Args:
        transformer (`nn.Module`): A DiT or PixArt transformer.

    Raises:
        ValueError: If it is of another family.
    """

    def __init__(self, transformer: nn.Module):
        spec = family_of(transformer)
        if spec is None or spec.name not in FAMILIES:
            name = type(transformer).__name__
            raise ValueError(f"Routers are trained for the families {' and '.join(FAMILIES)}, not for {name}.")
        self.modules = [
            block.get_submodule(site.path)
            for *_, block, block_spec in walk_blocks(transformer, spec)
            for site in block_spec.sites
        ]
        self.kept: list[Tensor | None] = [None] * len(self.modules)
        self._weights: Tensor | None = None
        self._keeps: Sequence[bool] = (False,) * len(self.modules)
        self._handles: list = []

    def __enter__(self) -> Blender:
        self._handles = [module.register_forward_hook(partial(self._hook, i)) for i, module in enumerate(self.modules)]
        return self

    def __exit__(self, *_) -> None:
        for handle in self._handles:
            handle.remove()
        self.kept = [None] * len(self.modules)

    def _hook(self, i: int, _module: nn.Module, _arguments: tuple, fresh: Tensor) -> Tensor:
        output = fresh
        if self._weights is not None:
            r = self._weights[i].to(fresh.dtype)
            output = r * fresh + (1 - r) * self.kept[i]
        if self._keeps[i]:
            self.kept[i] = fresh.detach()
        return output

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Within the block every site computes, and its output is kept."""
        with self._switched(None, [True] * len(self.modules)):
            yield

    @contextmanager
    def blending(self, weights: Tensor, keeps: Sequence[bool] | None = None) -> Iterator[None]:
        """Within the block every site hands on a blend.

        Args:
            weights (`Tensor`): r, one a site.
            keeps (`Sequence[bool]`, *optional*): The sites whose fresh output replaces the one kept; none by default.
        """
        with self._switched(weights, [False] * len(self.modules) if keeps is None else keeps):
            yield

    @contextmanager
    def _switched(self, weights: Tensor | None, keeps: Sequence[bool]) -> Iterator[None]:
        before = self._weights, self._keeps
        self._weights, self._keeps = weights, keeps
        try:
            yield
        finally:
            self._weights, self._keeps = before
