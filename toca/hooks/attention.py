"""Attention: reused whole, measured on full steps, and for cross-attention partial.

It is the module that is reached, and not its processor: whatever processor is set, whenever, by whom, the module runs
it as it would without a cache. Only where attention is measured the family's dialect runs it, which sees the query and
key that make the output; so it does where tokens have been dropped before the first block, whose keys and values are
remembered, and where some queries alone are computed, whose positions they must keep.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import nn

from ..kernels.rows import put_rows
from ..models.dialect import AttentionDialect, Output, Present
from .classes import HANDLE, Function, Maker
from .handle import Handle


@functools.cache
def make_forward_with(dialect: AttentionDialect) -> Maker:
    """A maker of `forward` for attention modules of this dialect; the same one each time."""

    def make_forward(base: type[nn.Module]) -> Function:
        # As a function: diffusers allows some classes in graphs as they are, so tracing cannot look it up on them.
        stock = base.forward
        names = tuple(inspect.signature(stock).parameters)[1:]
        queries = names[0]
        text = next((name for name in names if name.endswith("encoder_hidden_states")), names[1] if names[1:] else "")
        probed = dialect.probed or queries

        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            handle: Handle | None = getattr(self, HANDLE, None)
            if handle is None:
                return stock(self, *args, **kwargs)
            # The queries come first, however the caller has named and ordered its arguments.
            named = {queries: None, **dict(zip(names[: len(args)], args, strict=True)), **kwargs}
            if handle.note_input:
                handle.noted = named[probed]
            if handle.action in ("reuse", "forecast"):
                return handle.filled()
            if handle.action == "skip":
                return (named[queries], named.get(text)) if handle.joint else handle.passed(named[queries])
            if handle.action == "partial":
                return _partial(stock, self, handle, dialect, {**named, queries: handle.picked(named[queries])})
            if handle.refresh or handle.present is not None:
                return _where_tokens_are_dropped(stock, self, handle, dialect, named)
            if handle.measure is None:
                return handle.kept(stock(self, **named))
            return handle.kept(_measured(stock, self, handle, dialect, named))

        vars(forward)["__signature__"] = inspect.signature(stock)
        return forward

    return make_forward


def _measured(stock: Function, attn: Any, handle: Handle, dialect: AttentionDialect, call: dict[str, Any]) -> Output:
    """The output; the statistic of the map that made it is kept."""
    measure, kept = handle.measure, handle.state.statistic  # type: ignore[union-attr]
    output, statistic = dialect.measured(stock, attn, call, measure, kept.shape[1])  # type: ignore[arg-type,union-attr]
    kept.copy_(statistic)  # type: ignore[union-attr]
    return output


def _where_tokens_are_dropped(
    stock: Function, attn: Any, handle: Handle, dialect: AttentionDialect, call: dict[str, Any]
) -> Output:
    """Attention of the tokens that are there to all tokens: their keys and values are renewed, those of the tokens
    that were dropped are as they were. Where none was dropped all are remembered. To text: by their own positions."""
    context = handle.state.context  # type: ignore[union-attr]
    if not handle.refresh:
        return dialect.for_queries(stock, attn, call, handle.present, None)[0]  # type: ignore[arg-type]
    if handle.present is not None:
        return dialect.with_dropped(stock, attn, call, handle.present, context.value)
    output, *held = dialect.remembered(stock, attn, call)
    context.renew(tuple(held), ())
    return handle.kept(output)


def _partial(
    stock: Function, attn: Any, handle: Handle, dialect: AttentionDialect, call: dict[str, Any]
) -> torch.Tensor:
    """Cross-attention of the chosen queries to all text tokens; their rows of the statistic are renewed too."""
    index, tokens = handle.chosen(), handle.state.terms.value.shape[1]  # type: ignore[union-attr]
    present = Present(index % tokens, tokens, 0, tokens, index)
    output, statistic = dialect.for_queries(stock, attn, call, present, handle.measure)
    if statistic is not None:
        put_rows(handle.state.statistic[..., None], index, statistic[..., None])  # type: ignore[union-attr,index]
    return handle.refreshed(output)
