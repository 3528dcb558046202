"""Results on disk: whole or not at all, each under all that it depends on, and none that is not as it was written."""

from toca.eval.store.store import Store

__all__ = ["Store"]
