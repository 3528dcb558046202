"""Attention: reused whole, measured on full steps, and for cross-attention partial.

It is the module that is reached, and not its processor: whatever processor is set, whenever, by whom, the module runs
it as it would without a cache. Only where attention is measured the family's dialect stands in, which projects query
and key once for both the output and the measurement; so it does where tokens have been dropped before the first
block, whose keys and values are remembered.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..kernels.rows import put_rows
from ..models.attention import AttentionDialect, Output, Projected, heads_first, tokens_first
from .classes import HANDLE, Function, Maker
from .handle import Handle


def can_measure(attn: Any, dialect: AttentionDialect) -> bool:
    """Whether the dialect speaks the mathematics of the processor that `attn` has."""
    plain = not getattr(attn, "residual_connection", False) and getattr(attn, "rescale_output_factor", 1.0) == 1.0
    normed = any(getattr(attn, name, None) is not None for name in ("spatial_norm", "group_norm", "norm_cross"))
    processor = type(attn.get_processor())
    known = processor.__name__ in dialect.processors and processor.__module__.partition(".")[0] == "diffusers"
    return known and plain and not normed


@functools.cache
def make_forward_with(dialect: AttentionDialect) -> Maker:
    """A maker of `forward` for attention modules of this dialect; the same one each time."""

    def make_forward(base: type[nn.Module]) -> Function:
        # As a function: diffusers allows some classes in graphs as they are, so tracing cannot look it up on them.
        stock = base.forward
        names = tuple(inspect.signature(stock).parameters)[1:]

        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            handle: Handle | None = getattr(self, HANDLE, None)
            if handle is None:
                return stock(self, *args, **kwargs)
            named = {**dict(zip(names[: len(args)], args, strict=True)), **kwargs}
            if handle.note_input:
                handle.noted = named["hidden_states"]
            if handle.action in ("reuse", "forecast"):
                return handle.filled()
            if handle.action == "skip":
                queries = named["hidden_states"]
                return (queries, named.get("encoder_hidden_states")) if handle.joint else queries
            if handle.action == "partial":
                return _partial(stock, self, handle, dialect, named)
            if handle.refresh:
                return _to_all_tokens(self, handle, dialect, named)
            if handle.measure is None:
                return handle.kept(stock(self, **named))
            output, statistic = _measured(self, handle.measure, dialect, named)
            handle.state.statistic.copy_(statistic)  # type: ignore[union-attr]
            return handle.kept(output)

        vars(forward)["__signature__"] = inspect.signature(stock)
        return forward

    return make_forward


def _measured(
    attn: Any, measure: Callable[[Projected], torch.Tensor], dialect: AttentionDialect, call: dict[str, Any]
) -> tuple[Any, torch.Tensor]:
    """The output, and the statistic of the map that made it."""
    projected = dialect.project(attn, call)
    return dialect.finish(attn, projected, call), measure(projected)


def _to_all_tokens(attn: Any, handle: Handle, dialect: AttentionDialect, call: dict[str, Any]) -> Output:
    """Attention of the tokens that are there to all tokens: their keys and values are renewed, those of the tokens
    that were dropped are as they were. Where none was dropped all are remembered."""
    context, index = handle.state.context, handle.index  # type: ignore[union-attr]
    if index is None:
        projected = dialect.project(attn, call)
        context.renew((tokens_first(projected.key), tokens_first(projected.value)), ())
        return dialect.finish(attn, projected, call)
    keys = context.value[0].shape[1]
    # The mask is one of all keys, and is made for them below.
    projected = dialect.project(attn, {**dialect.placed(call, index % keys), "attention_mask": None})
    heads = projected.key.shape[1]
    key, value = (
        heads_first(put_rows(held, index, tokens_first(rows)), heads)
        for held, rows in zip(context.value, (projected.key, projected.value), strict=True)
    )
    whole = Projected(projected.query, key, value, dialect.mask(attn, call, keys))
    return dialect.finish(attn, whole, call)


def _partial(
    stock: Function, attn: Any, handle: Handle, dialect: AttentionDialect, call: dict[str, Any]
) -> torch.Tensor:
    """Cross-attention of the chosen queries to all text tokens; their rows of the statistic are renewed too."""
    picked = {**call, "hidden_states": handle.picked(call["hidden_states"])}
    if handle.measure is None:
        return handle.refreshed(stock(attn, **picked))
    output, statistic = _measured(attn, handle.measure, dialect, picked)
    put_rows(handle.state.statistic[..., None], handle.chosen(), statistic[..., None])  # type: ignore[union-attr,index]
    return handle.refreshed(output)
