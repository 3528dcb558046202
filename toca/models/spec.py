"""What a model looks like to the cache: declarative, one `FamilySpec` a model class.

A family names its stacks of blocks, and in each block the places whose output may be kept (the *sites*). Nothing
here knows of a caching method, and no method knows of a module path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from .dialect import AttentionDialect
from .parallel_block import ParallelBlock
from .prediction import Prediction
from .shape import CallShape

MODULES = ("self_attn", "cross_attn", "ff", "ff_context", "block", "stack")
"""The names a site's module may have, in all plans of all families."""

Stream = Literal["image", "text", "joint"]
Rows = Literal["sample", "frame", "position"]


@dataclass(frozen=True)
class SiteSpec:
    """A cacheable place in a block.

    Args:
        module (`str`): Its name in plans, one of `MODULES`.
        path (`str`): Attribute of the block that holds the module; empty for the block itself.
        kind (`str`): How a decision reaches it: `"attention"`, `"feed_forward"` or `"parallel_block"`.
        stream (`str`): The tokens of its output: `"image"`, `"text"` or `"joint"` (text first, then image).
        inside (`str` or `None`): The site of the same block without which this one's output is never looked at.
        query_linears, text_linears (`tuple[str, ...]`): Linear layers (paths below the module; empty: all of them)
            that run on the site's own tokens, and those that always run on all text tokens.
        norms (`tuple[str, ...]`): Layer norms of the block that feed this site, and no other but those inside it.
        width (`str` or `None`): For attention, the linear layer whose `out_features` is heads x head_dim.
    """

    module: str
    path: str
    kind: str
    stream: Stream = "image"
    inside: str | None = None
    query_linears: tuple[str, ...] = ()
    text_linears: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    width: str | None = None


@dataclass(frozen=True)
class BlockSpec:
    """One stack of equal blocks.

    Args:
        stack (`str`): Name of the stack in plans.
        blocks (`str`): Attribute of the transformer that holds the `ModuleList`.
        sites (`tuple[SiteSpec, ...]`): In the order in which a block runs them.
        rows (`str`): What one row of the block's batch dimension is: a `"sample"`, a `"frame"` of a sample, or a
            `"position"` of a sample (all frames of one image token).
        conditioning (`tuple[str, ...]`): Submodules with linear layers that run once a sample (adaLN).
        streams (`tuple[str, ...]`): The arguments of a block that it returns renewed, in the order in which it returns
            them.
        parallel (`ParallelBlock` or `None`): The pieces of a block of kind `"parallel_block"`.
    """

    stack: str
    blocks: str
    sites: tuple[SiteSpec, ...]
    rows: Rows = "sample"
    conditioning: tuple[str, ...] = ()
    streams: tuple[str, ...] = ("hidden_states",)
    parallel: ParallelBlock | None = None


@dataclass(frozen=True)
class FamilySpec:
    """A model family: all that is known of a transformer's class, as data, hence its many fields.

    Args:
        name (`str`): Short name in plans.
        transformer (`str`): Class name of the diffusers transformer.
        stacks (`tuple[BlockSpec, ...]`): In plan order; equal-length stacks with `interleaved=True` run alternately.
        call_shape (`Callable`): `(transformer, arguments by name) -> CallShape`.
        default_shape (`Callable`): `(config, height, width, num_frames, text_tokens) -> CallShape` of one sample,
            sizes in latent pixels, each `None` where the model's own default is meant.
        attention (`AttentionDialect`): How the family's attention modules make query, key and value.
        around (`tuple[tuple[str, str], ...]`): Modules outside the sites and what they run on: `"sample"`, `"token"`
            or `"text_token"`. A module that runs twice is named twice.
        batched_cfg (`bool`): Whether the family's pipelines batch the two guidance branches in one call.
        grid (`Callable` or `None`): `(arguments by name) -> (rows, columns)` where `call_shape` cannot tell; `None`
            where the tokens form no grid.
        batched (`tuple[str, ...]`): Arguments, and names in dictionaries below them, whose tensors have one row a
            sample, or several rows a sample in a row.
        whole (`tuple[str, ...]`): The same of those that have no row a sample.
        free (`tuple[str, ...]`): Arguments whose content is not the family's: what in them has a row a sample is told
            by its shape.
        only (`dict[str, Any]`): Arguments that go together with one value alone, for another one changes which layers
            run.
        by_row (`tuple[str, ...]`): Attention processors, beside the dialect's, that treat each row of a batch by
            itself.
        channel_dim (`int`, defaults to 1): Dimension of the channels in the model's input and output.
        conditional_half (`int`, defaults to 1): Which half of a batch is the conditional branch of guidance.
        input, output (`str`): The layers that read the model's input and make its output.
        entry (`str` or `None`): Module whose output enters block 0 in another memory layout than the blocks' own.
        prediction (`Prediction` or `None`): Where each token is in the output; `None` where nobody has said.
        added (`tuple[str, ...]`): Arguments that are added to the hidden states between blocks, token by token.
        condition (`str`): The argument that says what a sample shall show: another one is another generation.
        timestep_scale (`float`, defaults to 1): The scheduler's timestep over the one that the model is called with.
    """

    kind: ClassVar[str] = "family"

    name: str
    transformer: str
    stacks: tuple[BlockSpec, ...]
    call_shape: Callable[[Any, dict[str, Any]], CallShape]
    default_shape: Callable[[Any, int | None, int | None, int | None, int | None], CallShape]
    attention: AttentionDialect
    around: tuple[tuple[str, str], ...] = ()
    interleaved: bool = False
    batched: tuple[str, ...] = ("hidden_states", "timestep")
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
    entry: str | None = None
    prediction: Prediction | None = None
    added: tuple[str, ...] = ()
    condition: str = "encoder_hidden_states"
    timestep_scale: float = 1.0
