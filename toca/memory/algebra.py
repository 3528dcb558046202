"""Parts taken apart and put together: when the images of a batch decide differently, when they agree again, and when
the branches of guidance become one."""

from __future__ import annotations

import torch

from ..kernels.sending import sent
from ..models.shape import CallKey
from ..plan.table import PlanTable
from .part import Part


def take(plan: PlanTable, part: Part, images: torch.Tensor, of: int) -> Part:
    """Some of a part's images, with a memory of their own.

    Args:
        plan (`PlanTable`): The plan.
        part (`Part`): The memory that they are taken from.
        images (`torch.Tensor`): (n,), int64: which of the part's images.
        of (`int`): How many images it has.
    """
    batch = part.key.shape.batch
    rows = (images[None] + of * torch.arange(batch // of, device=images.device)[:, None]).flatten()

    def some(tensor: torch.Tensor, dim: int = 0) -> torch.Tensor:
        repeats = tensor.shape[dim] // batch
        return tensor.unflatten(dim, (batch, repeats)).index_select(dim, rows).flatten(dim, dim + 1)

    taken = Part.start(plan, part.key.with_rows(len(rows)), part.paired, part.ram)
    taken.grid = part.grid
    taken.rows = rows if part.rows is None else part.rows[rows]
    taken.guided = part.guided
    for mine, theirs in zip(part.sites, taken.sites, strict=True):
        theirs.terms, theirs.context = mine.terms.map(some), mine.context.map(some)
    for name, statistic in part.statistics.items():
        taken.statistics[name].copy_(some(statistic, 1))
    taken.spans = {span: terms.map(some) for span, terms in part.spans.items()}
    taken.gate = {name: value.index_select(0, images) for name, value in part.gate.items()}
    taken.labels = None if part.labels is None else some(part.labels)
    if part.groups:
        taken.group_tokens(plan, part.groups[0].common_grid)
        for group, its in zip(part.groups, taken.groups, strict=True):
            its.take_counts(group, images, of)
    return taken


def join(plan: PlanTable, parts: list[Part], whole: CallKey) -> Part:
    """One part of several, its images in the order of the call.

    Args:
        plan (`PlanTable`): The plan; without a choice of tokens.
        parts (`list[Part]`): All with the same past.
        whole (`CallKey`): Of the call.
    """
    first = parts[0]
    numbers_of = [part.numbers or () for part in parts]
    numbers = sorted(number for numbers in numbers_of for number in numbers)
    index = [sent(torch.tensor([numbers.index(i) for i in own]), whole.device) for own in numbers_of]
    halves, batch = 2 if first.paired else 1, first.key.shape.batch

    def joined(*tensors: torch.Tensor) -> torch.Tensor:
        shape = (halves, -1, tensors[0].shape[0] // batch)
        together = tensors[0].new_empty(halves, len(numbers), shape[2], *tensors[0].shape[1:])
        for places, tensor in zip(index, tensors, strict=True):
            together.index_copy_(1, places, tensor.unflatten(0, shape))
        return together.flatten(0, 2)

    one = Part.start(plan, first.key.with_rows(halves * len(numbers)), first.paired, first.ram)
    one.guided, one.grid = first.guided, first.grid
    if one.key.shape.batch < whole.shape.batch:
        one.rows, one.numbers = joined(*(part.rows for part in parts if part.rows is not None)), tuple(numbers)
    for site, *sites in zip(one.sites, *(part.sites for part in parts), strict=True):
        site.terms = sites[0].terms.map(joined, *(each.terms for each in sites[1:]))
    for span, terms in first.spans.items():
        one.spans[span] = terms.map(joined, *(part.spans[span] for part in parts[1:]))
    for name, value in first.gate.items():
        one.gate[name] = value.new_empty(len(numbers), *value.shape[1:])
        for places, part in zip(index, parts, strict=True):
            one.gate[name].index_copy_(0, places, part.gate[name])
    return one


def unpair(part: Part, per_sample: bool) -> None:
    """What were taken for guidance branches of the same images are images of their own. To be told so before the
    second step, while the numbers in the gate's memory depend on no feature."""
    part.paired = False
    if per_sample:
        part.gate = {name: _unpaired(value) for name, value in part.gate.items()}


def _unpaired(value: torch.Tensor) -> torch.Tensor:
    """(images, 2, ...) -> (2 x images, 1, ...), and numbers (images,) twice."""
    return value.transpose(0, 1).flatten(0, 1).unsqueeze(1) if value.ndim > 1 else value.repeat(2)


def merge_halves(plan: PlanTable, part: Part) -> None:
    """The guidance branches become one: what is kept is the mean of the halves (T-GATE, section 3.2)."""

    def mean(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.unflatten(0, (2, -1)).mean(dim=0)

    merged = Part.start(plan, part.key.with_rows(part.key.shape.batch // 2), ram=part.ram)
    for mine, theirs in zip(part.sites, merged.sites, strict=True):
        theirs.terms, theirs.context = mine.terms.map(mean), mine.context.map(mean)
    for name, statistic in part.statistics.items():
        merged.statistics[name].copy_(statistic.unflatten(1, (2, -1)).mean(dim=1))
    part.spans = {span: terms.map(mean) for span, terms in part.spans.items()}
    part.key, part.sites, part.statistics = merged.key, merged.sites, merged.statistics
    # There is no mean of two labels: the first half's stand.
    part.labels = None if part.labels is None else part.labels.chunk(2)[0].clone()
    part.paired, part.groups, part.gate = False, [], {}


def merge(part: Part, other: Part) -> None:
    """The same where the guidance branches are separate calls: a part becomes the mean of itself and another."""

    def mean(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        return (mine + theirs) / 2

    for site, its in zip(part.sites, other.sites, strict=True):
        site.terms, site.context = site.terms.map(mean, its.terms), site.context.map(mean, its.context)
    for name, statistic in part.statistics.items():
        statistic.copy_(mean(statistic, other.statistics[name]))
    part.spans = {span: terms.map(mean, other.spans[span]) for span, terms in part.spans.items()}
