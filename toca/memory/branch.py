"""What is remembered: per transformer, per branch, per generation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch

from ..axes.forecast import Terms
from ..axes.spans import Span
from ..engine.dropping import ActiveTokens
from ..models import CallShape
from ..plan import Plan
from .clustered_tokens import ClusterGroup
from .scored_tokens import Group, TokenGroup


@dataclass(eq=False)
class SiteState:
    """What one site remembers.

    Args:
        terms (`Terms`): What the module returned, before the adaLN gate, with the recomputed rows written in; and the
            higher terms of a forecast.
        statistic (`torch.Tensor`): (rows, tokens), float32: the measured attention, for attention sites that are
            measured; a slice of the stack that `TokenGroup` reads.
        context (`Terms`): Keys and values (rows, tokens, heads x head_dim), where tokens are dropped before the first
            block.
    """

    terms: Terms = field(default_factory=Terms)
    statistic: torch.Tensor | None = None
    context: Terms = field(default_factory=Terms)


@dataclass(frozen=True)
class CallKey:
    """What must not change within a generation; a branch starts anew where it does. What was kept in inference mode
    cannot be written in outside of it."""

    shape: CallShape
    dtype: torch.dtype
    device: torch.device
    inference: bool = False

    def with_rows(self, rows: int) -> CallKey:
        """The same for fewer rows of the batch."""
        return replace(self, shape=replace(self.shape, batch=rows))


@dataclass(eq=False)
class Branch:
    """The memory of one branch (cond, uncond, or both batched) in one generation, or of some of its images.

    Args:
        key (`CallKey`): What it was made for.
        sites (`list[SiteState]`): One for each site of the plan's layout.
        paired (`bool`): Whether the halves of its rows are guidance branches of the same images.
        guided (`bool`): Whether both branches of guidance run.
        rows (`torch.Tensor` or `None`): Its rows of the call's batch; `None` for all of them.
        numbers (`tuple[int, ...]` or `None`): Its images among those of the call; `None` for all of them.
        groups (`list[Group]`): The partial sites, grouped for a common choice of tokens.
        statistics (`dict`): For each stack and measured module (layers, rows, tokens), float32.
        spans (`dict[Span, Terms]`): What is kept of spans of blocks.
        memory (`dict[str, torch.Tensor]`): What the gate keeps; the first dimension is the image.
        clusters (`torch.Tensor` or `None`): (samples x frames, tokens), int32: the cluster of each image token.
    """

    key: CallKey
    sites: list[SiteState]
    paired: bool = False
    guided: bool = True
    rows: torch.Tensor | None = None
    numbers: tuple[int, ...] | None = None
    groups: list[Group] = field(default_factory=list)
    statistics: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)
    spans: dict[Span, Terms] = field(default_factory=dict)
    memory: dict[str, torch.Tensor] = field(default_factory=dict)
    clusters: torch.Tensor | None = None

    @classmethod
    def start(cls, plan: Plan, key: CallKey, paired: bool = False) -> Branch:
        """A branch that remembers nothing yet; statistics are allocated, outputs are not."""
        branch = cls(key, [SiteState() for _ in plan.layout.sites], paired)
        branch.statistics = branch._allocate_statistics(plan)
        branch.spans = {span: Terms() for span in plan.kept_spans}
        return branch

    def group_tokens(self, plan: Plan, grid: tuple[int, int] | None) -> None:
        """Group the partial sites, before the first choice of tokens; no token is stale yet."""
        paired = self.paired and plan.selection.shared_cfg
        if plan.narrows_stack:
            self.groups.append(ActiveTokens(plan, self.key, paired))
            return
        for number, sites in enumerate(_by_stack_and_module(plan, plan.partial_sites).values()):
            if plan.selection.reads_stack:
                self.groups.append(ClusterGroup(plan, sites, self, number))
                continue
            statistics = [self.sites[plan.score_sources[i]].statistic for i in sites if i in plan.score_sources]
            self.groups.append(TokenGroup(plan, sites, self.key, paired, grid, statistics, number))

    def images(self, per_sample: bool) -> int:
        """Number of images that decide for themselves: all together are one where `per_sample` is off."""
        return self.key.shape.batch // (2 if self.paired else 1) if per_sample else 1

    def by_image(self, tensor: torch.Tensor, images: int) -> torch.Tensor:
        """(rows, ...) -> (images, rows of an image, ...), a view; rows may be frames or positions of a sample."""
        rows = self.key.shape.batch
        if tensor.shape[0] != rows:
            tensor = tensor.unflatten(0, (rows, -1))
        return tensor.unflatten(0, (rows // images, images)).transpose(0, 1)

    def by_row(self, value: float | torch.Tensor) -> float | torch.Tensor:
        """A number for each image (images,) as one for each row (rows,)."""
        return value.repeat(self.key.shape.batch // len(value)) if isinstance(value, torch.Tensor) else value

    def take(self, plan: Plan, images: torch.Tensor, of: int) -> Branch:
        """Some of the images, with a memory of their own.

        Args:
            plan (`Plan`): The plan.
            images (`torch.Tensor`): (n,), int64: which of the branch's images.
            of (`int`): How many images it has.
        """
        batch = self.key.shape.batch
        rows = (images[None] + of * torch.arange(batch // of, device=images.device)[:, None]).flatten()

        def part(tensor: torch.Tensor, dim: int = 0) -> torch.Tensor:
            repeats = tensor.shape[dim] // batch
            return tensor.unflatten(dim, (batch, repeats)).index_select(dim, rows).flatten(dim, dim + 1)

        taken = Branch.start(plan, self.key.with_rows(len(rows)), self.paired)
        taken.rows = rows if self.rows is None else self.rows[rows]
        for mine, theirs in zip(self.sites, taken.sites, strict=True):
            theirs.terms, theirs.context = mine.terms.map(part), mine.context.map(part)
        for name, statistic in self.statistics.items():
            taken.statistics[name].copy_(part(statistic, 1))
        taken.spans = {span: terms.map(part) for span, terms in self.spans.items()}
        taken.memory = {name: value.index_select(0, images) for name, value in self.memory.items()}
        taken.clusters = None if self.clusters is None else part(self.clusters)
        if self.groups:
            taken.group_tokens(plan, self.groups[0].common_grid)
            for mine, theirs in zip(self.groups, taken.groups, strict=True):
                theirs.take_counts(mine, images, of)
        return taken

    def course(self, plan: Plan) -> tuple:
        """What parts must have in common to become one: the steps that their forecasts go on from."""
        if plan.fill is None or not plan.fill.reads_history:
            return ()
        return tuple(terms.history for terms in (*(site.terms for site in self.sites), *self.spans.values()))

    @classmethod
    def join(cls, plan: Plan, parts: list[Branch], whole: CallKey) -> Branch:
        """One part of several, its images in the order of the call.

        Args:
            plan (`Plan`): The plan; without a choice of tokens.
            parts (`list[Branch]`): All with the same course behind them.
            whole (`CallKey`): Of the call.
        """
        first = parts[0]
        numbers = sorted(number for part in parts for number in part.numbers)
        index = [torch.tensor([numbers.index(i) for i in part.numbers], device=whole.device) for part in parts]
        halves, batch = 2 if first.paired else 1, first.key.shape.batch

        def joined(*tensors: torch.Tensor) -> torch.Tensor:
            shape = (halves, -1, tensors[0].shape[0] // batch)
            together = tensors[0].new_empty(halves, len(numbers), shape[2], *tensors[0].shape[1:])
            for places, tensor in zip(index, tensors, strict=True):
                together.index_copy_(1, places, tensor.unflatten(0, shape))
            return together.flatten(0, 2)

        one = cls.start(plan, first.key.with_rows(halves * len(numbers)), first.paired)
        one.guided = first.guided
        if one.key.shape.batch < whole.shape.batch:
            one.rows, one.numbers = joined(*(part.rows for part in parts)), tuple(numbers)
        for site, *sites in zip(one.sites, *(part.sites for part in parts), strict=True):
            site.terms = sites[0].terms.map(joined, *(each.terms for each in sites[1:]))
        for span, terms in first.spans.items():
            one.spans[span] = terms.map(joined, *(part.spans[span] for part in parts[1:]))
        for name, value in first.memory.items():
            one.memory[name] = value.new_empty(len(numbers), *value.shape[1:])
            for places, part in zip(index, parts, strict=True):
                one.memory[name].index_copy_(0, places, part.memory[name])
        return one

    def unpair(self, per_sample: bool) -> None:
        """What were taken for guidance branches of the same images are images of their own. To be told so before the
        second step, while the numbers in the gate's memory depend on no feature."""
        self.paired = False
        if per_sample:
            self.memory = {name: _unpaired(value) for name, value in self.memory.items()}

    def merge_halves(self, plan: Plan) -> None:
        """The guidance branches become one: what is kept is the mean of the halves (T-GATE, section 3.2)."""

        def mean(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.unflatten(0, (2, -1)).mean(dim=0)

        merged = Branch.start(plan, self.key.with_rows(self.key.shape.batch // 2))
        for mine, theirs in zip(self.sites, merged.sites, strict=True):
            theirs.terms, theirs.context = mine.terms.map(mean), mine.context.map(mean)
        for name, statistic in self.statistics.items():
            merged.statistics[name].copy_(statistic.unflatten(1, (2, -1)).mean(dim=1))
        self.spans = {span: terms.map(mean) for span, terms in self.spans.items()}
        self.key, self.sites, self.statistics = merged.key, merged.sites, merged.statistics
        # There is no mean of two clusterings: the first half's stands.
        self.clusters = None if self.clusters is None else self.clusters.chunk(2)[0].clone()
        self.paired, self.groups, self.memory = False, [], {}

    def merge(self, other: Branch) -> None:
        """The same where the guidance branches are separate calls: the mean of this branch and another."""

        def mean(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
            return (mine + theirs) / 2

        for mine, theirs in zip(self.sites, other.sites, strict=True):
            mine.terms, mine.context = mine.terms.map(mean, theirs.terms), mine.context.map(mean, theirs.context)
        for name, statistic in self.statistics.items():
            statistic.copy_(mean(statistic, other.statistics[name]))
        self.spans = {span: terms.map(mean, other.spans[span]) for span, terms in self.spans.items()}

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
            yield from site.terms.tensors()
            yield from site.context.tensors()
            if site.statistic is not None:
                yield site.statistic
        for terms in self.spans.values():
            yield from terms.tensors()
        yield from self.memory.values()
        if self.clusters is not None:
            yield self.clusters
        for group in self.groups:
            yield from group.tensors()

    @property
    def cache_bytes(self) -> int:
        """Bytes of all tensors held."""
        return sum(tensor.nbytes for tensor in self.tensors())


@dataclass(eq=False)
class Memory:
    """The memory of one branch in one generation, in parts of images that have decided alike.

    Args:
        key (`CallKey`): Of the whole call.
        parts (`list[Branch]`): Together they hold every row once.
        paired (`bool`): Whether the halves of the batch are guidance branches of the same images.
        whole (`bool`): Whether the rows of the call must stay together.
        last_step (`int` or `None`): The last step that ran to its end; `None` before the first and while one runs.
    """

    key: CallKey
    parts: list[Branch]
    paired: bool = False
    whole: bool = False
    last_step: int | None = None

    @property
    def cache_bytes(self) -> int:
        """Bytes of all tensors held."""
        return sum(part.cache_bytes for part in self.parts)


def _unpaired(value: torch.Tensor) -> torch.Tensor:
    """(images, 2, ...) -> (2 x images, 1, ...), and numbers (images,) twice."""
    return value.transpose(0, 1).flatten(0, 1).unsqueeze(1) if value.ndim > 1 else value.repeat(2)


def _by_stack_and_module(plan: Plan, sites: Iterable[int]) -> dict[tuple[str, str], list[int]]:
    members: dict[tuple[str, str], list[int]] = {}
    for i in sorted(set(sites)):
        site = plan.layout.sites[i]
        members.setdefault((site.stack, site.module), []).append(i)
    return members
