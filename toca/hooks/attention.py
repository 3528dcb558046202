"""Attention, reached through the processor: reused whole, measured on full steps, and for cross-attention partial.

Where nothing is measured the stock processor runs, whatever it is. Where attention is measured, the family's dialect
projects query and key once for both the output and the measurement; so it does where tokens have been dropped before
the first block, whose keys and values are remembered.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable

from ..kernels.rows import put_rows
from ..models.attention import AttentionDialect, Projected, heads_first, tokens_first
from .classes import HANDLE, derived_class, refuse_replaced_forward

DIALECT = "_toca_dialect"


def install_processor(attn, handle, dialect: AttentionDialect) -> Callable[[], None]:
    """Give `attn` a copy of its processor that asks `handle` first; returns what undoes it.

    Raises:
        ValueError: If the module's `forward` is overridden on the instance.
    """
    refuse_replaced_forward(attn)
    original = attn.get_processor()
    processor = copy.copy(original)
    processor.__class__ = derived_class(type(original), make_call, "__call__")
    setattr(processor, HANDLE, handle)
    setattr(processor, DIALECT, dialect)
    attn.set_processor(processor)

    def undo() -> None:
        # Settings made meanwhile (an attention backend, context parallelism) stay with the user's processor.
        settings = {name: value for name, value in vars(processor).items() if name not in (HANDLE, DIALECT)}
        vars(original).update(settings)
        if attn.get_processor() is processor:
            attn.set_processor(original)

    return undo


def can_measure(attn, dialect: AttentionDialect) -> bool:
    """Whether the dialect speaks the mathematics of the processor that `attn` has."""
    plain = not getattr(attn, "residual_connection", False) and getattr(attn, "rescale_output_factor", 1.0) == 1.0
    normed = any(getattr(attn, name, None) is not None for name in ("spatial_norm", "group_norm", "norm_cross"))
    return type(attn.get_processor()).__name__ in dialect.processors and plain and not normed


def make_call(base: type) -> Callable:
    """`__call__` with the signature of the original's, which diffusers inspects to filter keyword arguments."""
    signature = inspect.signature(base.__call__)
    names = tuple(signature.parameters)[3:]

    def call(self, attn, hidden_states, *args, **kwargs):
        handle = getattr(self, HANDLE)
        if handle.watch:
            handle.seen = hidden_states
        if handle.action in ("reuse", "forecast"):
            return handle.filled()
        if handle.action == "compute" and handle.measure is None and not handle.refresh:
            # A processor of the user's own may order its arguments otherwise: they go through as they came.
            return handle.kept(base.__call__(self, attn, hidden_states, *args, **kwargs))
        named = {**dict(zip(names[: len(args)], args, strict=True)), **kwargs}
        if handle.action == "skip":
            context = named.get("encoder_hidden_states")
            return (hidden_states, context) if handle.joint else hidden_states
        if handle.action == "partial":
            return _partial(base, self, attn, hidden_states, named)
        named["hidden_states"] = hidden_states
        if handle.refresh:
            return _to_all_tokens(self, attn, handle, named)
        output, statistic = _measured(self, attn, handle, named)
        handle.state.statistic.copy_(statistic)
        return handle.kept(output)

    call.__signature__ = signature
    return call


def _measured(processor, attn, handle, call: dict):
    """The output, and the statistic of the map that made it."""
    dialect = getattr(processor, DIALECT)
    projected = dialect.project(attn, call)
    return dialect.finish(processor, attn, projected, call), handle.measure(projected)


def _to_all_tokens(processor, attn, handle, call: dict):
    """Attention of the tokens that are there to all tokens: their keys and values are renewed, those of the tokens
    that were dropped are as they were. Where none was dropped all are remembered."""
    dialect = getattr(processor, DIALECT)
    context, index = handle.state.context, handle.index
    if index is None:
        projected = dialect.project(attn, call)
        context.renew((tokens_first(projected.key), tokens_first(projected.value)), ())
        return dialect.finish(processor, attn, projected, call)
    keys = context.value[0].shape[1]
    # The mask is one of all keys, and is made for them below.
    projected = dialect.project(attn, {**dialect.placed(call, index % keys), "attention_mask": None})
    heads = projected.key.shape[1]
    key, value = (
        heads_first(put_rows(held, index, tokens_first(rows)), heads)
        for held, rows in zip(context.value, (projected.key, projected.value), strict=True)
    )
    whole = Projected(projected.query, key, value, dialect.mask(attn, call, keys))
    return dialect.finish(processor, attn, whole, call)


def _partial(base: type, processor, attn, hidden_states, named: dict):
    """Cross-attention of the chosen queries to all text tokens; their rows of the statistic are renewed too."""
    handle = getattr(processor, HANDLE)
    queries = handle.picked(hidden_states)
    if handle.measure is None:
        return handle.refreshed(base.__call__(processor, attn, queries, **named))
    output, statistic = _measured(processor, attn, handle, {**named, "hidden_states": queries})
    put_rows(handle.state.statistic[..., None], handle.chosen(), statistic[..., None])
    return handle.refreshed(output)
