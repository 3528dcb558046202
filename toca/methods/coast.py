"""Coast: a method of our own; tokens that keep to their way are dropped, and go on along it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..axes.fills import Fill
from ..axes.fills.polynomial import Polynomial
from ..axes.sampling import Sampling
from ..axes.schedule import spaced_schedule
from ..axes.selections import Selection
from ..axes.selections.drifting import ByDrift
from ..axes.spans import Span
from ..checks import Order, Seed, Share, SomeSteps
from ..models import Site
from ..models.streams import IMAGE
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class Coast(Method):
    """Between full steps, run the blocks on the tokens that drift, and let the others coast along a straight line. A
    method of our own.

    **When**: the first k steps are full, then every N-th. **Which**: let `F_t` be what all blocks together add to the
    image token t. In the other steps the highest of `|F_t - F'_t| x (1 + n_t)` go through all blocks, where F and F'
    are of the last two full steps and n counts the steps since the token last went through. The score costs nothing:
    both are kept for the fill. One choice serves the whole stack, so that the others are dropped before the first
    block: a site computes a part of the tokens, self-attention too. The chosen ones attend to all, to the others by
    the keys and values of their last computation, as in RAS. **Fill**: a dropped token enters the output layer as
    what enters the first block now plus its forecast `F_t + (F_t - F'_t) (s - r) / (r - r')`, with s, r and r' the
    step and the last two full ones (or their timesteps). With a share of 0 nothing is computed between full steps.

    **What it is worth**: PSNR to the full run in dB, 30 % of the tokens, full every third step after four
    (`eval/results/tokens/`, made by `toca.eval.benchmarks.tokens`). The oracle knows how far each forecast will miss.

    | tokens by | emoji | emoji-flux | fashion |
    |---|---|---|---|
    | chance | 36.9 | 52.2 | 35.5 |
    | staleness | 38.0 | 52.4 | 35.5 |
    | drift | 39.6 | 52.4 | 37.3 |
    | oracle | 42.1 | 52.9 | 37.4 |
    | none, full every second step | 44.1 | 60.9 | 41.9 |

    Of what the oracle finds drift finds half on `emoji`, a third on `emoji-flux`, all on `fashion`. Yet the last row
    (the stack reused on `emoji`, else forecast) computes less than the others: full steps are worth more than tokens,
    whoever chooses these.

    Args:
        interval (`int`, defaults to 3): N.
        fresh_ratio (`float`, defaults to 0.3): Share of the image's tokens that go through the blocks.
        order (`int`, defaults to 1): Degree of the polynomial that the others follow.
        variable (`str`, defaults to `"step"`): In what: the number of the `"step"`, or the scheduler's `"timestep"`.
        warmup_steps (`int`, defaults to 4): k, the first steps that are full.
        score (`str`, defaults to `"drift"`): What tokens are chosen by.
        shared_cfg (`bool`, defaults to `False`): Whether the two guidance halves of a batch share one choice.
        seed (`int`, defaults to 0): Of the draws.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    interval: SomeSteps = 3
    fresh_ratio: Share = 0.3
    order: Order = 1
    variable: Literal["step", "timestep"] = "step"
    warmup_steps: SomeSteps = 4
    score: Literal["drift", "staleness", "chance"] = "drift"
    shared_cfg: bool = False
    seed: Seed = 0

    name: ClassVar[str] = "coast"
    title: ClassVar[str] = "toca's own"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return spaced_schedule(self.interval, self.warmup_steps).full_steps(sampling.num_inference_steps)[step]

    @property
    def leaves_out_blocks(self) -> bool:
        return not self.fresh_ratio

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        """Where no token is chosen the whole stack is left out."""
        return () if self.fresh_ratio else (Span(0, sampling.layers, forecasts=True),)

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        return self.fresh_ratio if IMAGE in site.parts else 1.0

    def selection(self) -> Selection | None:
        if not self.fresh_ratio:
            return None
        return ByDrift(rated_by=self.score, shared_cfg=self.shared_cfg, seed=self.seed)

    def filling(self) -> Fill:
        return Polynomial(self.order, self.variable)
