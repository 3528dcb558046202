"""AnyFlow FAR: one chunk of frames after another, which reads the keys and values of those before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..sizes import Others
from .anyflow import ANYFLOW, SITES
from .wan import BLOCKS, others, sizes


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Besides those of Wan the tokens of earlier chunks: the last few whole, those before them coarse."""
    if call.get("kv_cache_flag") is None:
        return (*others(config, call), ("cached", 0))
    chunks, earlier = call["chunk_partition"], call["kv_cache_flag"]["num_cached_chunks"]
    coarse = max(0, earlier + 1 - config.full_chunk_limit)
    height, width = call["hidden_states"].shape[3:]

    def tokens(frames: int, patch: tuple[int, ...]) -> int:
        return frames * (height // patch[1]) * (width // patch[2])

    whole = tokens(sum(chunks[coarse:earlier]), config.patch_size)
    return (*others(config, call), ("cached", whole + tokens(sum(chunks[:coarse]), config.compressed_patch_size)))


def _in_full(call: Mapping[str, Any]) -> str | None:
    flag = call.get("kv_cache_flag")
    reads = flag is not None and not flag["is_cache_step"]
    return None if reads else "A call that writes the keys and values of a chunk runs in full, past the cache."


def together(call: Mapping[str, Any]) -> str | None:
    """Why the samples of a call that reads what others have written decide together."""
    return None if call.get("kv_cache") is None else "`kv_cache` holds all samples at once: they decide together."


SIZES = sizes(3, 60, 104, dims="BFCHW", others=_others)
ATTENTION, *REST = SITES

register(
    replace(
        ANYFLOW,
        name="anyflowfar",
        transformer="AnyFlowFARTransformer3DModel",
        stacks=(replace(BLOCKS, sites=(replace(ATTENTION, context="cached", tile=128), *REST)),),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        # FlexAttention, into which nobody can look.
        attention=Intercepted(measures=False, drops=False),
        whole=("chunk_partition", "kv_cache", "kv_cache_flag", "return_dict"),
        in_full=_in_full,
        together=together,
    )
)
