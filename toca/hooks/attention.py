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

from torch import nn

from ..kernels.rows import put_rows, take_rows
from ..models.dialect import AttentionDialect, Output, Present, over_batch
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
                return _partial(stock, self, handle, dialect, named, probed)
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
        held = context.value
        output = dialect.with_dropped(stock, attn, call, handle.present, held)
        context.rewrite(held)
        return output
    kept, measure = handle.state.statistic, handle.measure  # type: ignore[union-attr]
    tokens = 0 if kept is None else kept.shape[1]
    output, *whole, statistic = dialect.remembered(stock, attn, call, measure, tokens)
    context.renew(tuple(whole), ())
    if statistic is not None:
        kept.copy_(statistic)  # type: ignore[union-attr]
    return handle.kept(output)


def _of_chosen(
    stock: Function, attn: Any, handle: Handle, dialect: AttentionDialect, call: dict[str, Any], given: str
) -> Output:
    """Self-attention of the chosen tokens, and of all beside the image's, to all tokens: the keys and values of the
    others are as they were."""
    handle.present = present = handle.row.with_chosen(handle.chosen())  # type: ignore[union-attr]
    tokens = call[given]
    if not handle.lean_norm:
        if tokens.shape[1] not in (present.tokens, present.image_tokens):
            raise ValueError(
                f"The self-attention of {type(attn).__name__} is given {tokens.shape[1]} tokens, neither those of the "
                "image nor those of its row, and cannot be made for some of them."
            )
        whole = tokens.shape[1] == present.tokens
        index = present.over_batch if whole else over_batch(present.image_places, present.image_tokens)
        tokens = take_rows(tokens, index)
    context = handle.state.context  # type: ignore[union-attr]
    held = context.value
    output = dialect.with_dropped(stock, attn, {**call, given: tokens}, present, held)
    context.rewrite(held)
    return handle.refreshed_at(output, present)


def _partial(
    stock: Function, attn: Any, handle: Handle, dialect: AttentionDialect, call: dict[str, Any], given: str
) -> Output:
    """Cross-attention of the chosen queries to all text tokens; their rows of the statistic are renewed too. Or
    self-attention of what is `given`."""
    if handle.row is not None:
        return _of_chosen(stock, attn, handle, dialect, call, given)
    queries = next(iter(call))
    call = {**call, queries: handle.picked(call[queries])}
    index, tokens = handle.chosen(), handle.state.terms.tokens  # type: ignore[union-attr]
    present = Present(index % tokens, tokens, 0, tokens, index)
    output, statistic = dialect.for_queries(stock, attn, call, present, handle.measure)
    if statistic is not None:
        put_rows(handle.state.statistic[..., None], index, statistic[..., None])  # type: ignore[union-attr,index]
    return handle.refreshed(output)
