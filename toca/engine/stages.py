"""Processes that share the blocks of a model: in a step each runs its own, all at the same time.

A plan says by the devices of its late spans who runs what. None has to wait for another within a step, for what enters
its blocks was made in the step before. When they have run, each tells all others what its blocks have made, and the
last one what the model returns. Embedders and output layers run in each, and steps without such spans as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist

from ..axes.fills import differences
from ..memory.terms import map_parts
from ..plan.passes import Pass, share_of
from ..plan.table import PlanTable
from .forecasts import span_scales
from .job import Job


@dataclass(frozen=True)
class Stages:
    """The processes, which are those of torch.distributed's default group.

    Args:
        rank (`int`): Which of them this is.
        size (`int`): How many there are.
    """

    rank: int
    size: int

    @classmethod
    def of(cls, plan: PlanTable) -> Stages | None:
        """Those that a plan asks for; `None` where it runs in one.

        Raises:
            ValueError: If they are not there; it says how to start them.
        """
        size = plan.devices
        if size == 1:
            return None
        running = dist.is_available() and dist.is_initialized()
        if not running or dist.get_world_size() != size:
            there = f"has {dist.get_world_size()}" if running else "has none (`init_process_group` was not called)"
            raise ValueError(
                f"{plan.method} shares the blocks out over {size} processes, each with the model on a device of its "
                f"own, and torch.distributed {there}: call torch.distributed.init_process_group() in your script, "
                f"enable the cache in each process, and start it by `torchrun --nproc-per-node={size} SCRIPT.py`. "
                "With simulate=True the method runs in one process, no faster than without it."
            )
        return cls(dist.get_rank(), size)

    def share(self, plan: PlanTable, run: Pass) -> Pass:
        """What this process does of a run."""
        return share_of(plan, run, self.rank) if run.placed else run

    def exchanged(self, plan: PlanTable, job: Job, step: int, sample: torch.Tensor) -> torch.Tensor:
        """Tell the others what this process has kept of the span that it has run, and remember what they tell.

        Args:
            plan (`PlanTable`): The plan.
            job (`Job`): The pass that has run.
            step (`int`): Index of the step.
            sample (`torch.Tensor`): What the model has returned here.

        Returns:
            `torch.Tensor`: What it has returned in the last process, which has run the last blocks.
        """
        if not job.run.placed:
            return sample
        for device, span in enumerate(job.run.placed):
            if span.stored in job.run.stores:
                terms = job.part.spans[span.stored]
                told = map_parts(partial(self._told, device), terms.value)
                if device != self.rank:
                    renewal = differences if plan.fill is None else plan.fill.renewal
                    terms.renew(told, span_scales(plan, span.stored, terms, step), renewal)
        return self._told(self.size - 1, sample)

    def _told(self, device: int, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of one process, of which the others have one of its shape."""
        mine = device == self.rank
        told = tensor.contiguous() if mine else torch.empty_like(tensor, memory_format=torch.contiguous_format)
        dist.broadcast(told, device)
        return told
