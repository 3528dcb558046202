"""The memory of a part of a branch: of those images of a call that have decided alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch

from ..axes.selections import Group, Grouping
from ..axes.spans import Span
from ..models.shape import CallKey, CallShape
from ..plan.moves import Quantity
from ..plan.table import PlanTable
from .keeping import recast, terms_in
from .ram import Ram
from .terms import Terms


@dataclass(eq=False)
class SiteMemory:
    """What one site remembers.

    Args:
        terms (`Terms`): What the module returned, before the adaLN gate, with the recomputed rows written in; and the
            higher terms of a forecast.
        statistic (`torch.Tensor`): (rows, tokens), float32: the measured attention, for attention sites that are
            measured; a slice of the stack that a group of sites reads.
        context (`Terms`): Keys and values (rows, tokens, heads x head_dim), where tokens are dropped before the first
            block.
    """

    terms: Terms = field(default_factory=Terms)
    statistic: torch.Tensor | None = None
    context: Terms = field(default_factory=Terms)


@dataclass(eq=False)
class Part:
    """The memory of one branch (cond, uncond, or both batched) in one generation, or of some of its images.

    Args:
        key (`CallKey`): What it was made for.
        sites (`list[SiteMemory]`): One for each site of the plan's layout.
        paired (`bool`): Whether the halves of its rows are guidance branches of the same images.
        guided (`bool`): Whether both branches of guidance run.
        rows (`torch.Tensor` or `None`): Its rows of the call's batch; `None` for all of them.
        numbers (`tuple[int, ...]` or `None`): Its images among those of the call; `None` for all of them.
        groups (`list[Group]`): The partial sites, grouped for a common choice of tokens.
        statistics (`dict`): For each stack and measured module (layers, rows, tokens), float32.
        spans (`dict[Span, Terms]`): What is kept of spans of blocks.
        gate (`dict[str, torch.Tensor]`): What the gate keeps; the first dimension is the image.
        labels (`torch.Tensor` or `None`): (rows, image tokens of a row), int32: what the selection has observed of
            each of them.
        grid (`tuple[int, int, int]` or `None`): Frames, rows and columns of a sample's image tokens, where a fill asks
            and they form a grid.
        ram (`Ram` or `None`): Where what is kept of features lies; `None` for the device that computes.
    """

    key: CallKey
    sites: list[SiteMemory]
    paired: bool = False
    guided: bool = True
    rows: torch.Tensor | None = None
    numbers: tuple[int, ...] | None = None
    groups: list[Group] = field(default_factory=list)
    statistics: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)
    spans: dict[Span, Terms] = field(default_factory=dict)
    gate: dict[str, torch.Tensor] = field(default_factory=dict)
    labels: torch.Tensor | None = None
    grid: tuple[int, int, int] | None = None
    ram: Ram | None = None

    @property
    def sizes(self) -> CallShape:
        """The sizes of its calls in the blocks, with the grid where it has been asked for and all tokens are there."""
        return self._with_grid(self.key.shape) if self.key.around is None else self.key.shape

    @property
    def sizes_around(self) -> CallShape:
        """The same of what the model is called with."""
        return self._with_grid(self.key.whole)

    def _with_grid(self, shape: CallShape) -> CallShape:
        if self.grid is None or shape.grid is not None:
            return shape
        frames, rows, columns = self.grid
        return replace(shape, frames=frames, tokens=rows * columns, grid=(rows, columns))

    @classmethod
    def start(cls, plan: PlanTable, key: CallKey, paired: bool = False, ram: Ram | None = None) -> Part:
        """One that remembers nothing yet; statistics are allocated, outputs are not."""
        kept = key.cache_dtype
        sites = [
            SiteMemory(terms_in(kept, site.width, ram), None, terms_in(kept, site.keys_wide, ram))
            for site in plan.layout.sites
        ]
        part = cls(key, sites, paired, ram=ram)
        part.statistics = part._allocate_statistics(plan)
        part.spans = {span: terms_in(kept, _row_of(plan, span), ram) for span in plan.kept_spans}
        return part

    @classmethod
    def empty(cls, plan: PlanTable, key: CallKey) -> Part:
        """One that never remembers anything."""
        return cls(key, [SiteMemory() for _ in plan.layout.sites])

    def hold_in(self, plan: PlanTable, cache_dtype: torch.dtype | None) -> None:
        """Keep what is kept of features, and will be, in another dtype."""
        self.key = replace(self.key, cache_dtype=cache_dtype)
        for site, memory in zip(plan.layout.sites, self.sites, strict=True):
            memory.terms = recast(memory.terms, cache_dtype, site.width, self.ram)
            memory.context = recast(memory.context, cache_dtype, site.keys_wide, self.ram)
        self.spans = {
            span: recast(terms, cache_dtype, _row_of(plan, span), self.ram) for span, terms in self.spans.items()
        }

    def kept_of(self, what: Quantity) -> Terms:
        """What is kept of a quantity."""
        if isinstance(what, Span):
            return self.spans[what]
        site = self.sites[what.site]
        return site.terms if what.kind == "terms" else site.context

    def put_away(self) -> None:
        """A pass has ended: what is kept elsewhere is there."""
        for site in self.sites:
            site.terms.put_away()
            site.context.put_away()
        for terms in self.spans.values():
            terms.put_away()

    @property
    def ram_bytes(self) -> int:
        """Bytes of all tensors held in the machine's memory."""
        if self.ram is None:
            return 0
        features = [each for site in self.sites for each in (site.terms, site.context)]
        return sum(tensor.nbytes for terms in (*features, *self.spans.values()) for tensor in terms.tensors())

    def group_tokens(self, plan: PlanTable, grid: tuple[int, int] | None) -> None:
        """Group the partial sites, before the first choice of tokens; no token is stale yet."""
        if plan.selection is None:
            return
        sites = tuple(sorted(plan.partial_sites))
        sources = {i: plan.score_sources[i] for i in sites if i in plan.score_sources}
        grouping = Grouping(
            layout=plan.layout,
            sites=sites,
            key=self.key,
            paired=self.paired and plan.selection.shared_cfg,
            grid=grid,
            sources=sources,
            statistics={i: self._statistic(source) for i, source in sources.items()},
            labels=self._labels,
        )
        self.groups = plan.selection.groups(grouping)

    def _statistic(self, i: int) -> torch.Tensor:
        statistic = self.sites[i].statistic
        assert statistic is not None, "every source is measured"
        return statistic

    def _labels(self) -> torch.Tensor:
        assert self.labels is not None, "a full step comes before every choice"
        return self.labels

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

    def past(self, plan: PlanTable) -> tuple:
        """What parts must have in common to become one: the steps that their forecasts go on from."""
        if plan.fill is None or not plan.fill.reads_history:
            return ()
        return tuple(terms.history for terms in (*(site.terms for site in self.sites), *self.spans.values()))

    def _allocate_statistics(self, plan: PlanTable) -> dict[tuple[str, str], torch.Tensor]:
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

    def tensors(self) -> Iterator[torch.Tensor]:
        """All tensors held."""
        for site in self.sites:
            yield from site.terms.tensors()
            yield from site.context.tensors()
            if site.statistic is not None:
                yield site.statistic
        for terms in self.spans.values():
            yield from terms.tensors()
        yield from self.gate.values()
        if self.labels is not None:
            yield self.labels
        for group in self.groups:
            yield from group.tensors()

    @property
    def cache_bytes(self) -> int:
        """Bytes of all tensors held."""
        return sum(tensor.nbytes for tensor in self.tensors())


def _row_of(plan: PlanTable, span: Span) -> int:
    """Numbers of a row of what is kept of a span: of a token between blocks, of a sample around the model."""
    return plan.layout.width if span.around == "blocks" else 0
