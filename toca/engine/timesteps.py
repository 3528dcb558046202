"""The timestep of a call: read back, compared, and found in the schedule that it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..models import FamilySpec


@dataclass(frozen=True)
class Reading:
    """How the scheduler's timestep is read off the one that a model is called with.

    Args:
        scale, offset (`float`, default to 1 and 0): The scheduler's is `scale` x the model's + `offset`; `None` where
            no number tells, so that the scheduler's own count of its steps is believed.
        rises (`bool`, defaults to `False`): Whether the scheduler's rise in a generation.
    """

    scale: float | None = 1.0
    offset: float = 0.0
    rises: bool = False

    @classmethod
    def of(cls, spec: FamilySpec) -> Reading:
        """That of a family."""
        return cls(spec.timestep_scale, spec.timestep_offset, spec.timestep_rises)

    def number(self, timestep: Any) -> float:
        """The timestep of a call, read back from its device, as the scheduler has it. Where tokens have timesteps of
        their own it is that of the most noise: those of a given first frame have none."""
        scale = 1.0 if self.scale is None else self.scale
        if isinstance(timestep, torch.Tensor) and timestep.numel() > 1:
            noisiest = timestep.min() if (scale < 0) != self.rises else timestep.max()
            return float(noisiest) * scale + self.offset
        return float(timestep) * scale + self.offset

    def schedule_of(self, timestep: Any) -> torch.Tensor | None:
        """The schedule that a timestep is one number of: `schedule_of`, where it can be told."""
        return None if self.scale is None else schedule_of(timestep)

    def remaining(self, timestep: Any) -> float:
        """A number that falls in a generation."""
        return -self.number(timestep) if self.rises else self.number(timestep)

    def is_near(self, timestep: Any, value: float) -> bool:
        """Whether a call's timestep is this one of a schedule, as exactly as its dtype can say."""
        return self.scale is None or bool(self.places(timestep, [value]))

    def places(self, timestep: Any, values: Sequence[float]) -> list[tuple[float, int]]:
        """Where in a schedule a call's timestep stands, as exactly as its dtype can say: how far off each place is,
        and its number. It is read back from its device once."""
        dtype = timestep.dtype if isinstance(timestep, torch.Tensor) else torch.float64
        # Some pipelines cut the schedule's fractions off.
        least, eps = (1e-3, 2 * torch.finfo(dtype).eps) if dtype.is_floating_point else (1.0, 0.0)
        number = self.number(timestep)
        off = [(abs(number - value), place) for place, value in enumerate(values)]
        return [each for each in off if each[0] <= max(least, eps * max(abs(values[each[1]]), abs(self.offset)))]


def same_latents(mine: torch.Tensor, others: torch.Tensor | None) -> bool:
    """Whether two calls are given the same latents; the one may have them twice, for two branches in a batch."""
    if others is None or mine.shape[1:] != others.shape[1:]:
        return False
    return mine is others or torch.equal(mine[:1], others[:1])


def schedule_of(timestep: Any) -> torch.Tensor | None:
    """The tensor that a timestep is one number of, as it is in the loop of most pipelines; so no device is waited
    for. `None` for a tensor by itself."""
    if not isinstance(timestep, torch.Tensor) or (timestep.ndim and timestep.stride(0)):
        return None
    storage = timestep.untyped_storage()
    if storage.nbytes() <= timestep.element_size():
        return None
    return timestep.new_empty(0).set_(storage)


def is_one(mine: torch.Tensor, others: torch.Tensor) -> bool:
    """Whether two tensors have one storage."""
    return mine.untyped_storage().data_ptr() == others.untyped_storage().data_ptr()


def by_frame(timestep: Any, batch: int) -> torch.Tensor | None:
    """A copy of the timesteps of a call where each sample has more than one, of its frames or tokens."""
    if not isinstance(timestep, torch.Tensor) or timestep.numel() <= batch or timestep.numel() % batch:
        return None
    return timestep.clone()


def parts_frames(timestep: Any, batch: int, before: torch.Tensor | None) -> bool:
    """Whether some frames have moved on and others have not, since the call before of the same largest timestep
    (diffusion forcing). The tokens of a given picture, which stand still, do so with no others."""
    now = by_frame(timestep, batch)
    return now is not None and before is not None and not torch.equal(now, before)


FRAMES_APART = (
    "The frames of a call are at steps of their own (diffusion forcing, with one block of frames ahead of the next): "
    "what is kept of one step is nothing to go on from for all of them, so these calls run in full."
)
