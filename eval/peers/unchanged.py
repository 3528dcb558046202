"""Nothing that a peer does to a pipeline outlives it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from toca.eval.peers.denoisers import transformers_of


@contextlib.contextmanager
def unchanged(pipe: Any) -> Iterator[None]:
    """Put back, however the block ends, the attributes of the pipeline's class and of all of its denoisers' modules.

    Libraries replace `forward` on instances and `__call__` on classes, hang registries onto modules, and put other
    lists in the place of the blocks; their own way off does not undo all of it. Attention processors are covered too,
    and so is the order of submodules, which is the order of weights in a state dict. Weights, native hooks and the
    attributes of the pipeline object are left alone.

    Args:
        pipe: A diffusers pipeline.
    """
    cls = type(pipe)
    kept_class = dict(vars(cls))
    modules = [module for part in transformers_of(pipe) for module in part.modules()]
    processors = [module.processor for module in modules if hasattr(getattr(module, "processor", None), "__dict__")]
    live = [vars(item) for item in (*modules, *processors)] + [module._modules for module in modules]
    kept = [dict(attributes) for attributes in live]
    try:
        yield
    finally:
        for attributes, before in zip(live, kept, strict=True):
            attributes.clear()
            attributes.update(before)
        _restore_class(cls, kept_class)


def _restore_class(cls: type, before: dict[str, Any]) -> None:
    for name in set(vars(cls)) - set(before):
        delattr(cls, name)
    for name, value in before.items():
        # Only what changed: some attributes of a class, such as `__dict__`, cannot be set.
        if vars(cls).get(name) is not value:
            setattr(cls, name, value)
