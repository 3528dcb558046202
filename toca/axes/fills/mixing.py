"""What fills have in common that are made of others: each of these reads the same terms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from ...kernels.series import weighted_sum
from ..sampling import Timeline
from .base import Fill
from .renewal import Renewal


class Mixture(Fill):
    """A fill made of others. It keeps what the one keeps that keeps most; the others find their terms among them.

    Raises:
        ValueError: If one of them would not.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        told = {fill.term_kind for fill in self.parts if fill.kept}
        if len(told) > 1:
            names = " and ".join(fill.name for fill in self.parts if fill.kept)
            raise ValueError(f"The fills of {self.name!r} must keep the same terms, and those of {names} differ.")
        if len({fill.reads_latents for fill in self.parts}) > 1:
            raise ValueError(f"Of the fills of {self.name!r} all must read the latents, or none.")
        if odd := [fill.name for fill in self.parts if fill.combine is not weighted_sum]:
            raise ValueError(f"The fills of {self.name!r} must be weighted sums of their terms: {odd[0]} is none.")
        if any(fill.reads_gate for fill in self.parts):
            raise ValueError(f"None of the fills of {self.name!r} may take its weights from a gate.")
        check_adds_no_latents(self, self.parts)

    @property
    @abstractmethod
    def parts(self) -> tuple[Fill, ...]:
        """What it is made of."""

    @property
    def richest(self) -> Fill:
        """The one that keeps most."""
        return max(self.parts, key=lambda fill: fill.kept)

    @property
    def renewal(self) -> Renewal:
        return self.richest.renewal

    @property
    def kept(self) -> int:
        return self.richest.kept

    @property
    def remembers(self) -> int | None:
        return self.richest.remembers

    @property
    def reads_timesteps(self) -> bool:  # type: ignore[override]
        return any(fill.reads_timesteps for fill in self.parts)

    @property
    def reads_latents(self) -> bool:  # type: ignore[override]
        return self.richest.reads_latents

    def scales(self, history: Sequence[int], timeline: Timeline) -> list[float]:
        return self.richest.scales(history, timeline)

    def check_steps(self, num_inference_steps: int) -> None:
        for fill in self.parts:
            fill.check_steps(num_inference_steps)

    def weights_of(self, part: Fill, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        """The weights of one of its parts, for all terms that are kept."""
        weights = part.weights(step, history, timeline)
        return [*weights, *[0.0] * (self.kept + 1 - len(weights))]

    def term_bytes(self, itemsize: int) -> int:
        return self.richest.term_bytes(itemsize)


def check_adds_no_latents(mixture: Fill, parts: Sequence[Fill]) -> None:
    """Refuse parts that add the model's input to what they fill, where the whole does not say how much of it. Raises
    `ValueError`."""
    adding = [fill.name for fill in parts if fill.adds_latents]
    if adding and type(mixture).latents_weight is Fill.latents_weight:
        raise ValueError(f"The fills of {mixture.name!r} must not add the model's input: {adding[0]} does.")
