"""Floating point operations as they are done: one count for every release of torch and every attention backend.

Torch counts a backend's attention if it has a formula for the backend's operator, and which it has depends on its
release: before 2.15 the CPU's flash attention counts nothing. The operator also sees its inputs padded where the
backend pads them. So attention is counted where it is called, and by torch's operators only where it is called as one
of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention_hop
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

Shape = torch.Size | tuple[int, ...]


def attention_flops(query: Shape, key: Shape, value: Shape) -> int:
    """Operations of softmax(Q Kᵀ) V, two a multiply-add, nothing left out for a mask.

    Args:
        query, key, value (`Shape`): (…, tokens, width). Grouped queries have more heads than keys and values.
    """
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _operator_flops(query: Shape, key: Shape, value: Shape, *args: Any, **kwargs: Any) -> int:
    return attention_flops(query, key, value)


# All fused operators (math is made of products, which are counted): no matter which of them a release counts itself.
_OPERATORS = {
    getattr(torch.ops.aten, name): _operator_flops
    for name in (
        "_scaled_dot_product_attention_math_for_mps",
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_fused_attention_overrideable",
    )
}


class FlopMeter(TorchFunctionMode):
    """Counts the operations done while it is entered, two a multiply-add, as `FlopCounterMode` does.

    What was compiled runs in eager mode meanwhile, for a graph's kernels have no formulas.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counter = FlopCounterMode(display=False, custom_mapping=_OPERATORS)
        self._corrected = 0
        self._entered = ExitStack()

    @property
    def total(self) -> int:
        """The operations so far; may be asked while it counts."""
        return self._counter.get_total_flops() + self._corrected

    def __enter__(self) -> FlopMeter:
        self._entered.enter_context(torch.compiler.set_stance("force_eager"))
        self._entered.enter_context(self._counter)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._entered.close()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            return self._attention(func, args, kwargs)
        if func is flex_attention_hop:
            # Not every release can run it under a counter.
            with _disable_current_modes():
                return self._attention(func, args, kwargs)
        return func(*args, **kwargs)

    def _attention(self, func: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        before = self._counter.get_total_flops()
        output = func(*args, **kwargs)
        seen = self._counter.get_total_flops() - before
        self._corrected += _call_flops(*args, **kwargs) - seen
        return output


def _call_flops(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> int:
    return attention_flops(query.shape, key.shape, value.shape)
