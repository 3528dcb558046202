"""What a plan costs: FLOPs and cache bytes, from the shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from .actions import Action, tokens_of
from .models import CallShape

if TYPE_CHECKING:
    from .plan import Plan

STATISTIC_BYTES = 4
"""Scores and staleness counts are float32, whatever the model's dtype."""


@dataclass(frozen=True)
class Cost:
    """What a generation costs.

    Args:
        flops (`int`): FLOPs of all transformer calls of the plan, two a multiply-add; what
            `torch.utils.flop_counter.FlopCounterMode` counts in eager mode.
        flops_full (`int`): The same with every site computed in every step.
        cache_bytes (`int`): Bytes of the tensors kept between steps.
        tokens_recomputed (`float`): Share of the sites' tokens that are computed, over all steps.
    """

    flops: int
    flops_full: int
    cache_bytes: int
    tokens_recomputed: float

    @property
    def flops_speedup(self) -> float:
        return self.flops_full / self.flops

    def __str__(self) -> str:
        return (
            f"{self.flops / 1e9:.2f} GFLOPs instead of {self.flops_full / 1e9:.2f} ({self.flops_speedup:.2f}x), "
            f"{self.tokens_recomputed:.0%} of the tokens computed, {self.cache_bytes / 2**20:.1f} MiB of cache"
        )


def plan_cost(
    plan: Plan,
    batch_size: int = 1,
    height: int | None = None,
    width: int | None = None,
    num_frames: int | None = None,
    text_tokens: int | None = None,
    batched_cfg: bool = False,
    dtype: torch.dtype | None = None,
) -> Cost:
    """The cost of running `plan` once.

    Args:
        plan (`Plan`): The plan.
        batch_size (`int`, defaults to 1): Samples in a transformer call, guidance halves included.
        height, width (`int`, *optional*): Size in latent pixels; the model's own by default.
        num_frames (`int`, *optional*): Frames of a video; the model's own by default.
        text_tokens (`int`, *optional*): Text tokens of a sample; the family's usual number by default.
        batched_cfg (`bool`, defaults to `False`): Whether the batch's halves are the guidance branches of the same
            samples; it decides how many staleness counts are kept where they share one selection.
        dtype (`torch.dtype`, *optional*): Of the cached features; the model's own by default.

    Returns:
        `Cost`

    Raises:
        ValueError: If a size is not positive, or not a multiple of the patch size.
    """
    shape = _shape_of(plan, batch_size, height, width, num_frames, text_tokens)
    itemsize = plan.layout.itemsize if dtype is None else dtype.itemsize
    steps = zip(plan.table, plan.measured, strict=True)
    flops = sum(step_flops(plan, row, measured, shape) for row, measured in steps)
    return Cost(
        flops=flops,
        flops_full=plan.num_inference_steps * full_flops(plan, shape),
        cache_bytes=cache_bytes(plan, shape, itemsize, batched_cfg),
        tokens_recomputed=tokens_share(plan, plan.table, shape),
    )


def _shape_of(plan: Plan, batch_size, height, width, num_frames, text_tokens) -> CallShape:
    default, patch = plan.layout.default_shape, plan.layout.patch
    sizes = {"batch_size": batch_size, "height": height, "width": width, "num_frames": num_frames}
    for name, value in sizes.items():
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be positive, got {value}.")
    if text_tokens is not None and text_tokens < 0:
        raise ValueError(f"`text_tokens` must be non-negative, got {text_tokens}.")
    grid = default.grid or (default.tokens, 1)
    grid = (height // patch[0] if height else grid[0], width // patch[1] if width else grid[1])
    for name, value, side in (("height", height, patch[0]), ("width", width, patch[1])):
        if value is not None and value % side:
            raise ValueError(f"`{name}` must be a multiple of {side} latent pixels, got {value}.")
    return replace(
        default,
        batch=batch_size,
        tokens=grid[0] * grid[1],
        grid=grid,
        text_tokens=default.text_tokens if text_tokens is None else text_tokens,
        frames=num_frames or default.frames,
    )


def step_flops(plan: Plan, row: Sequence[Action], measured: frozenset[int], shape: CallShape) -> int:
    """FLOPs of one transformer call that follows `row` and measures the sites in `measured`."""
    total = plan.layout.overhead_flops(shape)
    for i, site in enumerate(plan.layout.sites):
        tokens = tokens_of(row[i], site.geometry(shape)[1])
        hidden = site.inside and row[plan.site_index[site.layer, site.inside]].kind == "reuse"
        if tokens == 0 or hidden:
            continue
        total += site.flops(shape, tokens)
        if i in measured and plan.selection.reads_map:
            total += site.measuring_flops(shape, tokens)
    return total


def full_flops(plan: Plan, shape: CallShape) -> int:
    """FLOPs of one call with every site computed and nothing measured."""
    sites = sum(site.flops(shape, site.geometry(shape)[1]) for site in plan.layout.sites)
    return plan.layout.overhead_flops(shape) + sites


def cache_bytes(plan: Plan, shape: CallShape, itemsize: int, batched_cfg: bool) -> int:
    """Bytes kept between the steps of one branch: outputs, attention statistics and staleness counts."""
    total = 0
    measured = frozenset(plan.score_sources.values())
    paired = batched_cfg and plan.selection is not None and plan.selection.shared_cfg
    for i, site in enumerate(plan.layout.sites):
        rows, tokens = site.geometry(shape)
        total += rows * tokens * site.width * itemsize if plan.kept[i] else 0
        total += rows * tokens * STATISTIC_BYTES if i in measured else 0
        if i in plan.partial_sites and plan.selection.staleness_weight:
            total += (rows // 2 if paired else rows) * tokens * STATISTIC_BYTES
    return total


def tokens_share(plan: Plan, table: Sequence[Sequence[Action]], shape: CallShape) -> float:
    """Share of the sites' tokens computed over the steps of `table`."""
    sizes = [site.geometry(shape) for site in plan.layout.sites]
    computed = sum(
        rows * tokens_of(action, tokens) for row in table for (rows, tokens), action in zip(sizes, row, strict=True)
    )
    return computed / (len(table) * sum(rows * tokens for rows, tokens in sizes))
