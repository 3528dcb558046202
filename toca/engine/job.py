"""A job: one pass of the blocks over the rows of a part of the batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..axes.gates import Observation
from ..memory.part import Part
from ..plan.passes import Pass


@dataclass(eq=False)
class Job:
    """A pass over the rows of one part of a branch's memory.

    Args:
        part (`Part`): The memory.
        run (`Pass`): What the blocks do.
        observation (`Observation` or `None`): What the gate is shown of the step.
        computed (`bool`): Whether everything is computed, whatever the plan says.
        undecided (`bool`): Whether the gate is still to be asked, in the pass itself.
        parted (`list[Job]`): The jobs that take its place, where its images decided differently in its pass.
        streams (`dict[int, tuple]`): What is put in the place of what leaves some layers.
        output (`torch.Tensor` or `None`): The output, where it is known beforehand.
        filled (`torch.Tensor` or `None`): What has been put in the place of the output of a model that has not run.
        holds (`bool`): Whether what is remembered is still fit to go on from after an output that was known.
        notes (`dict[int, tuple]`): The hidden states at the boundaries that are watched.
        active (`torch.Tensor` or `None`): (rows, k), counted over the batch: the image tokens that were not dropped.
    """

    part: Part
    run: Pass
    observation: Observation | None = None
    computed: bool = False
    undecided: bool = False
    parted: list[Job] = field(default_factory=list)
    streams: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    output: torch.Tensor | None = None
    filled: torch.Tensor | None = None
    holds: bool = False
    notes: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    active: torch.Tensor | None = None


def sample_of(output: Any) -> torch.Tensor:
    """The tensor (B, ...) that a transformer returned, in a tuple or an output class; of a list of samples one."""
    sample = _first_of(output)
    return torch.stack(list(sample)) if isinstance(sample, (list, tuple)) else sample


def with_sample(output: Any, sample: torch.Tensor) -> Any:
    """The same output with another tensor."""
    first = _first_of(output)
    kept = type(first)(sample.unbind(0)) if isinstance(first, (list, tuple)) else sample
    if isinstance(output, (torch.Tensor, list)):
        return kept
    if isinstance(output, tuple):
        return (kept, *output[1:])
    if isinstance(output, Mapping):
        return type(output)(**{**output, next(iter(output)): kept})
    changed = copy.copy(output)
    changed.sample = kept
    return changed


def _first_of(output: Any) -> Any:
    """The first prediction in what a transformer returned: a tensor, or a list with a tensor for each sample."""
    if isinstance(output, (torch.Tensor, list)):
        return output
    if isinstance(output, tuple):
        return output[0]
    return output[next(iter(output))] if isinstance(output, Mapping) else output.sample
