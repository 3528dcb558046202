"""A stock pipeline whose plain call makes what `toca generate` makes: what suits its model is filled in."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from toca.pipelines.arguments import call_defaults, class_id
from toca.pipelines.config import check_numbers


def fill_defaults(pipe: Any) -> Any:
    """Give one pipeline a derived class whose call fills in `call_defaults` and takes names of classes.

    The instance changes its class and the class itself is never touched: `isinstance`, the name, the signature of the
    call, `save_pretrained` and `from_pipe` are the stock pipeline's, and what a caller passes is passed on.

    Args:
        pipe: a diffusers pipeline; it is changed.

    Returns:
        `pipe`
    """
    stock: Any = type(pipe)
    pipe.__class__ = _filling(stock)
    return pipe


@functools.cache
def _filling(base: Any) -> type:
    stock = base.__call__
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind_partial(self, *args, **kwargs)
        check_numbers(bound.arguments)
        for name, value in call_defaults(self).items():
            bound.arguments.setdefault(name, value)
        if "class_labels" in bound.arguments:
            bound.arguments["class_labels"] = _class_ids(self, bound.arguments["class_labels"])
        return stock(*bound.args, **bound.kwargs)

    def reduce(self: Any, _: Any) -> tuple:
        # A class made on the fly is found by no name: it is made again where the pipeline is unpickled.
        return _empty, (base,), vars(self)

    namespace = {"__call__": call, "__reduce_ex__": reduce, "__doc__": base.__doc__, "__module__": base.__module__}
    return type(base.__name__, (base,), {**namespace, "__qualname__": base.__qualname__})


def _empty(base: Any) -> Any:
    cls: Any = _filling(base)
    return cls.__new__(cls)


def _class_ids(pipe: Any, labels: Any) -> Any:
    """Numbers for names; numbers, and tensors of them, stay as they are."""
    if isinstance(labels, (str, int)):
        labels = [labels]
    if not isinstance(labels, (list, tuple)):
        return labels
    return [class_id(pipe, label) if isinstance(label, str) else label for label in labels]
