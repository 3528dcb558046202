"""What a transformer really computes under a cache that does not tell: its parts are counted as they run."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from toca.eval.counting.flops import FlopMeter

_ROOT = ""  # the transformer itself: what it computes outside all parts
_RAN = 0.1  # share of its FLOPs from which a block ran; under it only an embedding that others use was computed


@dataclass
class MeteredCall:
    """One transformer call.

    Args:
        rows (`int`): Its batch.
        ran (`Counter`): How often each part ran, by name.
    """

    rows: int
    ran: Counter[str] = field(default_factory=lambda: Counter({_ROOT: 1}))


class Meter:
    """Counts the parts of a transformer that run: attention modules, and layers with weights.

    It wraps their `forward` and must be entered before a cache is put on, so that a part that the cache answers for is
    not counted; `unchanged` around it takes the wrappers off. `weigh` finds what the parts cost by running the first
    call once more, uncached, under a `FlopMeter`: run under a cache, its dispatch would slow down what is timed.

    Args:
        transformer (`nn.Module`): The denoiser.
    """

    def __init__(self, transformer: nn.Module) -> None:
        self.calls: list[MeteredCall] = []
        self._transformer = transformer
        self._first: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._whole = MeteredCall(rows=1)
        self._own: Counter[str] = Counter()  # FLOPs of each part, without those of the parts in it
        self._flops: FlopMeter | None = None
        self._inner = 0
        self._handle: RemovableHandle | None = None

    def __enter__(self) -> Meter:
        for name, module in self._transformer.named_modules():
            if _is_part(module):
                module.forward = self._counted(name, module.forward)
        # A native hook: a library may replace the transformer's own `forward`, but the pipeline still calls it.
        self._handle = self._transformer.register_forward_pre_hook(self._begin, with_kwargs=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._handle is not None:
            self._handle.remove()

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._flops is None:
            self._first = self._first or (args, kwargs)
            self.calls.append(MeteredCall(_rows(args, kwargs)))

    def _counted(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self._flops is not None:
                return self._weighed(name, self._flops, functools.partial(forward, *args, **kwargs))
            if self.calls:
                self.calls[-1].ran[name] += 1
            return forward(*args, **kwargs)

        return counted

    def _weighed(self, name: str, meter: FlopMeter, forward: Callable[[], Any]) -> Any:
        before, outer, self._inner = meter.total, self._inner, 0
        output = forward()
        flops = meter.total - before
        self._own[name] += flops - self._inner
        self._whole.ran[name] += 1
        self._inner = outer + flops
        return output

    @torch.no_grad()
    def weigh(self) -> None:
        """Run the first call once more, and note what each part costs. The cache must be off."""
        if self._first is None:
            return
        args, kwargs = self._first
        self._own.clear()
        self._whole, self._inner = MeteredCall(_rows(args, kwargs)), 0
        with FlopMeter() as self._flops:
            self._transformer(*args, **kwargs)
            self._own[_ROOT] = self._flops.total - self._inner
        self._flops = None

    def flops(self, call: MeteredCall) -> int:
        """FLOPs of a call, two a multiply-add; of the parts that ran, as often as they ran."""
        return sum(self._cost(call, name) for name in call.ran)

    def flops_full(self, call: MeteredCall) -> int:
        """FLOPs of the same call uncached."""
        return sum(self._own.values()) * call.rows // self._whole.rows

    def blocks(self, call: MeteredCall) -> int:
        """Blocks that ran."""
        whole, spent = self._by_block(self._whole), self._by_block(call)
        return sum(spent[name] * self._whole.rows >= _RAN * flops * call.rows for name, flops in whole.items())

    @property
    def blocks_full(self) -> int:
        """Blocks of an uncached call."""
        return len(self._by_block(self._whole))

    def letter(self, call: MeteredCall) -> str:
        """`F` for a call that left nothing out, `a` for one without some of the blocks, `m` for any other."""
        if self.blocks(call) < self.blocks_full:
            return "a"
        return "F" if self.flops(call) >= self.flops_full(call) else "m"

    def _cost(self, call: MeteredCall, name: str) -> int:
        # A part that no uncached call runs, such as one that a library brings along, has no price.
        runs = self._whole.ran[name]
        return self._own[name] * call.ran[name] * call.rows // (runs * self._whole.rows) if runs else 0

    def _by_block(self, call: MeteredCall) -> Counter[str]:
        """FLOPs by block: the members of the lists of modules that the transformer has."""
        lists = [name for name, child in self._transformer.named_children() if isinstance(child, nn.ModuleList)]
        spent: Counter[str] = Counter()
        for name in call.ran:
            head, _, tail = name.partition(".")
            if head in lists:
                spent[f"{head}.{tail.partition('.')[0]}"] += self._cost(call, name)
        return spent


def _is_part(module: nn.Module) -> bool:
    if hasattr(module, "processor"):
        return True  # attention: the products of queries and keys belong to no layer
    weight = getattr(module, "weight", None)
    is_leaf = next(module.children(), None) is None
    return is_leaf and isinstance(weight, Tensor) and weight.ndim > 1 and not isinstance(module, nn.Embedding)


def _rows(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """The batch of a call: the length of its first tensor, which is the latents."""
    values = (*args, kwargs.get("hidden_states"), *kwargs.values())
    return next((len(value) for value in values if isinstance(value, Tensor) and value.ndim), 1)
