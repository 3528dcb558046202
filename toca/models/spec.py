"""What a model looks like to the cache: declarative, one `FamilySpec` a model class.

A family names its stacks of blocks, and in each block the places whose output may be kept (the *sites*). Nothing
here knows of a caching method, and no method knows of a module path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from .dialect import AttentionDialect
from .parallel_block import ParallelBlock
from .prediction import Prediction
from .shape import CallShape
from .streams import IMAGE, TEXT, parts_of, place_of

MODULES = (
    "self_attn", "self_attn_2", "cross_attn", "ff", "ff_context", "block", "stack",
    "audio_self_attn", "audio_cross_attn", "audio_to_video", "video_to_audio", "audio_ff",
)  # fmt: skip
"""The names a site's module may have, in all plans of all families."""

Rows = Literal["sample", "frame", "position", "text", "call"]
Attends = Literal["self", "cross"]


@dataclass(frozen=True)
class SiteSpec:
    """A cacheable place in a block. What a block lacks of it (the site, a norm, a linear layer) is left out for that
    block.

    Args:
        module (`str`): Its name in plans, one of `MODULES`.
        path (`str`): Attribute of the block that holds the module; empty for the block itself. A module that a block
            calls twice is named by two sites of the same path, in the order of the calls.
        kind (`str`): How a decision reaches it: `"attention"`, `"feed_forward"` or `"parallel_block"`.
        stream (`str`): The tokens of its output: the parts in the order in which they stand in a row, joined by a plus
            (`toca.models.streams`).
        inside (`str` or `None`): The site of the same block without which this one's output is never looked at.
        query_linears, text_linears (`tuple[str, ...]`): Linear layers (paths below the module; empty: all of them)
            that run on the site's own tokens, and those that always run on all tokens of the text, or of what
            `context` names.
        apart (`tuple`): Parts of `context` that have linear layers of their own instead, each with their paths:
            `(("picture", ("k_img", "v_img")),)`. A stream that is no part of it counts what else the module does, by
            a function `module -> int`, FLOPs for one of its tokens: what is done once a frame.
        norms (`tuple[str, ...]`): Modules of the block, token by token, that feed this site, and no other but those
            inside it: layer norms, or the linear layers of a feed-forward that has no module of its own.
        width (`str` or `None`): For attention, the linear layer whose `out_features` is heads x head_dim.
        keys (`str` or `None`): The same of the keys, where they have fewer heads in the product.
        products (`Callable` or `None`): `module -> int`, how often attention multiplies query, key and value for one
            output, where it is not once (differential attention).
        attends (`str` or `None`): For attention, whether it is `"self"` or `"cross"`; by default the module's name
            tells.
        context (`str` or `None`): The tokens that attention attends to, as a stream: those alone for cross-attention
            (by default the text), those too for self-attention.
        measured (`str` or `None`): Those of them whose map is measured, where attention to the others is a product of
            its own.
        causal (`str` or `None`): The first part of its rows, where that attends to none that stands after it, in a
            product of its own, which is not measured.
        whole (`bool`): Whether it mixes tokens (a convolution, experts that choose tokens), so that it is computed or
            reused whole.
        token_flops (`Callable` or `None`): `module -> int`, FLOPs for one of its own tokens, where the linear layers
            below it do not say it: experts of which a token sees a few, linear attention. An attention processor of
            somebody's own that makes no map may have a method of this name, `attn -> int`.
        pooled (`int`, defaults to 0): Tokens of a tile, where a map of the means of tiles tells attention beforehand
            where to look.
        given, unless (`str` or `None`): Attributes of the block: the site is there only where the one is, and where
            the other is not.
        tile (`int`, defaults to 1): Attention pads its queries to a multiple of it, and its keys by as many.
        output (`str` or `None`): The linear layer whose width is that of the output, where it is not the last one.
        rows (`str` or `None`): What a row of its batch dimension is, where it is not what a row of the block's is.
    """

    module: str
    path: str
    kind: str
    stream: str = IMAGE
    inside: str | None = None
    query_linears: tuple[str, ...] = ()
    text_linears: tuple[str, ...] = ()
    apart: tuple[tuple[str, tuple[str, ...] | Callable[[Any], int]], ...] = ()
    norms: tuple[str, ...] = ()
    width: str | None = None
    keys: str | None = None
    products: Callable[[Any], int] | None = None
    attends: Attends | None = None
    context: str | None = None
    measured: str | None = None
    causal: str | None = None
    whole: bool = False
    token_flops: Callable[[Any], int] | None = None
    given: str | None = None
    tile: int = 1
    pooled: int = 0
    unless: str | None = None
    output: str | None = None
    rows: Rows | None = None

    @property
    def attention(self) -> Attends | None:
        """`"self"` or `"cross"`; `None` for what is no attention."""
        if self.kind != "attention":
            return None
        return self.attends or ("cross" if self.module in CROSS else "self")

    @property
    def looks_at(self) -> str | None:
        """The tokens beside its own that attention attends to."""
        return self.context or (TEXT if self.attention == "cross" else None)


CROSS = ("cross_attn", "audio_cross_attn", "audio_to_video", "video_to_audio")


@dataclass(frozen=True)
class BlockSpec:
    """One stack of blocks.

    Args:
        stack (`str`): Name of the stack in plans.
        blocks (`str`): Path of the transformer's `ModuleList`, or of a module that is a block by itself.
        sites (`tuple[SiteSpec, ...]`): In the order in which a block runs them.
        rows (`str`): What one row of the block's batch dimension is: a `"sample"`, a `"frame"` of a sample, a
            `"position"` of a sample (all frames of one image token), or beside the stacks a token of the `"text"`,
            or the `"call"` itself.
        conditioning (`tuple[str, ...]`): Submodules with linear layers that run once a sample (adaLN).
        beside (`tuple[SiteSpec, ...]`): What else a block computes, always and in full, said as sites for its cost.
        streams (`tuple[str, ...]`): The arguments of a block that it returns renewed, in the order in which it returns
            them.
        main (`str`): The one of them with the image.
        carries (`tuple[str, ...]`): The tokens of each of the streams; by default the image in `main`, with what the
            sites say stands beside it where there is one stream, the text in `encoder_hidden_states`, and elsewhere
            what the stream's name says.
        read (`tuple[str, ...]`): Those of the streams that are read after the last block; by default `main`.
        parallel (`ParallelBlock` or `None`): The pieces of a block of kind `"parallel_block"`.
        tokens_first (`bool`): Whether the blocks work on (tokens, rows, C), and all modules in them but attention.
        by_token (`tuple[str, ...]`): What else with a row a token of the image meets the tokens in or between the
            blocks, so that none can be dropped before the first one.
    """

    stack: str
    blocks: str
    sites: tuple[SiteSpec, ...]
    rows: Rows = "sample"
    conditioning: tuple[str, ...] = ()
    beside: tuple[SiteSpec, ...] = ()
    streams: tuple[str, ...] = ("hidden_states",)
    main: str = "hidden_states"
    carries: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    parallel: ParallelBlock | None = None
    tokens_first: bool = False
    by_token: tuple[str, ...] = ()

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens of each of the streams."""
        if self.carries:
            return self.carries
        if len(self.streams) == 1:
            return (max((site.stream for site in self.sites), key=lambda stream: len(parts_of(stream))),)
        named = {self.main: IMAGE, "encoder_hidden_states": TEXT}
        return tuple(named.get(stream, stream) for stream in self.streams)

    @property
    def image(self) -> int:
        """Place of the stream with the image."""
        return self.streams.index(self.main)

    def image_of(self, streams: Sequence[torch.Tensor], shape: CallShape) -> torch.Tensor:
        """The image tokens (rows, tokens, C) in the streams of a call of this shape."""
        return _image_in(streams[self.image], self.tokens[self.image], shape)

    def image_given(self, given: torch.Tensor, stream: str, shape: CallShape) -> torch.Tensor:
        """The image tokens (rows, tokens, C) in what an attention of the block is given first, which attends over the
        stream `stream`: some are given the whole row, others the block's streams one by one."""
        whole = "+" in stream and given.shape[1] == sum(shape.counts(stream))
        return _image_in(given, stream if whole else self.tokens[self.image], shape)

    @property
    def read_after(self) -> tuple[int, ...]:
        """Places of the streams that are read after the last block."""
        return tuple(self.streams.index(name) for name in self.read or (self.main,))


def _image_in(given: torch.Tensor, stream: str, shape: CallShape) -> torch.Tensor:
    if stream == IMAGE:
        return given
    return given[:, place_of(IMAGE, stream, shape.counts(stream))]


@dataclass(frozen=True)
class FamilySpec:
    """A model family: all that is known of a transformer's class, as data, hence its many fields.

    Args:
        name (`str`): Short name in plans.
        transformer (`str`): Class name of the diffusers transformer.
        stacks (`tuple[BlockSpec, ...]`): In plan order; equal-length stacks with `interleaved=True` run alternately.
        call_shape (`Callable`): `(transformer, arguments by name) -> CallShape`.
        default_shape (`Callable`): `(config, height, width, num_frames, text_tokens) -> CallShape` of one sample,
            sizes in latent pixels and latent frames, each `None` where the model's own default is meant.
        attention (`AttentionDialect`): How the family's attention modules make query, key and value.
        around (`tuple`): Modules outside the sites and what they run on: `"call"` (once for the whole batch) or
            `"call:STREAM"` (once for each token of a stream that all samples share), `"sample"`, `"token"` (of the
            image), `"text_token"`, `"frame"` or the name of another stream. A module
            that runs twice is named twice, and one that a checkpoint lacks costs nothing. Where its linear layers do
            not tell its FLOPs, a function of the transformer that does stands in its place.
        side (`tuple[BlockSpec, ...]`): Stacks outside of the plan (token refiners, control blocks), for their cost.
        interleaved (`bool`): Whether the stacks run alternately.
        latents, timestep (`str`): The model's arguments of these names. The latents may be a list of tensors, one a
            sample.
        batched (`tuple[str, ...]`): Arguments, and names in dictionaries below them, whose tensors have one row a
            sample, or several rows a sample in a row.
        rows_at (`dict[str, int]`): Arguments whose tensors have a row a sample along another dimension than the first.
        listed (`tuple[str, ...]`): Arguments that are lists of one item a sample.
        whole (`tuple[str, ...]`): Those that have no row a sample.
        free (`tuple[str, ...]`): Arguments whose content is not the family's: what in them has a row a sample is told
            by its shape.
        only (`dict[str, Any]`): Arguments that go together with one value alone, for another one changes which layers
            run; or with those for which a function of the value is true.
        by_row (`tuple[str, ...]`): Attention processors, beside the dialect's, that treat each row of a batch by
            itself.
        channel_dim (`int`, defaults to 1): Dimension of the channels in the model's input and output.
        batched_cfg (`bool`): Whether the family's pipelines batch the two guidance branches in one call.
        conditional_half (`int`, defaults to 1): Which half of a batch is the conditional branch of guidance.
        grid (`Callable` or `None`): `(arguments by name) -> (rows, columns)` where `call_shape` cannot tell; `None`
            where the tokens form no grid.
        input, output (`str`): The layers (paths) that read the model's input and make its output.
        in_channels (`Callable` or `None`): `config -> channels of a token in the model's input`, where `input` reads
            more beside them.
        outputs (`int`, defaults to 1): How many predictions the model returns: picture and sound are two.
        predicts (`str`, defaults to `"image"`): The tokens of the (first) prediction, as a stream: some models return
            something for the text too.
        entry (`str` or `None`): Module whose output enters block 0 in another memory layout than the blocks' own.
        prediction (`Prediction` or `None`): Where each token is in the output; `None` where nobody has said.
        added (`tuple[str, ...]`): Arguments that are added to the hidden states between blocks, token by token.
        condition (`str`): The argument that says what a sample shall show: another one is another generation.
        timestep_scale, timestep_offset (`float`, default to 1 and 0): The scheduler's timestep is the one that the
            model is called with x `timestep_scale` + `timestep_offset`; `None` where no number tells, so that the
            scheduler's own count of its steps is believed. Where the model counts from noise to picture,
            and the scheduler the other way round, the scale is below 0.
        timestep_rises (`bool`, defaults to `False`): Whether the scheduler's timesteps rise in a generation.
        lengths (`Callable` or `None`): `(arguments by name) -> tokens of the text of each sample`, where a batch may
            have texts of several lengths that the model pads, or cuts, as the longest of them needs. Such samples
            decide together; and where the text stands before the image, so that the image of each begins elsewhere,
            no tokens are chosen.
        skips (`Callable` or `None`): `config -> pairs of layers`: what the first of a pair returns is given to the
            second too, so that none may be left out without the other (long skips).
        in_full (`Callable` or `None`): `(arguments by name) -> why a call runs in full`, past the cache, as a
            sentence; `None` where it does not: for calls that write keys and values for others.
        together (`Callable` or `None`): `(arguments by name) -> why the samples of a call decide together`, as a
            sentence; `None` where they need not: for lists of pictures of which nobody can tell whose they are.
        modulation (`str`, defaults to `"call"`): Whether the tokens of a sample are modulated alike: `"sample"`
            always, `"token"` never, `"call"` where a call has no more timesteps than samples (in the argument, or in
            its shape's stream `"times"`).
    """

    kind: ClassVar[str] = "family"

    name: str
    transformer: str
    stacks: tuple[BlockSpec, ...]
    call_shape: Callable[[Any, dict[str, Any]], CallShape]
    default_shape: Callable[[Any, int | None, int | None, int | None, int | None], CallShape]
    attention: AttentionDialect
    around: tuple[tuple[str | Callable[[Any], int], str], ...] = ()
    side: tuple[BlockSpec, ...] = ()
    interleaved: bool = False
    latents: str = "hidden_states"
    timestep: str = "timestep"
    batched: tuple[str, ...] = ("hidden_states", "timestep")
    rows_at: Mapping[str, int] = field(default_factory=dict)
    listed: tuple[str, ...] = ()
    whole: tuple[str, ...] = ("return_dict",)
    free: tuple[str, ...] = ()
    only: Mapping[str, Any] = field(default_factory=dict)
    by_row: tuple[str, ...] = ()
    channel_dim: int = 1
    batched_cfg: bool = False
    conditional_half: int = 1
    grid: Callable[[dict[str, Any]], tuple[int, int] | None] | None = None
    input: str = "pos_embed"
    output: str = "proj_out"
    in_channels: Callable[[Any], int] | None = None
    outputs: int = 1
    predicts: str = IMAGE
    entry: str | None = None
    prediction: Prediction | None = None
    added: tuple[str, ...] = ()
    condition: str = "encoder_hidden_states"
    timestep_scale: float | None = 1.0
    timestep_offset: float = 0.0
    timestep_rises: bool = False
    lengths: Callable[[Mapping[str, Any]], Sequence[int]] | None = None
    skips: Callable[[Any], Sequence[tuple[int, int]]] | None = None
    in_full: Callable[[Mapping[str, Any]], str | None] | None = None
    together: Callable[[Mapping[str, Any]], str | None] | None = None
    modulation: Literal["sample", "token", "call"] = "call"

    def latents_of(self, arguments: Mapping[str, Any]) -> torch.Tensor | None:
        """The model's input (B, ...); `None` where its samples differ in size, or are lists themselves."""
        latents = arguments[self.latents]
        if isinstance(latents, torch.Tensor):
            return latents
        tensors = all(isinstance(sample, torch.Tensor) for sample in latents)
        alike = tensors and len({sample.shape for sample in latents}) == 1
        return torch.stack(list(latents)) if alike else None

    def is_ragged(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the texts of a call differ in length."""
        return self.lengths is not None and len(set(self.lengths(arguments))) > 1

    @property
    def image_is_first(self) -> bool:
        """Whether nothing stands before the image in the rows that it is in."""
        return all(parts_of(stack.tokens[stack.image])[0] == IMAGE for stack in self.stacks)

    def modulates_by_token(self, arguments: Mapping[str, Any], shape: CallShape) -> bool:
        """Whether the tokens of a sample are modulated each in its own way in a call, so that no norm can be made for
        some of them (image-to-video of LTX and Wan, where the tokens of the given frame are without noise)."""
        timestep = arguments.get(self.timestep)
        several = isinstance(timestep, torch.Tensor) and timestep.numel() > shape.batch
        several = several or shape.times > 1
        return self.modulation == "token" or (self.modulation == "call" and several)


def has(module: nn.Module, path: str) -> bool:
    """Whether a module has a submodule at a path; some blocks of a stack, and some checkpoints, lack one."""
    found: Any = module
    for name in path.split(".") if path else ():
        # Where a module keeps its submodules first: to ask for one by attribute takes several times as long.
        found = getattr(found, "_modules", {}).get(name) or getattr(found, name, None)
        if found is None:
            return False
    return isinstance(found, nn.Module)
