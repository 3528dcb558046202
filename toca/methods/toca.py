"""ToCa: Token-wise feature Caching (Zou et al., ICLR 2025, arXiv 2410.05317)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar

from ..axes.sampling import Sampling
from ..axes.schedule import LEAST_FACTOR, FullStepSchedule, step_index
from ..axes.selections import Selection
from ..axes.selections.ranked import ByAttention, ByChance, SelfAttention
from ..checks import NonNegative, PatchSide, Share, SomeSteps, Steps, Within, check
from ..models import MODULES, Site
from ..registry import register
from .base import Method


def _every_module_but_self_attention() -> dict[str, float]:
    return {"self_attn": 0.0, "cross_attn": 1.0, "ff": 1.0, "ff_context": 1.0, "block": 1.0}


@register
@dataclass(frozen=True)
class ToCa(Method):
    """Between full steps, recompute in each module the tokens that matter and reuse the others' features. Its many
    fields are the paper's constants, of which each published setting has others.

    **When** (section 3.4): a step is full if its index s is a multiple of tau; after a full step tau becomes
    round(N / (a + b s/S)). **Which** (section 3.3): the highest of (s1 or s2) + 0.25 n/N, where n counts the steps
    since a token was recomputed (s3), the best token of each g x g patch multiplied by 1 + beta (s4). **How many**:
    the share R0 x step factor x layer factor x module factor, clamped to [0, 1]. **Fill**: reuse. Self-attention is
    reused whole, for errors would accumulate otherwise.

    Args:
        interval (`int`, defaults to 3): N, the nominal interval between full steps.
        fresh_ratio (`float`, defaults to 0.3): R0, the nominal share of tokens recomputed.
        score (`str`, defaults to `"cross_attention"`): `"self_attention"` (s1: attention received),
            `"cross_attention"` (s2: entropy over the text; s1 in blocks without cross-attention), `"value_norm"`
            (DuCa) or `"random"` (a draw, which asks nothing of the model's attention).
        staleness_weight (`float`, defaults to 0.25): Weight of s3.
        bonus_patch (`int`, defaults to 2): g of s4, in tokens; 0 switches s4 off. Text tokens and the frames of one
            position have no patches and get no bonus.
        bonus_weight (`float`, defaults to 0.4): beta of s4.
        shared_cfg (`bool`, defaults to `False`): Whether the two guidance halves of a batch share one selection.
        step_factor (`tuple[float, float]`, defaults to `(1, 0)`): (a, b): a + b s/S.
        layer_factor (`tuple[float, float]`, defaults to `(1, 0)`): (a, b): a + b l/(L - 1), l the block's position in
            its stack of L blocks.
        layer_scale (`int`, *optional*): Takes the place of L - 1.
        module_factor (`dict[str, float]`): Factor of each module; one that is not named is reused whole.
            `self_attn` is reused or, where its share reaches 1, computed.
        interval_factor (`tuple[float, float]`, defaults to `(1, 0)`): (a, b) of tau.
        interval_window (`tuple[float, float, int]`, *optional*): (from, to, tau): for from S <= s < to S tau is this.
        warmup_steps (`int`, defaults to 1): First steps that are always full.
        phase (`int`, defaults to 0): Index from which s is counted for the interval.
        module_interval (`dict[str, int]`): Intervals of modules that have their own.
        counts_down (`bool`, defaults to `False`): Whether s runs from S - 1 to 0 in the order of sampling (DiT).
        self_attention (`str`, defaults to `"whole"`): `"chosen"`, which is not the paper's, makes it for a share of
            the tokens, as `module_factor` says; they attend to all, to the others by keys and values of before.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    interval: SomeSteps = 3
    fresh_ratio: NonNegative = 0.3
    score: str = "cross_attention"
    staleness_weight: NonNegative = 0.25
    bonus_patch: PatchSide = 2
    bonus_weight: NonNegative = 0.4
    shared_cfg: bool = False
    step_factor: tuple[float, float] = (1.0, 0.0)
    layer_factor: tuple[float, float] = (1.0, 0.0)
    layer_scale: Annotated[int, Within(1, 10_000)] | None = None
    module_factor: Mapping[str, NonNegative] = field(default_factory=_every_module_but_self_attention)
    interval_factor: tuple[float, float] = (1.0, 0.0)
    interval_window: tuple[Share, Share, SomeSteps] | None = None
    warmup_steps: SomeSteps = 1
    phase: Steps = 0
    module_interval: Mapping[str, SomeSteps] = field(default_factory=dict)
    counts_down: bool = False
    self_attention: SelfAttention = "whole"

    name: ClassVar[str] = "toca"
    scores: ClassVar[tuple[str, ...]] = ("self_attention", "cross_attention", "value_norm", "random")
    title: ClassVar[str] = "Zou et al., ICLR 2025, arXiv 2410.05317"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.score in self.scores, "score", self.score, f"must be one of {', '.join(self.scores)}")
        for name in ("module_factor", "module_interval"):
            unknown = sorted(set(getattr(self, name)) - set(MODULES))
            check(not unknown, name, unknown, f"may name {', '.join(MODULES)} only")
        start, stop, _ = self.interval_window or (0, 1, 1)
        check(start <= stop, "interval_window", self.interval_window, "must be (from, to, tau) with from <= to")
        a, b = self.interval_factor
        positive = min(a, a + b) >= LEAST_FACTOR
        check(positive, "interval_factor", self.interval_factor, "must be positive from s/S = 0 to 1")

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return self.schedule(site.module).full_steps(sampling.num_inference_steps)[step]

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        """rho, the share of a site's tokens to recompute in a step; `None` where it is reused whole."""
        if site.module not in self.module_factor:
            return None
        steps = sampling.num_inference_steps
        s = step_index(step, steps, self.counts_down)
        scale = self.layer_scale or max(1, site.depth - 1)
        step_factor = self.step_factor[0] + self.step_factor[1] * s / steps
        layer_factor = self.layer_factor[0] + self.layer_factor[1] * site.index / scale
        share = self.fresh_ratio * step_factor * layer_factor * self.module_factor[site.module]
        return None if site.attends == "self" and share <= 0 else share

    def selection(self) -> Selection:
        bonuses: dict[str, Any] = {
            "interval": self.interval,
            "staleness_weight": self.staleness_weight,
            "bonus_patch": self.bonus_patch,
            "bonus_weight": self.bonus_weight,
            "shared_cfg": self.shared_cfg,
            "self_attention": self.self_attention,
        }
        return ByChance(**bonuses) if self.score == "random" else ByAttention(rated_by=self.score, **bonuses)

    def schedule(self, module: str) -> FullStepSchedule:
        """When the sites of a module compute whole."""
        return self._schedules[module]

    @cached_property
    def _schedules(self) -> dict[str, FullStepSchedule]:
        return {module: self._schedule(self.module_interval.get(module, self.interval)) for module in MODULES}

    def _schedule(self, interval: int) -> FullStepSchedule:
        return FullStepSchedule(
            interval=interval,
            factor=self.interval_factor,
            window=self.interval_window,
            warmup_steps=self.warmup_steps,
            phase=self.phase,
            counts_down=self.counts_down,
        )
