"""What a stock pipeline leaves out that the caches of diffusers rely on."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from toca.eval.peers.held import held_bytes
from toca.eval.peers.peer import PeerRefusal

_ONLY_CONTEXT = "call"


class Host:
    """Stands between a pipeline and one of its transformers, and adds what is missing:

    - a cache context around each call, where the pipeline opens none (PixArt, DiT, Latte), which a bare
      `enable_cache` answers with an error;
    - the reset at the end of a call, where the model has none (PixArt, DiT, SD3);
    - the timestep, where the pipeline does not tell it;
    - a refusal where two calls have one timestep and the cache could not tell them apart: their features would mix.

    All of it is put on the instance; `unchanged` takes it off.

    Args:
        pipe: The pipeline.
        transformer (`nn.Module`): The denoiser.
        title (`str`): The peer, for messages.
        knows_branches (`bool`): Whether the peer keeps the branches of guidance apart where the pipeline names them.
        num_inference_steps (`int`): Steps of a generation.
    """

    def __init__(
        self, pipe: Any, transformer: nn.Module, title: str, knows_branches: bool, num_inference_steps: int
    ) -> None:
        self.transformer = transformer
        self.held = 0
        self._steps, self._calls = num_inference_steps, 0
        self._pipe, self._title, self._knows_branches = pipe, title, knows_branches
        self._forward = transformer.forward
        self._context = getattr(transformer, "cache_context", None)
        self._is_named = False
        self._timestep: float | None = None

    def attach(self) -> None:
        """Put it on, before the cache."""
        module: Any = self.transformer
        registry = vars(module).get("_diffusers_hook")
        if hasattr(registry, "_child_registries_cache"):
            # diffusers 0.38 looks for hooks once, and never finds those of a cache that comes later.
            registry._child_registries_cache = None
        module.forward = functools.update_wrapper(functools.partial(self._call), self._forward)
        module._reset_stateful_cache = self._reset
        if self._context is not None:
            module.cache_context = functools.partial(self._named, self._context)

    @property
    def timestep(self) -> float:
        """The timestep of the current call, in the scheduler's own units where the pipeline tells it."""
        told = getattr(self._pipe, "current_timestep", None)
        return float(self._timestep or 0.0) if told is None else float(told)

    @property
    def hooks(self) -> list[Any]:
        """The hooks of diffusers on the transformer and all within it."""
        registries = [getattr(module, "_diffusers_hook", None) for module in self.transformer.modules()]
        return [hook for registry in registries if registry is not None for hook in registry.hooks.values()]

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        from diffusers import CacheMixin

        self._note(kwargs.get("timestep"))
        self._calls += 1
        if self._calls == self._steps:  # once: some caches let go in the last call, and looking costs time
            self._weigh()
        if self._is_named:
            return self._forward(*args, **kwargs)
        with CacheMixin.cache_context(self.transformer, _ONLY_CONTEXT):
            return self._forward(*args, **kwargs)

    def _note(self, timestep: Any) -> None:
        now = None if timestep is None else float(torch.as_tensor(timestep).flatten()[0])
        told_apart = self._is_named and self._knows_branches
        if now is not None and now == self._timestep and not told_apart:
            raise PeerRefusal(
                f"{type(self._pipe).__name__} calls its transformer more than once at a timestep, and {self._title} "
                "would mix what these calls compute: take guidance that is computed in one batch, or none."
            )
        self._timestep = now

    @contextlib.contextmanager
    def _named(self, context: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[None]:
        """The model's own `cache_context`, noted: what the pipeline opens must not be covered by one of ours."""
        with context(*args, **kwargs):
            self._is_named = True
            try:
                yield
            finally:
                self._is_named = False

    def _reset(self, *args: Any, **kwargs: Any) -> None:
        """The end of a generation; what the cache holds is measured before it lets go."""
        from diffusers.hooks import HookRegistry

        self._weigh()
        HookRegistry.check_if_exists_or_initialize(self.transformer).reset_stateful_hooks()
        self._timestep, self._calls = None, 0

    def _weigh(self) -> None:
        self.held = max(self.held, held_bytes(self.hooks))
