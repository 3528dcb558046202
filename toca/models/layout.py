"""The sites of one model, with what each costs: everything a plan needs to know, and nothing that holds weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, cast

import torch
from torch import nn

from ..checks import Count, Layers, SomeLayers, SomeOf, check, check_fields
from .capabilities import capabilities_of
from .shape import CallShape
from .spec import BlockSpec, FamilySpec, Rows, SiteSpec, Stream


@dataclass(frozen=True)
class Site:
    """A cacheable place of one model, as plans and methods see it: a row of a table, whose columns are its fields.

    Args:
        layer (`int`): Position of its block in the order in which the model runs them, over all stacks.
        module (`str`): One of `toca.models.spec.MODULES`.
        stack (`str`): Name of the stack of blocks.
        index (`int`): Position of the block within its stack, from 0.
        depth (`int`): Number of blocks in the stack.
        stream (`str`): `"image"`, `"text"` or `"joint"`: the tokens of its output.
        rows (`str`): `"sample"`, `"frame"` or `"position"`: what a row of its batch dimension is.
        inside (`str` or `None`): Module of the same layer without which this output is never looked at.
        attends (`str` or `None`): `"self"` or `"cross"` for attention.
        width (`int`): Channels of the output that is kept.
        attention_width (`int`): heads x head_dim for attention, else 0.
        token_flops (`int`): FLOPs of the linear layers for one of its own tokens.
        text_flops (`int`): FLOPs of the linear layers for one text token, recomputed or not.
    """

    layer: Layers
    module: str
    stack: str
    index: Layers
    depth: SomeLayers
    stream: Stream
    rows: Rows
    inside: str | None
    attends: Literal["self", "cross"] | None
    width: SomeOf
    attention_width: Count
    token_flops: Count
    text_flops: Count

    @property
    def key(self) -> tuple[int, str]:
        return self.layer, self.module

    def geometry(self, shape: CallShape) -> tuple[int, int]:
        """Rows of the batch dimension and tokens in each, for a call of this shape."""
        if self.rows == "position":
            return shape.batch * shape.tokens, shape.frames
        rows = shape.batch * (shape.frames if self.rows == "frame" else 1)
        tokens = {"image": shape.tokens, "text": shape.text_tokens, "joint": shape.text_tokens + shape.tokens}
        return rows, tokens[self.stream]

    def flops(self, shape: CallShape, tokens: int) -> int:
        """FLOPs when `tokens` tokens of each row are computed."""
        rows, own = self.geometry(shape)
        image = tokens - shape.text_tokens if self.stream == "joint" and self.text_flops else tokens
        linear = image * self.token_flops + shape.text_tokens * self.text_flops
        return rows * (linear + 2 * tokens * self._keys(shape, own) * 2 * self.attention_width)

    def measuring_flops(self, shape: CallShape, tokens: int) -> int:
        """FLOPs of the query-key product that measuring attention over `tokens` queries takes."""
        rows, own = self.geometry(shape)
        return rows * 2 * tokens * self._keys(shape, own) * self.attention_width

    def _keys(self, shape: CallShape, own: int) -> int:
        return shape.text_tokens if self.attends == "cross" else own


@dataclass(frozen=True)
class Layout:
    """All sites of a model in plan order, the FLOPs outside them, and the model's default call shape. It has many
    fields, for it is all that a plan's file says of a model.

    Args:
        family (`str`): Name of the family.
        sites (`tuple[Site, ...]`): In the order in which the model runs them.
        sample_flops, token_flops, text_token_flops (`int`): FLOPs outside the sites for one sample, one image token
            (of one frame) and one text token.
        default_shape (`CallShape`): Of one sample at the model's default size.
        itemsize (`int`): Bytes of one cached number, from the dtype that the model computes with.
        patch (`tuple[int, int]`): Latent pixels of one token, rows and columns.
        layer_sample_flops (`tuple[int, ...]`): Of `sample_flops`, those that a layer runs (adaLN) and that fall away
            with it.
        in_width, width, out_width (`int`): Channels of one token in the model's input, in the hidden states between
            the blocks, and in the model's output.
        text_stream (`bool`): Whether text goes through the blocks beside the image.
        capabilities (`tuple[str, ...]`): What can be done with the model, of `toca.models.CAPABILITIES`.
    """

    family: str
    sites: tuple[Site, ...]
    sample_flops: Count
    token_flops: Count
    text_token_flops: Count
    default_shape: CallShape
    itemsize: SomeOf
    patch: tuple[SomeOf, SomeOf]
    layer_sample_flops: tuple[Count, ...] = ()
    in_width: Count = 0
    width: Count = 0
    out_width: Count = 0
    text_stream: bool = False
    capabilities: tuple[str, ...] = ()

    @property
    def layers(self) -> int:
        """Number of blocks, over all stacks."""
        return self.sites[-1].layer + 1

    def modules_of(self, layer: int) -> tuple[str, ...]:
        """Modules of the sites of one layer."""
        return self._modules[layer]

    @cached_property
    def _modules(self) -> dict[int, tuple[str, ...]]:
        modules: dict[int, tuple[str, ...]] = {}
        for site in self.sites:
            modules[site.layer] = (*modules.get(site.layer, ()), site.module)
        return modules

    def overhead_flops(self, shape: CallShape, left_out: Iterable[int] = ()) -> int:
        """FLOPs outside the sites: embedders, adaLN, output layer; without the adaLN of layers that are left out."""
        tokens = shape.frames * shape.tokens * self.token_flops
        sample = self.sample_flops - sum(self.layer_sample_flops[layer] for layer in left_out)
        return shape.batch * (sample + tokens + shape.text_tokens * self.text_token_flops)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Layout:
        """The layout of a plan's file.

        Raises:
            ValueError, TypeError, KeyError: If it is none.
        """
        data = dict(data)
        shape = CallShape(**data.pop("default_shape"))
        sites = tuple(Site(**site) for site in data.pop("sites"))
        for part in (shape, *sites):
            check_fields(part)
        layout = cls(sites=sites, default_shape=shape, **data)
        check_fields(layout)
        layout._check_sites()
        return layout

    def _check_sites(self) -> None:
        keys = {site.key for site in self.sites}
        check(len(keys) == len(self.sites), "sites", len(self.sites), "must name each layer and module once")
        for site in self.sites:
            outer = (site.layer, site.inside)
            check(site.inside is None or outer in keys, "inside", site.inside, "must name a site of the same layer")
        layers = list(dict.fromkeys(site.layer for site in self.sites))
        check(layers == list(range(len(layers))) and bool(layers), "sites", layers, "must be of layers 0, 1, 2, ...")
        per_layer = self.layer_sample_flops
        check(len(per_layer) in (0, len(layers)), "layer_sample_flops", per_layer, f"must be {len(layers)} values")


def describe(transformer: nn.Module, spec: FamilySpec) -> Layout:
    """The layout of `transformer`, read from its modules; no weight is touched."""
    sites = [
        _site(block, block_spec, site_spec, layer, index, depth)
        for layer, index, depth, block, block_spec in walk_blocks(transformer, spec)
        for site_spec in block_spec.sites
    ]
    if not sites:
        raise ValueError(f"This {type(transformer).__name__} has no layers, so there is nothing to cache.")
    conditioning = _conditioning_flops(transformer, spec)
    around = {"sample": sum(conditioning), "token": 0, "text_token": 0}
    for path, unit in spec.around:
        around[unit] += _optional_flops(transformer, path)
    shape = spec.default_shape(transformer.config, None, None, None, None)
    rows, columns = spec.default_shape(transformer.config, 1024, 1024, None, None).known_grid
    return Layout(
        family=spec.name,
        sites=tuple(sites),
        sample_flops=around["sample"],
        token_flops=around["token"],
        text_token_flops=around["text_token"],
        default_shape=shape,
        # Of the features: weights may be stored in fewer bytes than they compute with (layerwise casting).
        itemsize=cast(torch.dtype, transformer.dtype).itemsize,
        patch=(1024 // rows, 1024 // columns),
        layer_sample_flops=conditioning,
        in_width=_first_width(getattr(transformer, spec.input)),
        width=sites[-1].width,
        out_width=_last_width(getattr(transformer, spec.output)),
        text_stream=any(len(stack.streams) > 1 for stack in spec.stacks),
        capabilities=capabilities_of(spec),
    )


def walk_blocks(transformer: nn.Module, spec: FamilySpec) -> Iterator[tuple[int, int, int, nn.Module, BlockSpec]]:
    """Yield (layer, index in its stack, depth of the stack, block, block spec) in the order of execution."""
    stacks = [(block_spec, getattr(transformer, block_spec.blocks)) for block_spec in spec.stacks]
    if spec.interleaved:
        order = [(i, s) for i in range(len(stacks[0][1])) for s in range(len(stacks))]
    else:
        order = [(i, s) for s, (_, blocks) in enumerate(stacks) for i in range(len(blocks))]
    for layer, (index, stack) in enumerate(order):
        block_spec, blocks = stacks[stack]
        yield layer, index, len(blocks), blocks[index], block_spec


def _site(block: nn.Module, block_spec: BlockSpec, spec: SiteSpec, layer: int, index: int, depth: int) -> Site:
    module = block.get_submodule(spec.path)
    attends: Literal["self", "cross"] | None = None
    if spec.kind == "attention":
        attends = "cross" if spec.module == "cross_attn" else "self"
    linears = spec.query_linears or ("",)
    return Site(
        layer=layer,
        module=spec.module,
        stack=block_spec.stack,
        index=index,
        depth=depth,
        stream=spec.stream,
        rows=block_spec.rows,
        inside=spec.inside,
        attends=attends,
        width=_output_width(module, spec),
        attention_width=_out_features(module.get_submodule(spec.width)) if spec.width else 0,
        token_flops=sum(linear_flops(module.get_submodule(path)) for path in linears),
        text_flops=sum(linear_flops(module.get_submodule(path)) for path in spec.text_linears),
    )


def _output_width(module: nn.Module, spec: SiteSpec) -> int:
    """Channels of the module's output, read off the last linear layer that makes it."""
    attention = "to_out" if "to_out" in spec.query_linears else spec.width or ""
    names = {"attention": attention, "parallel_block": "proj_out"}
    return _last_width(module.get_submodule(names.get(spec.kind, "")))


def _first_width(module: nn.Module) -> int:
    """Numbers that the first linear or convolution layer below `module` reads for a token."""
    first = next(m for m in module.modules() if hasattr(m, "in_features") or isinstance(m, nn.Conv2d))
    if isinstance(first, nn.Conv2d):
        return first.in_channels * first.kernel_size[0] * first.kernel_size[1]
    return _in_features(first)


def _last_width(module: nn.Module) -> int:
    """Channels that the last linear layer below `module` makes."""
    return [_out_features(m) for m in module.modules() if hasattr(m, "out_features")][-1]


def _in_features(linear: nn.Module) -> int:
    return cast(int, linear.in_features)


def _out_features(linear: nn.Module) -> int:
    return cast(int, linear.out_features)


def linear_flops(module: nn.Module) -> int:
    """FLOPs (two a multiply-add) of all linear and convolution layers below `module` for one token."""
    total = 0
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            total += 2 * child.in_channels * child.out_channels * child.kernel_size[0] * child.kernel_size[1]
        elif hasattr(child, "in_features") and hasattr(child, "out_features") and not isinstance(child, nn.Embedding):
            total += 2 * _in_features(child) * _out_features(child) if _is_linear(child) else 0
    return total


def _is_linear(module: nn.Module) -> bool:
    # Wrappers such as PEFT's repeat the features of the layer inside them, which is counted by itself.
    return not any(hasattr(child, "in_features") for child in module.children())


def _conditioning_flops(transformer: nn.Module, spec: FamilySpec) -> tuple[int, ...]:
    """For each layer the FLOPs that it spends on a sample."""
    return tuple(
        sum(linear_flops(block.get_submodule(path)) for path in block_spec.conditioning)
        for _, _, _, block, block_spec in walk_blocks(transformer, spec)
    )


def _optional_flops(transformer: nn.Module, path: str) -> int:
    """Some checkpoints of a family lack a module (PixArt's resolution embedder, a caption projection)."""
    module = transformer
    for name in path.split("."):
        child = getattr(module, name, None)
        if child is None:
            return 0
        module = child
    return linear_flops(module)
