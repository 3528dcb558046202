"""Where a gauge reads: hooks on the modules of a stock transformer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..models import BlockSpec, CallShape, FamilySpec, SiteSpec, walk_blocks


def maker_of(block: nn.Module, site: SiteSpec) -> nn.Module:
    """The module whose output is what a cache keeps of a site."""
    return block.get_submodule("proj_out" if site.kind == "parallel_block" else site.path)


def on_entering(
    transformer: nn.Module, spec: FamilySpec, shape: Callable[[], CallShape], note: Callable[[torch.Tensor], None]
) -> RemovableHandle:
    """Have `note` called with the image tokens that enter the first block, (rows, tokens, C), in a call of a shape."""
    _, _, _, block, stack = next(walk_blocks(transformer, spec))

    def noted(call: dict[str, Any]) -> None:
        note(_image(stack, tuple(call[name] for name in stack.streams), shape()))

    return _before(block, noted)


def on_modulated_input(
    transformer: nn.Module, spec: FamilySpec, shape: Callable[[], CallShape], note: Callable[[torch.Tensor], None]
) -> RemovableHandle:
    """Have `note` called with the image tokens that the first block's self-attention is given, (rows, tokens, C), in a
    call of a shape."""
    _, _, _, block, block_spec = next(walk_blocks(transformer, spec))
    attention = next(site for site in block_spec.sites if site.module == "self_attn")

    def noted(call: dict[str, Any]) -> None:
        given = next(iter(call.values())).detach()
        note(block_spec.image_given(given, attention.stream, shape()))

    return _before(block.get_submodule(attention.path), noted)


def on_leaving(
    transformer: nn.Module, spec: FamilySpec, shape: Callable[[], CallShape], note: Callable[[torch.Tensor], None]
) -> RemovableHandle:
    """Have `note` called with the image tokens that leave the last block, (rows, tokens, C), in a call of a shape."""
    *_, (_, _, _, block, stack) = walk_blocks(transformer, spec)

    def hook(module: nn.Module, args: tuple, output: Any) -> None:
        note(_image(stack, output if isinstance(output, tuple) else (output,), shape()))

    return block.register_forward_hook(hook)


def streams_of(output: Any) -> tuple[torch.Tensor, ...]:
    """What a module returns, one tensor or several, without their gradients."""
    return tuple(stream.detach() for stream in (output if isinstance(output, tuple) else (output,)))


def _image(stack: BlockSpec, streams: tuple[Any, ...], shape: CallShape) -> torch.Tensor:
    if stack.tokens_first:
        streams = tuple(stream.transpose(0, 1) for stream in streams)
    return stack.image_of(streams, shape).detach()


def _before(module: nn.Module, note: Callable[[dict[str, Any]], None]) -> RemovableHandle:
    """Have `note` called with a module's arguments by name, in the order of its signature."""
    names = tuple(inspect.signature(type(module).forward).parameters)[1:]

    def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
        call = dict(zip(names, args, strict=False)) | kwargs
        note({name: call[name] for name in names if name in call})

    return module.register_forward_pre_hook(hook, with_kwargs=True)
