"""What a transformer returns, but for its numbers: with it an output is made without a run of the model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch

from .job import with_sample


class Forms:
    """The forms of the outputs that a transformer has returned: a tuple, an output class, a list of samples.

    What form it is the call says (`return_dict`). An output that holds anything beside the prediction has none, for
    nobody knows what else would have to be filled.
    """

    def __init__(self) -> None:
        self._seen: dict[Hashable, Any] = {}

    def note(self, arguments: Mapping[str, Any], output: Any) -> None:
        """Remember the form of what a call with these arguments has returned."""
        key = _key(arguments)
        if key not in self._seen and _holds_one(output):
            self._seen[key] = with_sample(output, torch.empty(0))

    def of(self, arguments: Mapping[str, Any]) -> Any:
        """The form of what a call with these arguments returns; `None` where it is not known."""
        return self._seen.get(_key(arguments))


def _key(arguments: Mapping[str, Any]) -> Hashable:
    given = frozenset(name for name, value in arguments.items() if value is not None)
    return given, bool(arguments.get("return_dict", True))


def _holds_one(output: Any) -> bool:
    """Whether an output holds the prediction, and nothing else."""
    if isinstance(output, (torch.Tensor, list)):
        return True
    return isinstance(output, (tuple, Mapping)) and len(output) == 1
