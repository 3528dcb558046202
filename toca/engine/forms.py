"""What a transformer returns, but for its numbers: with it an output is made without a run of the model."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .job import with_sample


@dataclass(frozen=True)
class Form:
    """An output without its prediction.

    Args:
        hollow (`Any`): The output, with an empty prediction, and nothing in the other places.
        handed_back (`Mapping`): The names of the arguments that stand in these, unchanged.
    """

    hollow: Any
    handed_back: Mapping[Hashable, str]

    def around(self, sample: torch.Tensor, given: Mapping[str, Any]) -> Any:
        """The output of a call with some arguments that returns this prediction."""
        output = with_sample(self.hollow, sample)
        if isinstance(output, tuple):
            return tuple(given[self.handed_back[i]] if i else entry for i, entry in enumerate(output))
        for name, argument in self.handed_back.items():
            output[name] = given[argument]
        return output


class Forms:
    """The forms of the outputs that a transformer has returned: a tuple, an output class, a list of samples.

    What form it is the call says (`return_dict`). An output that holds anything beside the prediction but arguments
    that are handed back has none, for nobody knows what else would have to be filled.
    """

    def __init__(self) -> None:
        self._seen: dict[Hashable, Form] = {}

    def note(self, given: Mapping[str, Any], output: Any) -> None:
        """Remember the form of what a call with these arguments has returned."""
        key = _key(given)
        if key in self._seen or not isinstance(output, (torch.Tensor, list, tuple, Mapping)):
            return
        others = dict(_others(output))
        handed_back = {place: _name_of(entry, given) for place, entry in others.items()}
        if "" not in handed_back.values():
            self._seen[key] = Form(_hollow(output), handed_back)

    def of(self, given: Mapping[str, Any]) -> Form | None:
        """The form of what a call with these arguments returns; `None` where it is not known."""
        return self._seen.get(_key(given))


def _key(given: Mapping[str, Any]) -> Hashable:
    named = frozenset(name for name, value in given.items() if value is not None)
    return named, bool(given.get("return_dict", True))


def _others(output: Any) -> Iterator[tuple[Hashable, Any]]:
    """What an output holds beside the prediction, by its place."""
    if isinstance(output, tuple):
        yield from list(enumerate(output))[1:]
    elif isinstance(output, Mapping):
        yield from list(output.items())[1:]


def _hollow(output: Any) -> Any:
    """The output with an empty prediction, and `None` in all other places."""
    hollow = with_sample(output, torch.empty(0))
    if isinstance(hollow, tuple):
        return (hollow[0], *(None for _ in hollow[1:]))
    for place, _ in list(_others(hollow)):
        hollow[place] = None
    return hollow


def _name_of(entry: Any, given: Mapping[str, Any]) -> str:
    """The name of the argument that an entry is; empty where it is none."""
    return next((name for name, value in given.items() if value is entry and value is not None), "")
