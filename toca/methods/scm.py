"""SCM: cache-dit's step computation masks (software; no paper)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

from ..axes.fills import Fill
from ..axes.gates import Gate
from ..axes.sampling import Sampling
from ..axes.selections import Selection
from ..axes.spans import Span
from ..checks import SomeSteps, check
from ..models import Site
from ..registry import named, register
from .base import Method

Policy = Literal["slow", "medium", "fast", "ultra"]
Bins = tuple[tuple[int, ...], tuple[int, ...]]
"""How many steps in a row are computed, and how many after each of these are not, in turn."""

LONG = 28
"""Steps of the policies that are stretched to more."""

BINS: dict[int, dict[str, Bins]] = {
    4: dict.fromkeys(("slow", "medium", "fast", "ultra"), ((2, 1), (1,))),
    6: dict.fromkeys(("slow", "medium", "fast", "ultra"), ((3, 1), (2,))),
    8: {
        "slow": ((5, 1, 1), (1,)),
        "medium": ((4, 1, 1), (1, 1)),
        "fast": ((3, 1, 1), (1, 2)),
        "ultra": ((2, 1, 1), (2, 2)),
    },
    9: {
        "slow": ((5, 2, 1), (1,)),
        "medium": ((5, 1, 1), (1, 1)),
        "fast": ((4, 1, 1), (1, 2)),
        "ultra": ((3, 1, 1), (2, 2)),
    },
    15: {
        "slow": ((4, 2, 2, 2, 1), (1, 1, 1, 1)),
        "medium": ((4, 2, 1, 1, 1), (1, 1, 2, 2)),
        "fast": ((3, 1, 1, 1, 1), (1, 2, 2, 3)),
        "ultra": ((2, 1, 1, 1, 1), (1, 2, 3, 3)),
    },
    LONG: {
        "slow": ((8, 3, 3, 2, 1, 1), (1, 2, 2, 2, 3)),
        "medium": ((6, 2, 2, 2, 2, 1), (1, 3, 3, 3, 3)),
        "fast": ((6, 1, 1, 1, 1, 1), (1, 3, 4, 5, 4)),
        "ultra": ((4, 1, 1, 1, 1), (2, 5, 6, 7)),
    },
}
"""By the number of steps that they are for, and for all below it down to the next; the longest for all above it."""


@register
@dataclass(frozen=True)
class SCM(Method):
    """A mask says which steps are full; in the others what another method decides, or what the stack of blocks added
    is reused.

    **When**: a mask of policy and number of steps, or of bins: `compute_bins` and `cache_bins` count in turn the steps
    that are full and those that are not. The policies are tables for 28 steps and, for distilled models, for 15 and
    fewer; they are stretched or cut to other numbers, and the last step is full. **Fill**: without `when` (cache-dit's
    policy "static") the residual of the whole stack. With it ("dynamic") a step that the mask does not make full is as
    that method has it: `SCM("fast", when="dbcache")` is DBCache that may skip only where the mask says so.

    Of 1 to 3, 5 and 7 steps, for which cache-dit has no policy, the next longer one is cut.

    Args:
        policy (`str`, defaults to `"medium"`): `"slow"`, `"medium"`, `"fast"` or `"ultra"`.
        compute_bins (`tuple[int, ...]`, *optional*): In place of a policy, how many steps in a row are full, in turn
            with the others.
        cache_bins (`tuple[int, ...]`, *optional*): How many after each of these are not. Together they must reach to
            the last step.
        when (`Method` or `str`, *optional*): Decides in the other steps: a method, or the name of one or of a preset.

    Raises:
        ValueError: If only one of the bins is given, or a name is unknown.
    """

    policy: Policy = "medium"
    compute_bins: tuple[SomeSteps, ...] = ()
    cache_bins: tuple[SomeSteps, ...] = ()
    when: Method | str | None = None

    name: ClassVar[str] = "scm"
    title: ClassVar[str] = "cache-dit, 2025 (software; no paper)"

    def __post_init__(self) -> None:
        super().__post_init__()
        both = bool(self.compute_bins) == bool(self.cache_bins)
        check(both, "cache_bins", self.cache_bins, "must be given where `compute_bins` are, and else not")
        if isinstance(self.when, str):
            object.__setattr__(self, "when", named(self.when))

    @property
    def _clock(self) -> Method | None:
        assert not isinstance(self.when, str)
        return self.when

    @property
    def label(self) -> str:
        return self.name if self._clock is None else f"{self.name} x {self._clock.label}"

    def mask(self, num_steps: int) -> tuple[bool, ...]:
        """Which steps are full."""
        return _mask(self.policy, self.compute_bins, self.cache_bins, num_steps)

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        steps, reach = sampling.num_inference_steps, sum(self.compute_bins) + sum(self.cache_bins)
        enough = not self.compute_bins or reach >= steps
        check(enough, "compute_bins", self.compute_bins, f"must with `cache_bins` add up to {steps} steps or more")
        if self._clock is not None:
            self._clock.check_fits(sampling)

    def check_scheduler(self, scheduler: Any) -> None:
        if self._clock is not None:
            self._clock.check_scheduler(scheduler)

    @property
    def reads_timesteps(self) -> bool:  # type: ignore[override]
        return self._clock is not None and self._clock.reads_timesteps

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        full = self.mask(sampling.num_inference_steps)[step]
        return full or (self._clock is not None and self._clock.computes(site, step, sampling))

    def gate(self) -> Gate | None:
        return None if self._clock is None else self._clock.gate()

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        return None if self._clock is None else self._clock.share(site, step, sampling)

    def selection(self) -> Selection | None:
        return None if self._clock is None else self._clock.selection()

    @property
    def leaves_out_blocks(self) -> bool:
        return self._clock is None or self._clock.leaves_out_blocks

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers),) if self._clock is None else self._clock.spans(step, sampling)

    def filling(self) -> Fill | None:
        return None if self._clock is None else self._clock.filling()

    def guided(self, step: int, sampling: Sampling) -> bool:
        return self._clock is None or self._clock.guided(step, sampling)


@cache
def _mask(policy: str, computed: tuple[int, ...], cached: tuple[int, ...], num_steps: int) -> tuple[bool, ...]:
    if computed:
        return _spread(computed, cached)[:num_steps]
    mask = _spread(*_bins(policy, num_steps))
    return (*mask[: num_steps - 1], True)


def _spread(computed: tuple[int, ...], cached: tuple[int, ...]) -> tuple[bool, ...]:
    mask: list[bool] = []
    for place in range(max(len(computed), len(cached))):
        mask += [True] * sum(computed[place : place + 1])
        mask += [False] * sum(cached[place : place + 1])
    return tuple(mask)


def _bins(policy: str, num_steps: int) -> Bins:
    """The bins of a policy for a number of steps."""
    size = next((size for size in BINS if size >= num_steps), LONG)
    computed, cached = (list(bins) for bins in BINS[size][policy])
    if num_steps > size:
        _stretch(computed, cached, num_steps)
    _cut(computed, cached, num_steps)
    return tuple(computed), tuple(cached)


def _stretch(computed: list[int], cached: list[int], num_steps: int) -> None:
    """Add half of the ratio of the lengths to each bin in turn, until they reach to the last step."""
    part = num_steps / LONG * 0.5
    growing = [(bins, place) for place in range(len(cached)) for bins in (computed, cached)]
    growth = [(bins, place, max(int(bins[place] * part), 1)) for bins, place in growing]
    while True:
        for bins, place, more in (*growth, (computed, -1, 1)):
            if sum(computed) + sum(cached) >= num_steps:
                return
            bins[place] += more


def _cut(computed: list[int], cached: list[int], num_steps: int) -> None:
    """Take one from the last bin of those not computed and of those computed in turn, until they do not reach on."""
    while True:
        for bins in (cached, computed):
            if sum(computed) + sum(cached) <= num_steps:
                return
            if bins:
                bins[-1] -= 1
                if not bins[-1]:
                    bins.pop()
