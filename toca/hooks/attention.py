"""Attention, reached through the processor: reused whole, measured on full steps, and for cross-attention partial.

Where nothing is measured the stock processor runs, whatever it is. Where attention is measured, the family's dialect
projects query and key once for both the output and the measurement.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

from ..kernels.rows import take_rows
from ..models.attention import AttentionDialect
from .classes import HANDLE, derived_class

DIALECT = "_toca_dialect"


def install_processor(attn, handle, dialect: AttentionDialect) -> Callable[[], None]:
    """Give `attn` a copy of its processor that asks `handle` first; returns what undoes it."""
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
    normed = getattr(attn, "spatial_norm", None) is not None or getattr(attn, "group_norm", None) is not None
    return type(attn.get_processor()).__name__ in dialect.processors and plain and not normed


def make_call(base: type) -> Callable:
    """`__call__` with the signature of the original's, which diffusers inspects to filter keyword arguments."""

    @functools.wraps(base.__call__)
    def call(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, *args, **kwargs):
        handle = getattr(self, HANDLE)
        if handle.action == "reuse":
            return handle.state.output
        if handle.action == "partial":
            return _partial(base, self, attn, hidden_states, encoder_hidden_states, attention_mask)
        if handle.measure is None:
            output = base.__call__(self, attn, hidden_states, encoder_hidden_states, attention_mask, *args, **kwargs)
            return handle.kept(output)
        rotary = args[0] if args else kwargs.get("image_rotary_emb")
        output, statistic = _measured(self, attn, handle, {
            "hidden_states": hidden_states,
            "encoder_hidden_states": encoder_hidden_states,
            "attention_mask": attention_mask,
            "image_rotary_emb": rotary,
        })  # fmt: skip
        handle.state.statistic.copy_(statistic)
        return handle.kept(output)

    return call


def _measured(processor, attn, handle, call: dict):
    """The output, and the statistic of the map that made it."""
    dialect = getattr(processor, DIALECT)
    projected = dialect.project(attn, call)
    return dialect.finish(processor, attn, projected, call), handle.measure(projected, handle.share)


def _partial(base: type, processor, attn, hidden_states, encoder_hidden_states, attention_mask):
    """Cross-attention of the chosen queries to all text tokens; their rows of the statistic are renewed too."""
    handle = getattr(processor, HANDLE)
    index = handle.chosen()
    queries = take_rows(hidden_states, index).unflatten(0, (hidden_states.shape[0], -1))
    call = {"hidden_states": queries, "encoder_hidden_states": encoder_hidden_states, "attention_mask": attention_mask}
    if handle.measure is None:
        output = base.__call__(processor, attn, **call)
    else:
        output, statistic = _measured(processor, attn, handle, call)
        handle.state.statistic.view(-1).index_copy_(0, index, statistic.flatten())
    return handle.refreshed(index, output.flatten(0, 1))
