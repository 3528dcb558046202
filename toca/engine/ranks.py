"""Context parallelism of diffusers: in the blocks each process has its share of the tokens, around the model all.

Whole modules are reused and forecast as by one process, each of its own tokens. Tokens are chosen among a process's
own, as many in each. A gate is shown all tokens, and what it decides is settled among the processes: one that ran
blocks which another left out would wait for it forever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from ..axes.fills import Fill
from ..hooks.block import Streams
from ..models import CallShape, FamilySpec, all_blocks
from ..models.shape import CallKey
from ..models.streams import parts_of
from ..plan.table import PlanTable

TEXTS = ("encoder_hidden_states",)
"""Arguments of a transformer, or streams of its blocks, that are the text."""
IMAGES = ("hidden_states",)
"""The same of the image."""


@dataclass(frozen=True)
class Ranks:
    """The processes that share the tokens of one transformer.

    Args:
        config (`ParallelConfig`): Of diffusers.
        group (`ProcessGroup`): They.
        splits_text (`bool`): Whether the text is shared out too, or each has all of it.
        streams (`frozenset[str]`): What goes through the blocks.
        unknown (`str`): What of the model is shared out in a way that no plan knows; empty where nothing is.
    """

    config: Any
    group: Any
    splits_text: bool
    streams: frozenset[str]
    unknown: str = ""

    @classmethod
    def of(cls, transformer: nn.Module, spec: FamilySpec, known: Ranks | None = None) -> Ranks | None:
        """Those of a transformer, which may be known already; `None` where parallelism is off.

        Raises:
            ValueError: If its weights are shared out, and not its tokens.
        """
        config = getattr(transformer, "_parallel_config", None)
        if config is None:
            return None
        if known is not None and known.config is config:
            return known
        context = getattr(config, "context_parallel_config", None)
        if context is None:
            raise ValueError(
                "Tensor parallelism is on, which shares the weights out over several devices: no cache has been tried "
                "with it. Share the tokens out, by `enable_parallelism(config=ContextParallelConfig(...))`, or use a "
                "cache on one device."
            )
        splits, unknown = _splits(transformer, spec)
        streams = frozenset(part for stack in spec.stacks for name in stack.tokens for part in parts_of(name))
        texts = any(name in TEXTS for name in splits)
        return cls(config, context._flattened_mesh.get_group(), texts, streams, unknown)

    @property
    def size(self) -> int:
        """How many there are."""
        return dist.get_world_size(self.group)

    def check(self, plan: PlanTable) -> None:
        """Refuse a plan that cannot be carried out on a share of the tokens.

        Raises:
            ValueError: If it cannot; it says why and what to do.
        """
        why = self.unknown or self._why_not(plan)
        if why:
            raise ValueError(
                f"Context parallelism is on, and {why}. Use a method that reuses or forecasts whole modules, such as "
                '"fora" or "taylorseer", one with a gate, such as "fbcache", or one that chooses tokens without a '
                'look at attention, such as "random"; or use a cache on one device.'
            )

    @staticmethod
    def _why_not(plan: PlanTable) -> str:
        if plan.score_sources or plan.attended_sites or plan.selection_spans:
            return "the plan looks into self-attention, which is made piece by piece on several devices"
        if plan.devices > 1:
            return "the plan shares the blocks out over several devices itself"
        if plan.fill is None or type(plan.fill).combine_for is Fill.combine_for:
            return ""
        around_model = all(span.around == "model" for span in plan.kept_spans)
        if plan.forecast_sites or not around_model:
            return "the plan's forecast mixes the tokens of an image, of which each device has a share"
        return ""

    def shape(self, shape: CallShape) -> CallShape:
        """The sizes of a call as the blocks of this process see them; those of the whole where that cannot be told."""
        texts = shape.text_tokens if self.splits_text else 0
        if self._has_more(shape) or shape.image_tokens % self.size or texts % self.size:
            return shape
        text_tokens = texts // self.size if self.splits_text else shape.text_tokens
        return replace(shape, frames=1, tokens=shape.image_tokens // self.size, grid=None, text_tokens=text_tokens)

    def _has_more(self, shape: CallShape) -> bool:
        """Whether there are tokens besides image and text of which nobody knows who has them. What is only attended
        to, as text is, every process has if it has the text."""
        others = {name for name, count in shape.others if count > (name == "times")}
        return bool(others if self.splits_text else others & {*self.streams, "times"})

    def whole(self, tokens: torch.Tensor, own: int) -> torch.Tensor:
        """(rows, T, C) of all processes, of this one's (rows, `own`, C); what is whole already stays."""
        if tokens.shape[1] != own:
            return tokens
        tokens = tokens.contiguous()
        parts = [torch.empty_like(tokens) for _ in range(self.size)]
        dist.all_gather(parts, tokens, group=self.group)
        return torch.cat(parts, dim=1)

    def own(self, streams: Streams, shape: CallShape, tokens: tuple[str, ...]) -> Streams:
        """This process's share of the streams that enter the first block, where the model shares them out within it.

        Args:
            streams (`tuple`): (rows, T, C) each.
            shape (`CallShape`): Of this process's call.
            tokens (`tuple[str, ...]`): What of a call each stream is.
        """
        counts = (sum(shape.counts(name)) for name in tokens)
        return tuple(self._own(stream, count) for stream, count in zip(streams, counts, strict=True))

    def _own(self, stream: torch.Tensor, count: int) -> torch.Tensor:
        return stream if stream.shape[1] == count else stream.narrow(1, dist.get_rank(self.group) * count, count)

    def settled(self, asked: torch.Tensor) -> torch.Tensor:
        """What the processes say together (n,): yes where one of them does."""
        votes = asked.to(torch.int32)
        dist.all_reduce(votes, dist.ReduceOp.MAX, group=self.group)
        return votes > 0


def why_uneven(key: CallKey) -> str | None:
    """Why a call runs in full whose tokens are not shared out evenly."""
    if key.around is None or key.around != key.shape:
        return None
    return (
        "The tokens of a call cannot be shared out evenly over the devices, or come in more streams than image and "
        "text: such calls run in full, past the cache."
    )


def _splits(transformer: nn.Module, spec: FamilySpec) -> tuple[set[str], str]:
    """The arguments that are shared out before the first block has run, and what no plan knows."""
    blocks = all_blocks(transformer, spec)
    inside = {module for block in blocks for module in block.modules() if module is not block}
    splits: set[str] = set()
    for module in transformer.modules():
        for name, split in _split_arguments(module):
            if module in inside or (module in blocks[1:] and name in (*IMAGES, *TEXTS)):
                return splits, "the model shares its tokens out anew in each block"
            if module is transformer or module is blocks[0]:
                splits.add(name)
                if name in (*IMAGES, *TEXTS) and split.split_dim != 1:
                    return splits, "the model shares out something other than its tokens"
    plain = all(stack.rows == "sample" and not stack.tokens_first for stack in spec.stacks)
    if not (plain and any(name in IMAGES for name in splits)):
        return splits, "the model does not share its tokens out before its blocks"
    return splits, ""


def _split_arguments(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The arguments that diffusers' hooks share out when a module is called, with how."""
    registry = vars(module).get("_diffusers_hook")
    for hook in () if registry is None else registry.hooks.values():
        metadata = getattr(hook, "metadata", None)
        if hasattr(hook, "parallel_config") and isinstance(metadata, dict):
            yield from ((name, split) for name, split in metadata.items() if isinstance(name, str))
