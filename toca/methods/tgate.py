"""T-GATE: temporally gating the attention (Liu et al., arXiv 2404.02747)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..axes.sampling import Sampling
from ..checks import SomeSteps, Steps
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class TGate(Method):
    """From a gate step on, drop guidance and reuse cross-attention, which has converged; before it, where the picture
    is planned, compute self-attention now and then only.

    **When** (section 3.2): with m the gate step, cross-attention is computed in steps s < m. Self-attention is
    computed in a warm-up of w steps and the step after it, in which reuse begins; until m if s mod k = 0, and in step
    m - 1; from m on if s mod k' = 0. **Which**: no token; feed-forwards are computed in every step. **Fill**: reuse;
    what is kept of step m - 1 is the mean of the two branches of guidance. **Guidance**: from m on the conditional
    branch alone runs, and stands for both.

    Guidance is dropped where the branches are the halves of a batch, or calls named `"cond"` and `"uncond"`, in this
    order. In a generation of m steps or fewer the gate is never reached.

    Args:
        gate_step (`int`, defaults to 15): m, a step and no share of the steps: published for 25.
        sp_interval (`int`, defaults to 3): k, while semantics are planned.
        fi_interval (`int`, defaults to 1): k', while fidelity is improved.
        warm_up (`int`, defaults to 2): w.
        drop_guidance (`bool`, defaults to `True`): Whether guidance is dropped.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    gate_step: SomeSteps = 15
    sp_interval: SomeSteps = 3
    fi_interval: SomeSteps = 1
    warm_up: Steps = 2
    drop_guidance: bool = True

    name: ClassVar[str] = "tgate"
    title: ClassVar[str] = "Liu et al., 2024, arXiv 2404.02747"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        if site.attends == "cross":
            return step < self.gate_step
        return site.attends is None or self._computes_self_attention(step)

    def _computes_self_attention(self, step: int) -> bool:
        if step >= self.gate_step:
            return step % self.fi_interval == 0
        return step <= self.warm_up or step % self.sp_interval == 0 or step == self.gate_step - 1

    def guided(self, step: int, sampling: Sampling) -> bool:
        return step < self.gate_step or not self.drop_guidance
