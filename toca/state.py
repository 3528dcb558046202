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
    """What must not change within a generation; a branch starts anew where it does."""

    shape: CallShape
    dtype: torch.dtype
    device: torch.device


@dataclass(eq=False)
class Branch:
    """The memory of one branch (cond, uncond, or both batched) in one generation.

    Args:
        key (`CallKey`): What it was made for.
        sites (`list[SiteState]`): One for each site of the plan's layout.
        groups (`list[TokenGroup]`): The partial sites, grouped for a common choice of tokens.
        last_step (`int` or `None`): The last step that ran to its end; `None` before the first and while one runs.
        statistics (`dict`): For each stack and measured module (layers, rows, tokens), float32.
    """

    key: CallKey
    sites: list[SiteState]
    groups: list[TokenGroup] = field(default_factory=list)
    last_step: int | None = None
    statistics: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, plan: Plan, key: CallKey) -> Branch:
        """A branch that remembers nothing yet; statistics are allocated, outputs are not."""
        branch = cls(key, [SiteState() for _ in plan.layout.sites])
        branch.statistics = branch._allocate_statistics(plan)
        return branch

    def group_tokens(self, plan: Plan, paired: bool, grid: tuple[int, int] | None) -> None:
        """Group the partial sites, before the first choice of tokens; no token is stale yet."""
        for number, sites in enumerate(_by_stack_and_module(plan, plan.partial_sites).values()):
            source = plan.layout.sites[plan.score_sources[sites[0]]] if sites[0] in plan.score_sources else None
            statistic = None if source is None else self.statistics[source.stack, source.module]
            self.groups.append(TokenGroup(plan, sites, self.key, paired, grid, statistic, number))

    def _allocate_statistics(self, plan: Plan) -> dict[tuple[str, str], torch.Tensor]:
        """One tensor (layers, rows, tokens) for each stack and measured module; each site gets its slice."""
        statistics = {}
        for name, sites in _by_stack_and_module(plan, plan.score_sources.values()).items():
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


def _by_stack_and_module(plan: Plan, sites: Iterable[int]) -> dict[tuple[str, str], list[int]]:
    members: dict[tuple[str, str], list[int]] = {}
    for i in sorted(set(sites)):
        site = plan.layout.sites[i]
        members.setdefault((site.stack, site.module), []).append(i)
    return members
