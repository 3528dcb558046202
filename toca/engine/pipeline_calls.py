"""Whether a pipeline's call is under way.

Some pipelines run their scheduler more than once in one call, for sections of a video, sizes or tiles: each run is a
generation of its own, and together they are what the user asked for.
"""

from __future__ import annotations

import sys

END = "maybe_free_model_hooks"
"""What pipelines call at the end of a call; from it the engine knows that there will be no other run."""
MARK = "__toca_call__"
"""Among the local names of a pipeline's call, beside its own: an object that is gone when the call is. The frame
itself would keep all of them, and its number is given to the next call where one ends with an exception."""


def call_under_way() -> object | None:
    """What stands for the pipeline's call that is on the stack, the same as long as it is there; `None` for a loop
    that is no pipeline's."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "__call__":
            names = frame.f_locals
            if hasattr(names.get("self"), END):
                return names.setdefault(MARK, object())
        frame = frame.f_back  # type: ignore[assignment]
    return None
