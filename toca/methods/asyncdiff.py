"""AsyncDiff: the parts of a model run at the same time, each on what the one before made a step ago (Chen et al.)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ..axes.sampling import Sampling
from ..axes.spans import Span, skipped
from ..checks import MOST_LAYERS, SomeSteps, Within, check
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class AsyncDiff(Method):
    """Cut the blocks into N components, each on a device of its own, and have all of them run at the same time: what
    enters a component is what the one before it made in the step before.

    Nothing is left out: the model does as many operations as without it, N devices share them, and one alone is no
    faster. **When**: the first w steps are full, on each device. **Which**: in the others everything is
    computed, at the step's own timestep, but what a component makes goes on to the next in the step to come: in step s

        component n of (what component n - 1 has made in step s - 1),

    of which the first gets the latents of step s, and the last makes its prediction. So what is predicted has come
    from latents that are up to N - 1 steps old. **Fill**: what left the component in the step before; or, of our own,
    what it added there, so that what enters it now is not late.

    It needs N processes, each with the pipeline on its device, that have called `init_process_group` and agree on the
    noise; `torchrun --nproc-per-node=N SCRIPT.py` starts them. Components have the same number of blocks, as the
    authors' have for SD3. Their strides of two steps, for N + 1 devices, and their shifted timesteps are not there.

    Args:
        components (`int`, defaults to 2): N.
        warmup_steps (`int`, defaults to 1): w.
        keeps (`str`, defaults to `"output"`): What goes on to the next component is what left the one before it a step
            ago (`"output"`), or what that added to its input then, added to its input now (`"residual"`).
        simulate (`bool`, defaults to `False`): Run all components in one process, one after the other: the same
            pictures, no faster.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    components: Annotated[int, Within(2, MOST_LAYERS)] = 2
    warmup_steps: SomeSteps = 1
    keeps: Literal["output", "residual"] = "output"
    simulate: bool = False

    name: ClassVar[str] = "asyncdiff"
    title: ClassVar[str] = "Chen et al., NeurIPS 2024, arXiv 2406.06911"
    needs: ClassVar[str] = "a process for each component, started by torchrun"

    @property
    def leaves_out_blocks(self) -> bool:
        return False

    @property
    def axes(self) -> tuple[str, str, str]:
        return "plan", "late blocks", "reuse"

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        most = sampling.layers
        check(self.components <= most, "components", self.components, f"must be at most the model's {most} blocks")

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step < self.warmup_steps

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        return None if skipped(site.layer, self.spans(step, sampling)) else 1.0

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return _all_but_the_last(self.components, sampling.layers, self.keeps, not self.simulate)


@functools.lru_cache
def _all_but_the_last(components: int, layers: int, keeps: str, placed: bool) -> tuple[Span, ...]:
    """The components but for the last, each on a device if they are placed; the same spans each time."""
    cuts = [layers * n // components for n in range(components)]
    ends = enumerate(zip(cuts, cuts[1:], strict=False))
    return tuple(Span(*cut, keeps=keeps, late=True, device=n if placed else None) for n, cut in ends)
