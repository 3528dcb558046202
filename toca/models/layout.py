"""The sites of one model, with what each costs: everything a plan needs to know, and nothing that holds weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import nn

from ..checks import Count, Layers, SomeLayers, SomeOf, check, check_fields
from .capabilities import capabilities_of
from .checking import check_model
from .dialect import processor_of
from .linears import first_width, in_path, last_width, linear_flops, out_features
from .shape import CallShape
from .spec import Attends, BlockSpec, FamilySpec, Rows, SiteSpec, has
from .streams import IMAGE, parts_of, place_of


@dataclass(frozen=True)
class Site:
    """A cacheable place of one model, as plans and methods see it: a row of a table, whose columns are its fields.

    Args:
        layer (`int`): Position of its block in the order in which the model runs them, over all stacks.
        module (`str`): One of `toca.models.spec.MODULES`.
        stack (`str`): Name of the stack of blocks.
        index (`int`): Position of the block within its stack, from 0.
        depth (`int`): Number of blocks in the stack.
        stream (`str`): The tokens of its output, the parts of a row joined by a plus (`toca.models.streams`).
        rows (`str`): `"sample"`, `"frame"` or `"position"`: what a row of its batch dimension is.
        inside (`str` or `None`): Module of the same layer without which this output is never looked at.
        attends (`str` or `None`): `"self"` or `"cross"` for attention.
        width (`int`): Channels of the output that is kept.
        attention_width (`int`): heads x head_dim for attention, else 0.
        key_width (`int`): The same of keys and values that have fewer heads in the product, else 0.
        token_flops (`int`): FLOPs of the linear layers for one of its own tokens.
        text_flops (`int`): FLOPs of the linear layers for one token of the text, or of `context`, recomputed or not.
        context (`str` or `None`): The tokens that attention attends to: those alone for cross-attention, and beside
            its own for self-attention.
        apart_flops (`tuple[tuple[str, int], ...]`): The same for parts of `context` that have linear layers of their
            own instead.
        measured (`str` or `None`): Those of them whose map is measured, where it is not that of all.
        causal (`str` or `None`): The first part of its rows, where that attends to itself alone, and is not measured.
        whole (`bool`): Whether it is computed or reused whole, for it mixes tokens.
        tile (`int`): Attention pads its queries to a multiple of it, and its keys by as many.
        pooled (`int`): Tokens of a tile, where a map of their means is made before that of the tokens; else 0.
        text_width (`int`): Channels of what is kept of the text, where it has others; else 0.
    """

    layer: Layers
    module: str
    stack: str
    index: Layers
    depth: SomeLayers
    stream: str
    rows: Rows
    inside: str | None
    attends: Attends | None
    width: SomeOf
    attention_width: Count
    token_flops: Count
    text_flops: Count
    context: str | None = None
    apart_flops: tuple[tuple[str, Count], ...] = ()
    measured: str | None = None
    causal: str | None = None
    whole: bool = False
    key_width: Count = 0
    tile: SomeOf = 1
    pooled: Count = 0
    text_width: Count = 0

    @property
    def key(self) -> tuple[int, str]:
        return self.layer, self.module

    def geometry(self, shape: CallShape) -> tuple[int, int]:
        """Rows of the batch dimension and tokens in each, for a call of this shape."""
        return rows_of(self.rows, shape), sum(self.counts(shape))

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a row in order."""
        return parts_of(self.stream)

    def counts(self, shape: CallShape) -> tuple[int, ...]:
        """Tokens of each part of a row."""
        return tuple(self._count(part, shape) for part in self.parts)

    @property
    def has_image(self) -> bool:
        """Whether its rows hold the tokens of a picture, or of all frames of a sample, side by side."""
        return IMAGE in self.parts and self.rows != "position"

    def image_tokens(self, shape: CallShape) -> int:
        """Image tokens of a row."""
        return self._count(IMAGE, shape) if IMAGE in self.parts else 0

    def place(self, part: str, shape: CallShape) -> slice:
        """Where a part stands in a row. Raises `ValueError` if it does not."""
        return place_of(part, self.stream, self.counts(shape))

    def _count(self, part: str, shape: CallShape) -> int:
        in_row = {"frame": shape.tokens, "position": shape.frames}
        return in_row.get(self.rows, shape.image_tokens) if part == IMAGE else shape.count(part)

    def _context_tokens(self, shape: CallShape) -> int:
        """Tokens beside its own that attention attends to."""
        return 0 if self.context is None else sum(self._count(part, shape) for part in parts_of(self.context))

    def numbers(self, shape: CallShape) -> int:
        """Numbers in an output that is kept."""
        rows, own = self.geometry(shape)
        narrow = self._count("text", shape) if self.text_width else 0
        return rows * ((own - narrow) * self.width + narrow * self.text_width)

    def flops(self, shape: CallShape, tokens: int) -> int:
        """FLOPs when `tokens` tokens of each row are computed."""
        rows, own = self.geometry(shape)
        apart = self._context_tokens(shape) if self.context else own - self.image_tokens(shape)
        # Text that stands in the row has linear layers of its own, or none.
        in_row = apart if self.text_flops and not self.context else 0
        linear = (tokens - in_row) * self.token_flops + apart * self.text_flops
        linear += sum(self._count(part, shape) * (flops - self.text_flops) for part, flops in self.apart_flops)
        padding = -tokens % self.tile
        products = (tokens + padding) * (self._keys(shape, own) + padding)
        if self.causal is not None:
            first = self._count(self.causal, shape)
            products -= first * (own - first)
        tiles = tokens // self.pooled * (self._keys(shape, own) // self.pooled) if self.pooled else 0
        return rows * (linear + (2 * products + tiles) * 2 * self.attention_width)

    def measuring_flops(self, shape: CallShape, tokens: int) -> int:
        """FLOPs of the query-key product that measuring attention over `tokens` queries takes."""
        if self.measured is not None:
            return replace(self, context=self.measured, measured=None).measuring_flops(shape, tokens)
        rows, own = self.geometry(shape)
        tokens -= 0 if self.causal is None else self._count(self.causal, shape)
        return rows * 2 * tokens * self._keys(shape, own) * self.attention_width

    def keys(self, shape: CallShape) -> int:
        """Keys that each token of a row attends to."""
        return self._keys(shape, self.geometry(shape)[1])

    def _keys(self, shape: CallShape, own: int) -> int:
        return self._context_tokens(shape) + (0 if self.attends == "cross" else own)


def rows_of(rows: Rows, shape: CallShape) -> int:
    """How many rows of a kind a call has."""
    if rows == "call":
        return 1
    each = {"sample": 1, "frame": shape.frames, "position": shape.tokens, "text": shape.text_tokens}
    return shape.batch * each[rows]


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
        streams (`dict[str, tuple[tuple[str, int], ...]]`): For each stack of blocks, what goes through it: streams of
            tokens, and their channels.
        read (`dict[str, tuple[str, ...]]`): For each stack, those streams that are read after its last block where it
            is the model's last.
        frame_patch (`int`): Latent frames of one frame that the blocks see.
        outside (`dict[str, int]`): FLOPs outside the sites for one token of a further stream, by its name; `"frame"`
            is one frame of a sample, `"call"` a whole call, `"call:NAME"` a token of a stream that its samples share.
        beside (`tuple[Site, ...]`): What is always computed in a block, as sites that no plan knows.
        side (`tuple[Site, ...]`): The same of blocks outside the stacks.
        outputs (`int`): How many predictions the model returns.
        predicts (`str`): The tokens of the first one, as a stream.
        skips (`tuple[tuple[int, int], ...]`): Pairs of layers, of which the second is given what the first returns.
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
    streams: Mapping[str, tuple[tuple[str, Count], ...]] = field(default_factory=dict)
    read: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frame_patch: SomeOf = 1
    outside: Mapping[str, Count] = field(default_factory=dict)
    beside: tuple[Site, ...] = ()
    side: tuple[Site, ...] = ()
    outputs: SomeOf = 1
    predicts: str = IMAGE
    skips: tuple[tuple[Layers, Layers], ...] = ()
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

    def overhead_flops(self, shape: CallShape, left_out: Iterable[int] = (), dropped: int = 0) -> int:
        """FLOPs outside the sites: embedders, adaLN, output layer; without the adaLN of layers that are left out, and
        with as many image tokens of each sample `dropped` before the first block."""
        left_out = set(left_out)
        tokens = shape.image_tokens * self.token_flops
        sample = self.sample_flops - sum(self.layer_sample_flops[layer] for layer in left_out)
        units = dict(self.outside)
        once = [unit for unit in units if unit.partition(":")[0] == "call"]
        call = sum(units.pop(unit) * shape.count_of_call(unit.partition(":")[2]) for unit in once)
        sample += shape.frames * units.pop("frame", 0)
        sample += sum(flops * shape.count(unit) for unit, flops in units.items())
        beside = [site for site in self.beside if site.layer not in left_out]
        whole = sum(site.flops(shape, site.geometry(shape)[1]) for site in self.side)
        whole += sum(site.flops(shape, site.geometry(shape)[1] - dropped * site.has_image) for site in beside)
        return call + shape.batch * (sample + tokens + shape.text_tokens * self.text_token_flops) + whole

    @cached_property
    def stacks(self) -> tuple[str, ...]:
        """For each layer the stack that it is of."""
        return tuple({site.layer: site.stack for site in self.sites}.values())

    def numbers_leaving(self, layer: int, shape: CallShape) -> int:
        """Numbers in what leaves a layer: all its streams, after the last one those that are read."""
        stack = self.stacks[layer]
        streams = dict(self.streams[stack])
        names = self.read[stack] if layer == self.layers - 1 else tuple(streams)
        return shape.batch * sum(streams[name] * sum(map(shape.count, parts_of(name))) for name in names)

    def predicted_tokens(self, shape: CallShape) -> int:
        """Tokens of a sample in the model's prediction."""
        return sum(map(shape.count, parts_of(self.predicts)))

    def image_rows(self, shape: CallShape) -> tuple[int, int]:
        """Rows of image tokens that one choice for the whole stack is made in, and the tokens of each: samples, or
        frames where the blocks attend within them."""
        if self.sites[-1].rows == "sample":
            return shape.batch, shape.image_tokens
        return shape.batch * shape.frames, shape.tokens

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
        for name in ("sites", "beside", "side"):
            data[name] = tuple(Site(**site) for site in data.get(name, ()))
        for part in (shape, *data["sites"], *data["beside"], *data["side"]):
            check_fields(part)
        layout = cls(default_shape=shape, **data)
        check_fields(layout)
        layout._check_sites()
        return layout

    def _streams_named(self) -> set[str]:
        """All streams that the layout speaks of, but for the units that are no streams."""
        sites = (*self.sites, *self.beside, *self.side)
        contexts = {name for site in sites for name in (site.context, site.measured) if name is not None}
        carried = {name for streams in self.streams.values() for name, _ in streams}
        read = {name for names in self.read.values() for name in names}
        return (
            {site.stream for site in sites}
            | contexts
            | carried
            | read
            | {unit.removeprefix("call:") for unit in self.outside}
            - {
                "frame",
                "call",
            }
        )

    def _check_sites(self) -> None:
        keys = {site.key for site in self.sites}
        check(len(keys) == len(self.sites), "sites", len(self.sites), "must name each layer and module once")
        for site in self.sites:
            outer = (site.layer, site.inside)
            check(site.inside is None or outer in keys, "inside", site.inside, "must name a site of the same layer")
        layers = list(dict.fromkeys(site.layer for site in self.sites))
        check(layers == list(range(len(layers))) and bool(layers), "sites", layers, "must be of layers 0, 1, 2, ...")
        counted = {*dict(self.default_shape.others), IMAGE, "text"}
        for name in self._streams_named():
            check(set(parts_of(name)) <= counted, "stream", name, f"may consist of {', '.join(sorted(counted))} here")
        for named, of in (("streams", self.streams), ("read", self.read)):
            check(set(of) == set(self.stacks), named, sorted(of), f"must be of {', '.join(sorted(set(self.stacks)))}")
        per_layer = self.layer_sample_flops
        check(len(per_layer) in (0, len(layers)), "layer_sample_flops", per_layer, f"must be {len(layers)} values")


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
    side = [(block, stack) for stack in spec.side for block in _blocks_of(transformer, stack)]
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
            for site_spec in _there(block, stack.sites)
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


def walk_blocks(transformer: nn.Module, spec: FamilySpec) -> Iterator[tuple[int, int, int, nn.Module, BlockSpec]]:
    """Yield (layer, index in its stack, depth of the stack, block, block spec) in the order of execution; the block
    spec names what this block has."""
    stacks = [(block_spec, _blocks_of(transformer, block_spec)) for block_spec in spec.stacks]
    if spec.interleaved:
        order = [(i, s) for i in range(len(stacks[0][1])) for s in range(len(stacks))]
    else:
        order = [(i, s) for s, (_, blocks) in enumerate(stacks) for i in range(len(blocks))]
    for layer, (index, stack) in enumerate(order):
        block_spec, blocks = stacks[stack]
        block = blocks[index]
        own = replace(
            block_spec,
            sites=_there(block, block_spec.sites),
            beside=_there(block, block_spec.beside),
            conditioning=tuple(path for path in block_spec.conditioning if has(block, path)),
        )
        yield layer, index, len(blocks), block, own


def _blocks_of(transformer: nn.Module, stack: BlockSpec) -> list[nn.Module]:
    """The blocks of a stack; none where a checkpoint has no such stack."""
    if not has(transformer, stack.blocks):
        return []
    found = transformer.get_submodule(stack.blocks)
    return list(found) if isinstance(found, nn.ModuleList) else [found]


def _there(block: nn.Module, sites: tuple[SiteSpec, ...]) -> tuple[SiteSpec, ...]:
    """The sites that a block has, with the norms and linear layers that it has of them."""
    found = []
    for site in sites:
        if not has(block, site.path) or not _is_there(block, site):
            continue
        module = block.get_submodule(site.path)
        found.append(
            replace(
                site,
                norms=tuple(path for path in site.norms if has(block, path)),
                query_linears=tuple(path for path in site.query_linears if has(module, path)),
                text_linears=tuple(path for path in site.text_linears if has(module, path)),
                apart=tuple((part, _paths_there(module, paths)) for part, paths in site.apart),
            )
        )
    return tuple(found)


def _is_there(block: nn.Module, site: SiteSpec) -> bool:
    given = site.given is None or has(block, site.given)
    return given and (site.unless is None or not has(block, site.unless))


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


Apart = tuple[str, ...] | Callable[[Any], int]


def _paths_there(module: nn.Module, paths: Apart) -> Apart:
    """Of the paths those that a module has."""
    return paths if callable(paths) else tuple(path for path in paths if has(module, path))


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
