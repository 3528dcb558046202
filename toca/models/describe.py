"""Reading a model's layout off its modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from .blocks import Apart, blocks_of, sites_there, walk_blocks
from .capabilities import capabilities_of
from .checking import check_model
from .dialect import processor_of
from .layout import Layout
from .linears import first_width, in_path, last_width, linear_flops, out_features
from .site import Site
from .spec import BlockSpec, FamilySpec, SiteSpec, has
from .streams import IMAGE


def describe(transformer: nn.Module, spec: FamilySpec) -> Layout:
    """The layout of `transformer`, read from its modules; no weight is touched. Raises `ValueError` if it lacks what
    its family names."""
    check_model(transformer, spec)
    blocks = list(walk_blocks(transformer, spec))
    sites = [
        _site(block, block_spec, site_spec, (layer, index, depth))
        for layer, index, depth, block, block_spec in blocks
        for site_spec in block_spec.sites
    ]
    if not sites:
        raise ValueError(f"This {type(transformer).__name__} has no layers, so there is nothing to cache.")
    conditioning = tuple(_conditioning_flops(block, block_spec) for *_, block, block_spec in blocks)
    side = [(block, stack) for stack in spec.side for block in blocks_of(transformer, stack)]
    outside = _outside(transformer, spec)
    outside["sample"] += sum(conditioning) + sum(_conditioning_flops(block, stack) for block, stack in side)
    shape = spec.default_shape(transformer.config, None, None, None, None)
    return Layout(
        family=spec.name,
        sites=tuple(sites),
        sample_flops=outside.pop("sample"),
        token_flops=outside.pop("token"),
        text_token_flops=outside.pop("text_token"),
        default_shape=shape,
        # Of the features: weights may be stored in fewer bytes than they compute with (layerwise casting).
        itemsize=cast(torch.dtype, transformer.dtype).itemsize,
        patch=_patch(transformer, spec),
        layer_sample_flops=conditioning,
        in_width=_in_width(transformer, spec),
        width=next(site.width for site in reversed(sites) if IMAGE in site.parts),
        out_width=last_width(transformer.get_submodule(spec.output)),
        streams={stack.stack: _streams(stack, sites) for stack in spec.stacks if _has_layers(stack, sites)},
        read={
            stack.stack: tuple(stack.tokens[place] for place in stack.read_after)
            for stack in spec.stacks
            if _has_layers(stack, sites)
        },
        frame_patch=_frame_patch(transformer, spec),
        outside=outside,
        beside=tuple(
            _site(block, block_spec, site_spec, (layer, index, depth))
            for layer, index, depth, block, block_spec in blocks
            for site_spec in block_spec.beside
        ),
        side=tuple(
            _site(block, stack, site_spec, (0, 0, 1))
            for block, stack in side
            for site_spec in sites_there(block, stack.sites)
        ),
        outputs=spec.outputs,
        skips=() if spec.skips is None else tuple(spec.skips(transformer.config)),
        predicts=spec.predicts,
        capabilities=capabilities_of(spec, shape),
    )


def _has_layers(stack: BlockSpec, sites: list[Site]) -> bool:
    return any(site.stack == stack.stack for site in sites)


def _streams(stack: BlockSpec, sites: list[Site]) -> tuple[tuple[str, int], ...]:
    """The streams of a stack, each with its channels: those of a site of these very tokens, else of the image."""
    own = [site for site in sites if site.stack == stack.stack]
    image = next((site.width for site in reversed(own) if IMAGE in site.parts), own[-1].width)
    widths = {site.stream: site.width for site in own}
    return tuple((stream, widths.get(stream, image)) for stream in stack.tokens)


def _patch(transformer: nn.Module, spec: FamilySpec) -> tuple[int, int]:
    """Latent pixels of one token, rows and columns."""
    rows, columns = spec.default_shape(transformer.config, 1024, 1024, None, None).known_grid
    return 1024 // rows, 1024 // columns


def _frame_patch(transformer: nn.Module, spec: FamilySpec) -> int:
    """Latent frames of a frame that the blocks see; 1 for pictures, which have one frame whatever is asked for."""
    few, many = (spec.default_shape(transformer.config, None, None, frames, None).frames for frames in (64, 128))
    return 1 if few == many else 64 // (many - few)


def _site(block: nn.Module, block_spec: BlockSpec, spec: SiteSpec, place: tuple[int, int, int]) -> Site:
    module = block.get_submodule(spec.path)
    layer, index, depth = place
    return Site(
        layer=layer,
        module=spec.module,
        stack=block_spec.stack,
        index=index,
        depth=depth,
        stream=spec.stream,
        rows=spec.rows or block_spec.rows,
        inside=spec.inside,
        attends=spec.attention,
        width=_output_width(module, spec),
        attention_width=_attention_width(module, spec),
        token_flops=_token_flops(module, spec),
        text_flops=sum(linear_flops(in_path(module, path)) for path in spec.text_linears),
        context=spec.looks_at,
        apart_flops=tuple((part, _apart_flops(module, paths)) for part, paths in spec.apart),
        measured=spec.measured,
        causal=spec.causal,
        whole=spec.whole,
        key_width=out_features(in_path(module, spec.keys)) if spec.keys else 0,
        tile=spec.tile,
        pooled=spec.pooled,
        text_width=_text_width(module, spec),
    )


def _in_width(transformer: nn.Module, spec: FamilySpec) -> int:
    """Channels of one token in the model's input."""
    if spec.in_channels is not None:
        return spec.in_channels(transformer.config)
    return first_width(transformer.get_submodule(spec.input))


def _told_by_processor(module: nn.Module, spec: SiteSpec) -> Callable[[Any], int] | None:
    """What somebody's own processor says of its cost, such as linear attention in the place of a softmax."""
    return getattr(processor_of(module), "token_flops", None) if spec.attention is not None else None


def _attention_width(module: nn.Module, spec: SiteSpec) -> int:
    """heads x head_dim of all products."""
    if _told_by_processor(module, spec) is not None:
        return 0
    width = out_features(in_path(module, spec.width)) if spec.width else 0
    return width if spec.products is None else width * spec.products(module)


def _apart_flops(module: nn.Module, paths: Apart) -> int:
    return paths(module) if callable(paths) else sum(linear_flops(in_path(module, path)) for path in paths)


def _token_flops(module: nn.Module, spec: SiteSpec) -> int:
    """FLOPs for one of a site's own tokens."""
    told = _told_by_processor(module, spec)
    if told is not None:
        return told(module)
    if spec.token_flops is not None:
        return spec.token_flops(module)
    return sum(linear_flops(in_path(module, path)) for path in spec.query_linears or ("",))


def _output_width(module: nn.Module, spec: SiteSpec) -> int:
    """Channels of the module's output, read off the last linear layer that makes it."""
    if spec.output is not None:
        return last_width(in_path(module, spec.output))
    attention = "to_out" if "to_out" in spec.query_linears else spec.width or ""
    names = {"attention": attention, "parallel_block": "proj_out"}
    return last_width(in_path(module, names.get(spec.kind, "")))


def _text_width(module: nn.Module, spec: SiteSpec) -> int:
    """Channels of the text in the output of an attention that projects it apart, where they are others than the
    image's."""
    width = next((last_width(in_path(module, path)) for path in spec.text_linears if path == "to_add_out"), 0)
    return 0 if width == _output_width(module, spec) else width


def _conditioning_flops(block: nn.Module, stack: BlockSpec) -> int:
    """FLOPs that a block spends on a sample."""
    return sum(linear_flops(in_path(block, path)) for path in stack.conditioning if has(block, path))


def _outside(transformer: nn.Module, spec: FamilySpec) -> dict[str, int]:
    """FLOPs outside the blocks by what they are spent on. Some checkpoints of a family lack a module (PixArt's
    resolution embedder, a caption projection)."""
    flops = {"sample": 0, "token": 0, "text_token": 0}
    for path, unit in spec.around:
        if callable(path):
            flops[unit] = flops.get(unit, 0) + path(transformer)
        elif has(transformer, path):
            flops[unit] = flops.get(unit, 0) + linear_flops(in_path(transformer, path))
    return flops
