"""The arguments of a call: which of them have a row a sample, and the same call for some of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from ..models import FamilySpec


def own_copy(value: Any) -> Any:
    """The same value in containers of its own: a model may write in the dictionaries that it is given (FLUX takes the
    IP-Adapter's embeddings out of `joint_attention_kwargs`), and a call may be run more than once."""
    if isinstance(value, dict):
        return {key: own_copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return _like(value, (own_copy(item) for item in value))
    return value


def some_rows(call: dict[str, Any], spec: FamilySpec, rows: torch.Tensor | None, batch: int) -> dict[str, Any]:
    """A call's arguments for some rows of its batch, in containers of their own.

    Args:
        call (`dict`): The arguments by name.
        spec (`FamilySpec`): Says which arguments have a row a sample and which have none. Of all others a tensor has
            if its first dimension is the batch.
        rows (`torch.Tensor` or `None`): (n,), int64; `None` for all.
        batch (`int`): Rows of the call.
    """
    if rows is None:
        return own_copy(call)

    def take(name: str, value: Any) -> Any:
        if name in spec.whole:
            return own_copy(value)
        if name in spec.listed and isinstance(value, (list, tuple)):
            return _like(value, (own_copy(value[row]) for row in rows.tolist()))
        if isinstance(value, dict):
            return {key: take(key, item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return _like(value, (take(name, item) for item in value))
        if not isinstance(value, torch.Tensor):
            return value
        dim = spec.rows_at.get(name, 0)
        return _rows_of(value.movedim(dim, 0), rows, batch).movedim(0, dim)

    return {name: take(name, value) for name, value in call.items()}


def unclear(call: dict[str, Any], spec: FamilySpec, batch: int) -> str | None:
    """The name of an argument of which nobody can tell whether it has a row a sample: the family does not know it, and
    its rows are a multiple of the batch. `None` where there is none."""
    for name, value in call.items():
        if any(_is_multiple(tensor, batch) for tensor in _unnamed_tensors(name, value, spec)):
            return name
    return None


def rows_of_call(tensor: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    """Some rows of a tensor that has one for each row of the call; all for `None`."""
    return tensor if rows is None else tensor.index_select(0, rows.to(tensor.device))


def _unnamed_tensors(name: str, value: Any, spec: FamilySpec) -> Iterator[torch.Tensor]:
    """The tensors in an argument, down to those that the family names."""
    if any(name in names for names in (spec.batched, spec.rows_at, spec.whole, spec.listed)):
        return
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unnamed_tensors(key, item, spec)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _unnamed_tensors(name, item, spec)


def _is_multiple(tensor: torch.Tensor, batch: int) -> bool:
    rows = tensor.shape[0] if tensor.ndim else 0
    return rows > batch and rows % batch == 0


def _rows_of(tensor: torch.Tensor, rows: torch.Tensor, batch: int) -> torch.Tensor:
    """Rows of a tensor with one a sample, or with several in a row (the frames of a video, the heads of a mask)."""
    each, rest = divmod(tensor.shape[0] if tensor.ndim else 0, batch)
    if not each or rest:
        return tensor
    return tensor.unflatten(0, (batch, each)).index_select(0, rows.to(tensor.device)).flatten(0, 1)


def _like(container: list | tuple, items: Iterable[Any]) -> list | tuple:
    # A named tuple takes its items one by one.
    kind = type(container)
    return kind(*items) if hasattr(kind, "_fields") else kind(items)
