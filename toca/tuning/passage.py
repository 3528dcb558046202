"""What becomes of something that is added to all that the model returns in a step, by the time the scheduler gets it.

Guidance of any number of branches is linear, and its weights most often add up to one; some pipelines turn the sign.
How much of it arrives is told by a full step, in which all that the model returned is known, and what was made of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .least_squares import least_squares
from .scheduler_watch import SchedulerStep

ROUNDING = 1e-2
"""What a pipeline's arithmetic in half precision may leave unexplained, of the root mean square."""


def share_that_arrives(
    given: Sequence[torch.Tensor], returned: Sequence[torch.Tensor], step: SchedulerStep, channel_dim: int
) -> float | None:
    """How much of the latents, added to all that the model returns in a step, is in what the scheduler gets.

    Args:
        given, returned (`Sequence[torch.Tensor]`): (rows, ...): what each call of the step was given and returned. Its
            rows may be those of several branches of guidance.
        step (`SchedulerStep`): What the scheduler was asked for then.
        channel_dim (`int`): Where the channels are.

    Returns:
        `float` or `None`: 1 as a rule; `None` where the model is called with something else than the latents, or what
            the scheduler gets is no sum of what the model returned.
    """
    sample, guided = step.sample, step.model_output
    if _is_doubled(sample) and _is_doubled(guided):
        # The latents of both branches go through the scheduler, and are the same (DiT).
        sample, guided = sample[: len(sample) // 2], guided[: len(sample) // 2]
    n = guided.shape[channel_dim]
    branches = [branch for tensor in returned for branch in tensor.split(len(sample))]
    # Behind the prediction there may be a learned variance.
    branches = [branch.narrow(channel_dim, 0, min(n, branch.shape[channel_dim])) for branch in branches]
    alike = all(branch.shape == guided.shape == sample.shape for branch in branches)
    # A step that ran past the cache has returned nothing that is known.
    if not branches or not alike or not all(_is_repeated(sample, tensor) for tensor in given):
        return None
    first, *others = (branch.double().flatten() for branch in branches)
    basis, wanted = torch.stack([first, *(other - first for other in others)]), guided.double().flatten()
    weights = least_squares(basis, wanted)
    left = wanted - torch.tensor(weights, dtype=basis.dtype, device=basis.device) @ basis
    return weights[0] if float(left.norm()) <= ROUNDING * float(wanted.norm()) else None


def _is_repeated(sample: torch.Tensor, given: torch.Tensor) -> bool:
    """Whether a call was given the latents, once or for several branches."""
    return all(torch.equal(part, sample.to(part.dtype)) for part in given.split(len(sample)))


def _is_doubled(tensor: torch.Tensor) -> bool:
    half, rest = divmod(len(tensor), 2)
    return not rest and torch.equal(tensor[:half], tensor[half:])
