"""What a fill is: a forecast from what is kept of the steps that computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar

import torch

from ...checks import check_fields
from ...kernels.series import weighted_sum
from ...models import CallShape, Site
from ...registry import Registered
from ..sampling import Timeline
from .renewal import Renewal, differences

Combine = Callable[[torch.Tensor, Sequence[torch.Tensor], Sequence[Any]], torch.Tensor]
"""`(f_0, [f_1 to f_O], weights) -> what fills`."""


class Fill(Registered, ABC):
    """A forecast: terms f_0 to f_O kept of the steps that computed, and their weights in a later step.

    With each newly computed value F the terms are renewed, f_0 = F and the others by `renewal`; a step that computes
    nothing returns `sum of weight_i f_i`. A subclass is a frozen dataclass. It is asked for numbers alone, before the
    model runs; `renewal` and `combine` are what is done with tensors, alike for every site.
    """

    kind: ClassVar[str] = "fill"
    asks: ClassVar[tuple[str, ...]] = ()
    """What it asks of a model, of `toca.models.CAPABILITIES`."""

    reads_history: ClassVar[bool] = True
    """Whether scales and weights depend on the steps that computed."""
    reads_timesteps: ClassVar[bool] = False
    """Whether they depend on the scheduler's timesteps, and not on the number of steps alone."""
    reads_gate: ClassVar[bool] = False
    """Whether a gate that tells weights (`Gate.weights_of`) is listened to."""
    reads_grid: ClassVar[bool] = False
    """Whether `combine_for` is to be told the grid of the image tokens where only the arguments of a call tell it."""
    reads_latents: ClassVar[bool] = False
    """Whether the model's input is kept with its output and read when filling; such a fill is for spans around the
    model, and remembers filled steps too."""

    def __post_init__(self) -> None:
        """Check the fields by their annotations. Raises `ValueError`; it names the field and the value."""
        check_fields(self)

    @property
    @abstractmethod
    def kept(self) -> int:
        """O: how many terms are kept besides the value itself."""

    @property
    def remembers(self) -> int | None:
        """How many of the steps that computed it asks for; `None` for all."""
        return self.kept + 1

    @property
    def term_kind(self) -> Hashable:
        """What the terms are: fills that say the same can be mixed, for each finds in them what it would keep."""
        return self

    def scales(self, history: Sequence[int], timeline: Timeline) -> list[float]:
        """scale_0 to scale_(O-1) when a value has been computed.

        Args:
            history (`Sequence[int]`): The steps that computed, latest (this one) first.
            timeline (`Timeline`): The steps of the generation.
        """
        return [1.0] * self.kept

    @abstractmethod
    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        """weight_0 to weight_O in a step that is filled.

        Args:
            step (`int`): The step.
            history (`Sequence[int]`): The steps that computed, latest first.
            timeline (`Timeline`): The steps of the generation.
        """

    def weights_at(self, site: Site, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        """The same for one site, where sites differ."""
        return self.weights(step, history, timeline)

    @property
    def adds_latents(self) -> bool:
        """Whether the model's input of a filled step is added to what fills its output, in any step."""
        return False

    def latents_weight(self, step: int) -> float:
        """The weight of the model's input in a step, of fills that add it."""
        return 0.0

    @property
    def renewal(self) -> Renewal:
        """How a computed value enters the terms: one of `toca.axes.fills.renewal`, or another such function."""
        return differences

    @property
    def combine(self) -> Combine:
        """What makes the fill of terms and weights, both as many as it says; by default their weighted sum."""
        return weighted_sum

    def combine_for(self, shape: CallShape) -> Combine:
        """The same where the sizes of the call matter: samples, frames, the grid of the tokens. For equal sizes it is
        one object: compiled blocks guard on it."""
        return self.combine

    def check_steps(self, num_inference_steps: int) -> None:  # noqa: B027 (most go with any)
        """Refuse a number of steps that it was not made for. Raises `ValueError`."""

    def without_gate(self) -> Fill:
        """The same where no gate of its own tells weights."""
        return self

    def term_bytes(self, itemsize: int) -> int:
        """Bytes of all terms besides the value, for one number of the value, which takes `itemsize`."""
        return self.kept * itemsize

    def estimate(
        self,
        kept: Sequence[tuple[torch.Tensor, torch.Tensor]],
        latents: torch.Tensor,
        step: int,
        history: Sequence[int],
        timeline: Timeline,
    ) -> torch.Tensor:
        """The model's output, of fills that read latents.

        Args:
            kept (`Sequence[tuple[torch.Tensor, torch.Tensor]]`): Output and input of the last steps, latest first.
            latents (`torch.Tensor`): (B, ...): the model's input now.
            step (`int`): The step.
            history (`Sequence[int]`): The steps that these are of, latest first.
            timeline (`Timeline`): The steps of the generation.
        """
        raise NotImplementedError(f"{type(self).__name__} reads no latents.")
