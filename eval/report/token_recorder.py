"""Notes which tokens a method recomputes while a pipeline runs, for the heat maps of the report."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from toca.engine.install import engine_of
from toca.models import walk_blocks


class TokenRecorder:
    """While it is entered, counts for each image token how many of the token-wise sites computed it, step by step.

        with toca.cached(pipe, method), TokenRecorder(pipe.transformer) as recorder:
            pipe(prompts)
        shares = recorder.shares(samples=len(prompts))

    It counts over the sites that recompute a part of their tokens in some step, the full steps too. Enter it when the
    cache is on: it looks at what the cache has decided, and changes nothing. For eager mode.

    Args:
        transformer (`nn.Module`): A transformer whose cache is on.

    Raises:
        ValueError: If no cache is on.
    """

    def __init__(self, transformer: nn.Module) -> None:
        engine = engine_of(transformer)
        if engine is None:
            raise ValueError("No cache is on: call toca.enable_cache before tokens are recorded.")
        self._engine, self._transformer = engine, transformer
        self._handles: list[Any] = []
        self._shape: Any = None
        self._grid: tuple[int, int] | None = None
        self._counts: torch.Tensor | None = None
        self._chances = 0

    def __enter__(self) -> TokenRecorder:
        engine = self._engine
        self._handles.append(self._transformer.register_forward_pre_hook(self._before, with_kwargs=True))
        sites = iter(range(len(engine.layout.sites)))
        for _, _, _, block, spec in walk_blocks(self._transformer, engine.spec):
            for site in spec.sites:
                module = block.get_submodule(site.path)
                self._handles.append(module.register_forward_hook(self._note_for(next(sites))))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _before(self, transformer: nn.Module, args: tuple, kwargs: dict) -> None:
        """A call begins: the cache's own hook, which stands before this one, has decided."""
        call = dict(zip(self._engine.argument_names, args, strict=False)) | kwargs
        shape = self._engine.spec.call_shape(transformer, call)
        if self._counts is None:
            finds_grid = self._engine.spec.grid
            self._shape, self._grid = shape, shape.grid or (finds_grid(call) if finds_grid else None)
            self._counts = torch.zeros(shape.batch, shape.frames, shape.tokens)
        elif shape != self._shape:
            raise ValueError(f"The calls differ in size, {self._shape} and {shape}: record one generation at a time.")
        self._chances += len(self._counted())

    def _counted(self) -> list[int]:
        """The sites that count: token-wise ones with the image's tokens in rows of one sample or frame."""
        plan, sites = self._engine.record.plan, self._engine.layout.sites
        if plan is None:
            return []
        if plan.gate is not None:
            raise ValueError(
                f"{plan.method} decides for each image by itself, so its tokens cannot be recorded: record a method "
                "that follows a plan."
            )
        own = [i for i in plan.partial_sites if sites[i].stream != "text" and sites[i].rows != "position"]
        # Where tokens are dropped before the first block, attention is the one that is told which are there.
        return [i for i in own if sites[i].attends == "self"] if plan.narrows_stack else own

    def _note_for(self, i: int) -> Any:
        def note(module: nn.Module, args: tuple, output: Any) -> None:
            handle = self._engine.freezer.handles[i]
            if self._counts is None or i not in self._counted() or handle.action in ("reuse", "forecast", "skip"):
                return
            if handle.index is None:
                self._counts += 1
            else:
                places = self._places(i, handle.index.cpu().flatten())
                self._counts.view(-1).index_add_(0, places, torch.ones(len(places)))

        return note

    def _places(self, i: int, index: torch.Tensor) -> torch.Tensor:
        """Places among the image tokens of an index that counts a site's own tokens over the batch."""
        text = self._shape.text_tokens if self._engine.layout.sites[i].stream == "joint" else 0
        row, token = index // (text + self._shape.tokens), index % (text + self._shape.tokens) - text
        return (row * self._shape.tokens + token)[token >= 0]

    def shares(self, samples: int) -> np.ndarray:
        """Share of the chances to be computed that each token was.

        Args:
            samples (`int`): Pictures or videos that were made; where guidance runs in one batch with them, its
                branches are averaged.

        Returns:
            `np.ndarray`: (samples, frames, rows, columns), float32, 0 to 1.

        Raises:
            ValueError: If nothing was recorded, or the tokens form no grid.
        """
        if self._counts is None or not self._chances:
            raise ValueError("No token-wise step was recorded: run the pipeline with a token-wise method inside.")
        if self._grid is None:
            raise ValueError("The image tokens form no grid, so that there is no map of them.")
        shares = self._counts.unflatten(0, (-1, samples)).mean(0) / self._chances
        return shares.unflatten(-1, self._grid).numpy()
