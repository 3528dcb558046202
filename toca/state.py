"""What is remembered: per transformer, per branch, per generation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from .models import CallShape
from .plan import Plan
from .tokens import TokenGroup


@dataclass(eq=False)
class SiteState:
    """What one site remembers.

    Args:
        output (`torch.Tensor` or `tuple[torch.Tensor, ...]`): What the module returned, before the adaLN gate, with
            the recomputed rows written in.
        statistic (`torch.Tensor`): (rows, tokens), float32: the measured attention, for attention sites that are
            measured; a slice of the stack that `TokenGroup` reads.
    """

    output: torch.Tensor | tuple[torch.Tensor, ...] | None = None
    statistic: torch.Tensor | None = None


@dataclass(frozen=True)
class CallKey:
    """What must not change within a generation; a branch starts anew where it does.

    `paired` says that the halves of the batch are the guidance branches of the same samples and share a selection.
    """

    shape: CallShape
    dtype: torch.dtype
    device: torch.device
    paired: bool

    @property
    def size(self) -> tuple:
        """What no sampler changes on its way, whatever it does with guidance."""
        return self.shape.tokens, self.shape.grid, self.shape.frames, self.dtype, self.device


@dataclass(eq=False)
class Branch:
    """The memory of one branch (cond, uncond, or both batched) in one generation.

    Args:
        key (`CallKey`): What it was made for.
        sites (`list[SiteState]`): One for each site of the plan's layout.
        groups (`list[TokenGroup]`): The partial sites, grouped for a common choice of tokens.
        last_step (`int` or `None`): The last step that ran to its end; `None` before the first and while one runs.
    """

    key: CallKey
    sites: list[SiteState]
    groups: list[TokenGroup] = field(default_factory=list)
    last_step: int | None = None

    @classmethod
    def start(cls, plan: Plan, key: CallKey, grid: tuple[int, int] | None) -> Branch:
        """A branch that remembers nothing yet; statistics and counts are allocated, outputs are not."""
        branch = cls(key, [SiteState() for _ in plan.layout.sites])
        statistics = branch._allocate_statistics(plan)
        members: dict[tuple[str, str], list[int]] = {}
        for i in sorted(plan.partial_sites):
            site = plan.layout.sites[i]
            members.setdefault((site.stack, site.module), []).append(i)
        for number, sites in enumerate(members.values()):
            source = plan.layout.sites[plan.score_sources[sites[0]]] if sites[0] in plan.score_sources else None
            statistic = statistics[source.stack, source.module] if source is not None else None
            branch.groups.append(TokenGroup(plan, sites, key, grid, statistic, number))
        return branch

    def _allocate_statistics(self, plan: Plan) -> dict[tuple[str, str], torch.Tensor]:
        """One tensor (layers, rows, tokens) for each stack and measured module; each site gets its slice."""
        members: dict[tuple[str, str], list[int]] = {}
        for i in sorted(set(plan.score_sources.values())):
            site = plan.layout.sites[i]
            members.setdefault((site.stack, site.module), []).append(i)
        statistics = {}
        for name, sites in members.items():
            rows, tokens = plan.layout.sites[sites[0]].geometry(self.key.shape)
            statistics[name] = torch.zeros(len(sites), rows, tokens, device=self.key.device)
            for i, statistic in zip(sites, statistics[name], strict=True):
                self.sites[i].statistic = statistic
        return statistics

    def tensors(self) -> Iterable[torch.Tensor]:
        """All tensors held."""
        for site in self.sites:
            outputs = site.output if isinstance(site.output, tuple) else (site.output,)
            yield from (tensor for tensor in (*outputs, site.statistic) if tensor is not None)
        yield from (group.counts for group in self.groups if group.counts is not None)

    @property
    def cache_bytes(self) -> int:
        """Bytes of all tensors held."""
        return sum(tensor.nbytes for tensor in self.tensors())
