"""Notes which tokens a method recomputes while a pipeline runs: for heat maps of the report and the demo."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from toca.api import plan_of
from toca.hooks.watch import Watch
from toca.models import CallShape, family_of
from toca.models.streams import IMAGE
from toca.plan.table import PlanTable

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


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
        plan_of(transformer)
        spec = family_of(transformer)
        assert spec is not None, "a cache is on"
        self._transformer, self._spec = transformer, spec
        self._names = tuple(inspect.signature(type(transformer).forward).parameters)[1:]
        self._watch = Watch(transformer, self._note)
        self._hook: RemovableHandle | None = None
        self._shape: CallShape | None = None
        self._grid: tuple[int, int] | None = None
        self._counts = torch.zeros(0)
        self._counted: list[int] = []
        self._chances = 0

    def __enter__(self) -> TokenRecorder:
        self._hook = self._transformer.register_forward_pre_hook(self._before, with_kwargs=True)
        self._watch.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._watch.__exit__(*error)
        if self._hook is not None:
            self._hook.remove()

    def _before(self, transformer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A call begins: the cache's own hook, which stands before this one, has decided."""
        call = dict(zip(self._names, args, strict=False)) | kwargs
        shape = self._spec.call_shape(transformer, call)
        if self._shape is None:
            self._shape, self._grid = shape, shape.grid or (self._spec.grid(call) if self._spec.grid else None)
            self._counts = torch.zeros(shape.batch, shape.frames, shape.tokens)
        elif shape != self._shape:
            raise ValueError(f"The calls differ in size, {self._shape} and {shape}: record one generation at a time.")
        plan = plan_of(transformer)
        self._counted = [] if plan is None else _counted(plan)
        self._chances += len(self._counted)

    def _note(self, site: int, tokens: Tensor | None) -> None:
        if site not in self._counted:
            return
        if tokens is None:
            self._counts += 1
        else:
            places = self._places(site, tokens.cpu())
            self._counts.view(-1).index_add_(0, places, torch.ones(len(places)))

    def _places(self, site: int, index: Tensor) -> Tensor:
        """Places among the image tokens of an index that counts a site's own tokens over the batch."""
        plan, shape = plan_of(self._transformer), self._shape
        assert plan is not None and shape is not None, "a call runs"
        found = plan.layout.sites[site]
        image, (_, tokens) = found.place(IMAGE, shape), found.geometry(shape)
        row, token = index // tokens, index % tokens - image.start
        own = image.stop - image.start
        return (row * own + token)[(token >= 0) & (token < own)]

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
        if not self._chances:
            raise ValueError("No token-wise step was recorded: run the pipeline with a token-wise method inside.")
        if self._grid is None:
            raise ValueError("The image tokens form no grid, so that there is no map of them.")
        shares = self._counts.unflatten(0, (-1, samples)).mean(0) / self._chances
        return shares.unflatten(-1, self._grid).numpy()


def _counted(plan: PlanTable) -> list[int]:
    """The sites that count: token-wise ones with the image's tokens in rows of one sample or frame."""
    if plan.gate is not None:
        raise ValueError(
            f"{plan.method} decides for each image by itself, so its tokens cannot be recorded: record a method that "
            "follows a plan."
        )
    sites = plan.layout.sites
    own = [i for i in plan.partial_sites if sites[i].has_image]
    # Where tokens are dropped before the first block, attention is the one that is told which are there.
    return [i for i in own if i in plan.attended_sites] if plan.selection_spans else own
