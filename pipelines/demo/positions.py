"""The positions of the slider from quality to speed: the plans of a front, each by the speed-up that leads to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from toca.plan.front import Front
from toca.plan.front_parts import Entry


@dataclass(frozen=True)
class Position:
    """One position.

    Args:
        speedup (`float`): what `--speedup` is given, with two digits: the entry's own, not rounded up.
        entry (`Entry`): what it leads to.
    """

    speedup: float
    entry: Entry

    @property
    def told(self) -> str:
        """What was measured of it, in Markdown."""
        steps = f"{self.entry.full_steps} of {self.entry.num_inference_steps} steps computed in full"
        return f"**{self.speedup:.2f}× as fast**, {self.entry.psnr_text} on prompts held out; {steps}"


def positions_of(front: Front) -> tuple[Position, ...]:
    """The plans that a speed-up leads to, from the best to the fastest; one that another beats in both is not among
    them."""
    asked = (Position(max(1.0, math.floor(entry.speedup * 100) / 100), entry) for entry in front.entries)
    return tuple(each for each in asked if front.at(speedup=each.speedup) is each.entry)
