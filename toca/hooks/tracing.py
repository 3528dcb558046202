"""Whether the installed torch can compile modules whose class was made here."""

from __future__ import annotations

import functools
import logging
import threading
from types import SimpleNamespace

import torch
from torch import nn

from .classes import HANDLE, swap_class
from .feed_forward import make_forward


def refuse_compiled(block: nn.Module) -> None:
    """Refuse a compiled block where it cannot be traced. Raises `ValueError`."""
    if is_compiled(block) and not can_compile():
        raise ValueError(
            f"torch {torch.__version__} cannot compile a model whose cache is on: upgrade torch, or leave out "
            "torch.compile."
        )


def is_compiled(block: nn.Module) -> bool:
    """Whether `block.compile()` was called."""
    return block._compiled_call_impl is not None


@functools.cache
def can_compile() -> bool:
    """Whether `torch.compile` traces a module of a derived class. Releases up to 2.7 look for what its `forward` has
    closed over on the stock class, for which such a module is taken, and fail.

    It is tried once, on a linear layer, and in a thread of its own: whoever asks may be where tracing is off.
    """
    outcome: list[bool] = []
    thread = threading.Thread(target=lambda: outcome.append(_compiles()))
    thread.start()
    thread.join()
    return outcome == [True]


def _compiles() -> bool:
    module = nn.Sequential(nn.Linear(1, 1))
    handle = SimpleNamespace(action="compute", kept=lambda output: output)
    swap_class(module[0], make_forward, handle, "forward", HANDLE)
    log = logging.getLogger("torch._guards")
    before, log.disabled = log.disabled, True
    try:
        with torch.no_grad():
            torch.compile(module, backend="eager", fullgraph=True)(torch.zeros(1, 1))
    except Exception:
        # Whatever it is that fails inside torch, users cannot compile with a cache.
        return False
    finally:
        log.disabled = before
    return True
