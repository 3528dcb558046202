"""Gather and scatter of token rows, by flat index into (B * T) rows.

Whole rows move in one `index_select` or `index_copy_`: on CPU several times faster than `gather` and `scatter` with
an expanded index, and one kernel on a GPU.
"""

import torch


def flat_index(order: torch.Tensor, tokens: int) -> torch.Tensor:
    """Token indices (B, k) within each row -> indices (B * k,) into the flattened (B * tokens) rows."""
    offsets = torch.arange(order.shape[0], device=order.device) * tokens
    return (order + offsets[:, None]).flatten()


def take_rows(hidden_states: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows (n, C) of `hidden_states` (B, T, C) at flat `index` (n,)."""
    return hidden_states.flatten(0, 1).index_select(0, index)


def put_rows(target: torch.Tensor, index: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Write `rows` (n, C) in place into `target` (B, T, C, contiguous) at flat `index` (n,); returns `target`."""
    target.view(-1, target.shape[-1]).index_copy_(0, index, rows)
    return target
