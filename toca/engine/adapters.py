"""LoRA adapters: what is kept of a model with some is not reused with others."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from torch import nn


class Adapters:
    """Notices when adapters of a transformer are loaded, exchanged, rescaled, switched off or merged, in time for the
    next call. New weights under the same name, in the middle of a generation, nobody can see; `toca.reset` is for
    these."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._layers: list[Any] = []

    def state(self, transformer: nn.Module) -> Hashable:
        """What is equal as long as the same adapters count as much; `None` where there are none."""
        names = tuple(getattr(transformer, "peft_config", ()))
        if names != self._names:
            self._names = names
            self._layers = [module for module in transformer.modules() if hasattr(module, "merged_adapters")]
        return tuple(map(_of_layer, self._layers)) if names else None


def _of_layer(layer: Any) -> Hashable:
    active, scales = layer.active_adapters, getattr(layer, "scaling", {})
    return tuple(active), tuple(scales.items()), layer.disable_adapters, tuple(layer.merged_adapters)
