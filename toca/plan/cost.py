"""What a plan costs: FLOPs and cache bytes, from the shapes alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch

from ..axes.actions import Action
from ..axes.gates import Gate, GateSizes
from ..axes.selections.base import COUNT_BYTES, key_rows
from ..checks import Within, check, checked
from ..kernels.narrow import cache_dtype_of
from ..models import CallShape
from .away import Away, site_bytes, span_bytes
from .kept import Kept, cache_device_of
from .passes import Pass, expected_passes
from .table import PlanTable

MOST_SIZE = 1_000_000
"""Samples, latent pixels of a side, frames, or text tokens of a call."""

Size = Annotated[int, Within(1, MOST_SIZE)]


@dataclass(frozen=True)
class Cost:
    """What a generation costs.

    Args:
        flops (`int`): FLOPs of all transformer calls of the plan, two a multiply-add; what
            `toca.eval.counting.flops.FlopMeter` counts in eager mode.
        flops_full (`int`): The same with every site computed in every step.
        cache_bytes (`int`): Bytes of the tensors kept between steps.
        tokens_recomputed (`float`): Share of the sites' tokens that are computed, over all steps.
        decides_online (`bool`): Whether a gate decides while the model runs: `flops` and `tokens_recomputed` are then
            the least, and the speed-up the most, that there can be.
        ram_bytes (`int`): Bytes of the cache that lie in the machine's memory, where `cache_device="cpu"`.
        in_flight_bytes (`int`): Bytes of these that are on the device too, at the most: what a block works on, what
            the next one needs, and what the one before has renewed.
        copied_bytes (`int`): Bytes that are copied between the two in a generation, both ways together; where a gate
            decides, if it lets every step be filled.
    """

    flops: int
    flops_full: int
    cache_bytes: int
    tokens_recomputed: float
    decides_online: bool = False
    ram_bytes: int = 0
    in_flight_bytes: int = 0
    copied_bytes: int = 0

    @property
    def device_bytes(self) -> int:
        """Bytes of the cache that are on the device that computes, at the most: all of it, unless features lie in the
        machine's memory."""
        return self.cache_bytes - self.ram_bytes + self.in_flight_bytes

    @property
    def flops_speedup(self) -> float:
        return self.flops_full / self.flops

    @property
    def speedup_text(self) -> str:
        """The speed-up in words: a bound where a gate decides."""
        return f"{'at most ' if self.decides_online else ''}{self.flops_speedup:.2f}x"

    def __str__(self) -> str:
        least = "at least " if self.decides_online else ""
        return (
            f"{least}{self.flops / 1e9:.2f} GFLOPs instead of {self.flops_full / 1e9:.2f} ({self.speedup_text}), "
            f"{least}{self.tokens_recomputed:.0%} of the tokens computed, {self.cache_bytes / 2**20:.2f} MiB of cache"
        )

    @property
    def placed_text(self) -> str:
        """Where the cache lies, in words, where features lie in the machine's memory."""
        ram, device, copied = (size / 2**20 for size in (self.ram_bytes, self.device_bytes, self.copied_bytes))
        least = "at least " if self.decides_online else ""
        return f"{ram:.2f} MiB in RAM, at most {device:.2f} on the device; {least}{copied:.2f} copied in a generation"


def plan_cost(
    plan: PlanTable,
    batch_size: int = 1,
    height: int | None = None,
    width: int | None = None,
    num_frames: int | None = None,
    text_tokens: int | None = None,
    batched_cfg: bool = False,
    dtype: torch.dtype | None = None,
    cache_dtype: torch.dtype | str | None = None,
    cache_device: torch.device | str | None = None,
) -> Cost:
    """The cost of running `plan` once.

    Args:
        plan (`PlanTable`): The plan.
        batch_size (`int`, defaults to 1): Samples in a transformer call, guidance halves included.
        height, width (`int`, *optional*): Size in latent pixels; the model's own by default.
        num_frames (`int`, *optional*): Frames of a video; the model's own by default.
        text_tokens (`int`, *optional*): Text tokens of a sample; the family's usual number by default.
        batched_cfg (`bool`, defaults to `False`): Whether the batch's halves are the guidance branches of the same
            samples; it decides how many staleness counts are kept where they share one selection.
        dtype (`torch.dtype`, *optional*): That the model computes with; its own by default.
        cache_dtype (`torch.dtype` or `str`, *optional*): What features are kept in, as for `toca.enable_cache`; what
            they are computed in by default.
        cache_device (`torch.device` or `str`, *optional*): Where they are kept, as for `toca.enable_cache`; on the
            device that computes by default.

    Returns:
        `Cost`

    Raises:
        ValueError: If a value is of another type, or a size is not positive, or not a multiple of the patch size.
    """
    shape = shape_of(plan, batch_size, height, width, num_frames, text_tokens)
    batched_cfg = checked(batched_cfg, bool, "batched_cfg")
    check(dtype is None or isinstance(dtype, torch.dtype), "dtype", dtype, "must be a torch.dtype or None")
    itemsize = plan.layout.itemsize if dtype is None else dtype.itemsize
    flops = sum(step_flops(plan, step, shape, batched_cfg) for step in range(plan.num_inference_steps))
    kept_in = cache_dtype_of(cache_dtype)
    away = None
    if cache_device_of(cache_device) is not None:
        away = Away(plan, shape, Kept(itemsize, kept_in), batched_cfg)
    return Cost(
        flops=flops,
        flops_full=plan.num_inference_steps * full_flops(plan, shape),
        cache_bytes=cache_bytes(plan, shape, itemsize, batched_cfg, kept_in),
        tokens_recomputed=_tokens_share(plan, shape),
        decides_online=plan.gate is not None,
        ram_bytes=0 if away is None else away.bytes,
        in_flight_bytes=0 if away is None else away.most_on_device,
        copied_bytes=0 if away is None else away.copied,
    )


def _tokens_share(plan: PlanTable, shape: CallShape) -> float:
    runs = [run for step in range(plan.num_inference_steps) for run in expected_passes(plan, step)]
    computed = sum(tokens_computed(plan, run.row, shape) for run in runs)
    return computed / (plan.num_inference_steps * tokens_computed(plan, plan.full_row, shape))


def shape_of(
    plan: PlanTable,
    batch_size: int,
    height: int | None,
    width: int | None,
    num_frames: int | None,
    text_tokens: int | None,
) -> CallShape:
    """The shape of a call of these sizes; the arguments are those of `plan_cost`."""
    default, patch = plan.layout.default_shape, plan.layout.patch
    batch_size = checked(batch_size, Size, "batch_size")
    height, width = checked(height, Size | None, "height"), checked(width, Size | None, "width")
    num_frames = checked(num_frames, Size | None, "num_frames")
    text_tokens = checked(text_tokens, Annotated[int, Within(0, MOST_SIZE)] | None, "text_tokens")
    grid = default.grid or (default.tokens, 1)
    grid = (height // patch[0] if height else grid[0], width // patch[1] if width else grid[1])
    frame_patch = plan.layout.frame_patch
    sides = ("height", height, patch[0]), ("width", width, patch[1]), ("num_frames", num_frames, frame_patch)
    for name, value, side in sides:
        if value is not None and value % side:
            unit = "latent frames" if name == "num_frames" else "latent pixels"
            raise ValueError(f"`{name}` must be a multiple of {side} {unit}, got {value}.")
    return replace(
        default,
        batch=batch_size,
        tokens=grid[0] * grid[1],
        grid=grid,
        text_tokens=default.text_tokens if text_tokens is None else text_tokens,
        frames=num_frames // plan.layout.frame_patch if num_frames else default.frames,
    )


def step_flops(plan: PlanTable, step: int, shape: CallShape, batched_cfg: bool) -> int:
    """FLOPs of one transformer call in a step that a gate, if there is one, lets be filled."""
    if batched_cfg and not plan.is_guided(step):
        shape = replace(shape, batch=shape.batch // 2)
    return sum(pass_flops(plan, run, shape) for run in expected_passes(plan, step))


def pass_flops(plan: PlanTable, run: Pass, shape: CallShape) -> int:
    """FLOPs of one pass over the samples of `shape`."""
    total = plan.layout.overhead_flops(shape, run.left_out, dropped_tokens(plan, run.row, shape) if run.drops else 0)
    if not run.outside:
        total -= plan.layout.overhead_flops(shape, range(plan.layout.layers))
    for i, site in enumerate(plan.layout.sites):
        tokens = plan.fresh_tokens(i, run.row, shape)
        if tokens == 0 or plan.is_hidden(run.row, i):
            continue
        total += site.flops(shape, tokens)
        if i in run.measured and plan.selection is not None:
            total += plan.selection.measuring_flops(site, shape, tokens)
    if run.observes and plan.selection is not None:
        total += plan.selection.observing_flops(plan.layout, shape)
    return total


def dropped_tokens(plan: PlanTable, row: tuple[Action, ...], shape: CallShape) -> int:
    """Image tokens of a sample that are dropped before the first layer of a step that drops any."""
    i = next(i for i, action in enumerate(row) if action.picks_tokens)
    return plan.layout.sites[i].geometry(shape)[1] - plan.fresh_tokens(i, row, shape)


def full_flops(plan: PlanTable, shape: CallShape) -> int:
    """FLOPs of one call with every site computed and nothing measured."""
    sites = sum(site.flops(shape, site.geometry(shape)[1]) for site in plan.layout.sites)
    return plan.layout.overhead_flops(shape) + sites


def cache_bytes(
    plan: PlanTable,
    shape: CallShape,
    itemsize: int,
    batched_cfg: bool,
    cache_dtype: torch.dtype | None = None,
) -> int:
    """Bytes kept between the steps of one branch: outputs, keys and values, attention statistics, and what the gate
    and the selection keep.

    Args:
        plan (`PlanTable`): The plan.
        shape (`CallShape`): Of the call.
        itemsize (`int`): Bytes of a number as the model computes it.
        batched_cfg (`bool`): Whether the batch's halves are guidance branches of the same samples.
        cache_dtype (`torch.dtype`, *optional*): What features are kept in.
    """
    kept = Kept(itemsize, cache_dtype)
    total = sum(span_bytes(plan, span, shape, kept) for span in plan.kept_spans)
    if plan.gate is not None:
        sizes = sizes_of(plan, plan.gate, shape, itemsize, batched_cfg)
        # And of each image whether what was last returned is finite.
        total += plan.gate.bytes_kept(sizes) + COUNT_BYTES * sizes.images
    measured = frozenset(plan.score_sources.values())
    total += sum(site_bytes(plan, i, shape, kept) for i in plan.kept_sites)
    for i in measured:
        rows, tokens = plan.layout.sites[i].geometry(shape)
        total += rows * tokens * COUNT_BYTES
    if plan.selection is not None:
        paired = batched_cfg and plan.selection.shared_cfg
        sites = sorted(plan.partial_sites)
        total += plan.selection.bytes_kept(plan.layout, sites, shape, kept.itemsize, paired)
        attended = plan.selection.attended(plan.layout, frozenset(sites))
        total += kept.scale_bytes(key_rows((plan.layout.sites[i] for i in attended), shape))
    return total


def sizes_of(plan: PlanTable, gate: Gate, shape: CallShape, itemsize: int, batched_cfg: bool) -> GateSizes:
    """How large what a gate may keep is."""
    tokens = shape.batch * shape.image_tokens * itemsize
    images = shape.batch // 2 if batched_cfg else shape.batch
    return GateSizes(
        images=images if gate.per_sample else 1,
        input=tokens * plan.layout.in_width,
        output=shape.batch * plan.layout.predicted_tokens(shape) * itemsize * plan.layout.out_width,
        hidden=tokens * plan.layout.width,
    )


def tokens_computed(plan: PlanTable, row: tuple[Action, ...], shape: CallShape) -> int:
    """Tokens that the sites compute, over all sites and samples."""
    rows = [site.geometry(shape)[0] for site in plan.layout.sites]
    return sum(rows[i] * plan.fresh_tokens(i, row, shape) for i in range(len(rows)))
