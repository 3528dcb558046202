"""What a step takes at least, however little of it is computed: data, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toca.eval.findings.results import Quartiles


@dataclass(frozen=True)
class Floor:
    """Shares of a full step's time in the loop: median, first and third quartile.

    Args:
        empty (`Quartiles`): Of a step that leaves all blocks out.
        smallest (`Quartiles`, *optional*): Of a stock step on the smallest picture; `None` where the pipeline makes
            one size alone.
        flops (`float`): The FLOPs of the latter, as a share.
        size (`str`): Of that picture.
    """

    empty: Quartiles
    smallest: Quartiles | None = None
    flops: float = 0.0
    size: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Floor:
        """What `asdict` made of one, also as JSON gives it back."""
        smallest = data["smallest"]
        return cls(tuple(data["empty"]), smallest and tuple(smallest), data["flops"], data["size"])

    @property
    def text(self) -> str:
        """In words, one or two sentences."""
        told = f"A step that leaves all blocks out takes {_share(self.empty)} of a full one."
        if self.smallest is None:
            return told
        return (
            f"{told} A stock step on a picture of {self.size}, with {self.flops:.0%} of the FLOPs, takes "
            f"{_share(self.smallest)}: no step that runs every module, on however few tokens, takes less."
        )


def _share(share: Quartiles) -> str:
    median, first, third = share
    return f"{median:.0%} ({first:.0%} to {third:.0%})"
