"""Bytes of the tensors that an object keeps alive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def held_bytes(root: Any) -> int:
    """Bytes of all tensors that can be reached from an object through attributes, mappings and sequences.

    Memory that several tensors share counts once. Modules are passed over: their weights are not the cache's.

    Args:
        root: Where to start: an object, a list of objects, or `None`.
    """
    seen: dict[int, Any] = {}  # keeps what was met alive, so that no address is used twice
    storages: dict[int, int] = {}
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (nn.Module, type)):
            continue
        seen[id(item)] = item
        if isinstance(item, Tensor):
            storages[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
        else:
            waiting += _within(item)
    return sum(storages.values())


def _within(item: Any) -> list[Any]:
    if isinstance(item, Mapping):
        return list(item.values())
    if isinstance(item, (list, tuple, set)):
        return list(item)
    return list(getattr(item, "__dict__", {}).values())
