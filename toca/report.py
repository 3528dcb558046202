"""What a generation did: the record the engine keeps, and the summary users read."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from .actions import Action, step_letter, tokens_of
from .cost import full_flops, step_flops, tokens_share
from .models import CallShape
from .plan import Plan


@dataclass(frozen=True)
class CallRecord:
    """One transformer call, as it was decided."""

    step: int
    branch: Hashable
    row: tuple[Action, ...]
    measured: frozenset[int]
    shape: CallShape


@dataclass
class GenerationRecord:
    """All calls of one generation of one transformer, the cache bytes of its branches, and calls past the cache."""

    plan: Plan | None = None
    calls: list[CallRecord] = field(default_factory=list)
    cache_bytes: int = 0
    bypassed: int = 0

    def add(self, call: CallRecord) -> None:
        self.calls.append(call)

    def release(self, branch) -> None:
        """Note what a branch held, before it is let go."""
        self.cache_bytes += branch.cache_bytes


@dataclass(frozen=True)
class SiteTrace:
    """What one site did in one call: its action, and tokens computed of all its tokens."""

    layer: int
    module: str
    action: str
    tokens_recomputed: int
    tokens: int


@dataclass(frozen=True)
class StepTrace:
    """One transformer call: its step, branch, letter, and what each site did."""

    step: int
    branch: Hashable
    letter: str
    sites: tuple[SiteTrace, ...]


@dataclass(frozen=True)
class Summary:
    """What the last generation did.

    Args:
        method (`str`): Name of the method or plan.
        steps (`str`): One letter a step, as in `Plan.steps`, for what really ran.
        full_steps (`int`): Steps in which every site computed.
        tokens_recomputed (`float`): Share of the sites' tokens that were computed.
        flops (`int`): FLOPs of all transformer calls, two a multiply-add.
        flops_full (`int`): The same with every site computed.
        cache_bytes (`int`): Bytes of the tensors kept between steps.
        trace (`tuple[StepTrace, ...]`): Each call in order, site by site.
        bypassed (`int`): Further calls that ran in full, past the cache, with a warning that says why; they are in no
            other figure.
    """

    method: str
    steps: str
    full_steps: int
    tokens_recomputed: float
    flops: int
    flops_full: int
    cache_bytes: int
    trace: tuple[StepTrace, ...] = field(repr=False)
    bypassed: int = 0

    @property
    def flops_speedup(self) -> float:
        """FLOPs without the cache over FLOPs with it; 1 before anything ran."""
        return self.flops_full / self.flops if self.flops else 1.0

    def __str__(self) -> str:
        past = f"{self.bypassed} transformer calls ran in full, past the cache." if self.bypassed else ""
        if not self.steps:
            return f"{self.method}: {past or 'nothing has been generated yet.'}"
        lines = [
            f"{self.method}, {len(self.steps)} steps, {self.full_steps} of them full",
            f"  steps   {self.steps}",
            f"  FLOPs   {self.flops / 1e9:.2f} G instead of {self.flops_full / 1e9:.2f} G: {self.flops_speedup:.2f}x",
            f"  tokens  {self.tokens_recomputed:.1%} computed",
            f"  cache   {self.cache_bytes / 2**20:.2f} MiB",
        ]
        if self.full_steps == len(self.steps):
            lines.append("  Nothing was skipped: every step was full.")
        if past:
            lines.append(f"  {past}")
        return "\n".join(lines)


def summarize(method: str, records: list[tuple[GenerationRecord, list]]) -> Summary:
    """The summary of one or more transformers' last generations.

    Args:
        method (`str`): Name of the method.
        records (`list`): For each transformer its record and the branches it still holds.
    """
    flops = flops_full = cache_bytes = 0
    tokens, weights, trace = 0.0, 0.0, []
    letters: dict[int, str] = {}
    for record, branches in records:
        cache_bytes += record.cache_bytes + sum(branch.cache_bytes for branch in branches)
        for call in record.calls:
            full = full_flops(record.plan, call.shape)
            flops += step_flops(record.plan, call.row, call.measured, call.shape)
            flops_full += full
            tokens += full * tokens_share(record.plan, [call.row], call.shape)
            weights += full
            letters.setdefault(call.step, step_letter(call.row))
            trace.append(_trace(record.plan, call))
    steps = "".join(letters[step] for step in sorted(letters))
    share = tokens / weights if weights else 1.0
    bypassed = sum(record.bypassed for record, _ in records)
    return Summary(method, steps, steps.count("F"), share, flops, flops_full, cache_bytes, tuple(trace), bypassed)


def _trace(plan: Plan, call: CallRecord) -> StepTrace:
    sites = []
    for site, action in zip(plan.layout.sites, call.row, strict=True):
        tokens = site.geometry(call.shape)[1]
        sites.append(SiteTrace(site.layer, site.module, action.kind, tokens_of(action, tokens), tokens))
    return StepTrace(call.step, call.branch, step_letter(call.row), tuple(sites))
