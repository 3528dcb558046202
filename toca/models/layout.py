"""The sites of one model, with what each costs: everything a plan needs to know, and nothing that holds weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from ..checks import Count, Layers, SomeOf, check, check_fields
from .shape import CallShape
from .site import Site
from .streams import IMAGE, parts_of


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

    def modules_seen(self, i: int) -> tuple[str, ...]:
        """Modules of the sites in the layer of site `i` whose rows hold any of its tokens."""
        own, near = set(self.sites[i].parts), self._layer_sites[self.sites[i].layer]
        return tuple(site.module for site in near if own & set(site.parts))

    @cached_property
    def _layer_sites(self) -> dict[int, list[Site]]:
        layers: dict[int, list[Site]] = {}
        for site in self.sites:
            layers.setdefault(site.layer, []).append(site)
        return layers

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
        streams = dict(self.streams[self.stacks[layer]])
        return shape.batch * sum(streams[name] * sum(shape.counts(name)) for name in self._leaving(layer))

    def tokens_leaving(self, layer: int, shape: CallShape) -> int:
        """Tokens in the same, of all samples."""
        return shape.batch * sum(sum(shape.counts(name)) for name in self._leaving(layer))

    def _leaving(self, layer: int) -> tuple[str, ...]:
        """The streams that leave a layer and are read."""
        stack = self.stacks[layer]
        return self.read[stack] if layer == self.layers - 1 else tuple(dict(self.streams[stack]))

    def predicted_tokens(self, shape: CallShape) -> int:
        """Tokens of a sample in the model's prediction."""
        return sum(shape.counts(self.predicts))

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
