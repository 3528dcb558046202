"""Gather and scatter of token rows, by index into the (B * T) rows of a batch.

Whole rows move in one `index_select` or `index_copy_`: on CPU several times faster than `gather` and `scatter` with
an expanded index, and one kernel on a GPU.
"""

import torch


def take_rows(hidden_states: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The tokens of `hidden_states` (B, T, ...) at `index` (B, k), which counts rows over the whole batch:
    (B, k, ...)."""
    rows = hidden_states.flatten(0, 1).index_select(0, index.flatten())
    return rows.view(*index.shape, *hidden_states.shape[2:])


def put_rows(target: torch.Tensor, index: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Write `rows` (B, k, ...) in place into `target` (B, T, ...), contiguous, at `index` (B, k); returns
    `target`."""
    target.view(-1, *target.shape[2:]).index_copy_(0, index.flatten(), rows.flatten(0, 1))
    return target
