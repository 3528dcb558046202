"""When, decided while the model runs: for each image by itself, whether a step computes or is filled."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch

from ..checks import check_fields
from ..registry import Registered
from .sampling import NoiseLevel

INPUT = None
"""A gate's `probe` that looks at the model's input alone."""


@dataclass
class Observation:
    """What a gate is shown of a step. Tensors are (images, rows of an image, ...), so that an image whose two guidance
    branches are batched decides once, by both.

    Args:
        step (`int`): The step.
        num_inference_steps (`int`): S.
        memory (`dict[str, torch.Tensor]`): The gate's own: features, laid out as below, and numbers (images,), which
            depend on no feature before the second step. It is empty when a generation starts.
        input (`torch.Tensor`): The latents that the model is called with.
        entering (`torch.Tensor` or `None`): Hidden states of the image tokens entering block 0, for gates that probe
            blocks.
        probe (`torch.Tensor` or `None`): Hidden states of the image tokens leaving the probed blocks, or block 0's
            modulated input.
        output (`torch.Tensor` or `None`): What the model returned; known to `observe` only.
        added (`torch.Tensor` or `None`): (images, rows of an image, tokens of all frames, C): what the watched layer
            has added to its image tokens, in a step computed in full; known to `observe` only.
        level (`NoiseLevel`): How noisy the latents are.
        grid (`tuple[int, int, int]` or `None`): Frames, rows and columns of an image's tokens, for gates that read
            it; `None` where they form none.
        channel_dim (`int`): Dimension of the channels in `input`.
        seen (`torch.Tensor` or `None`): What the gate has made of all this in `opens`, to be had again in `observe`.
        before_last, draft, verified (`torch.Tensor` or `None`): Hidden states of the image tokens in a step that was
            filled, for gates that verify: entering the last block, leaving it as filled, and leaving it as it
            computes them.
    """

    step: int
    num_inference_steps: int
    memory: dict[str, torch.Tensor] = field(default_factory=dict)
    input: Any = None
    entering: Any = None
    probe: Any = None
    output: Any = None
    before_last: Any = None
    draft: Any = None
    verified: Any = None
    added: Any = None
    level: NoiseLevel = NoiseLevel.of_flow(0.5)
    grid: tuple[int, int, int] | None = None
    channel_dim: int = -1
    seen: Any = None

    def take(self, images: torch.Tensor, memory: dict[str, torch.Tensor]) -> Observation:
        """The same of some of the images, with their memory."""
        names = ("input", "entering", "probe", "seen")
        taken = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(self, memory=memory, **{name: each.index_select(0, images) for name, each in taken.items()})


def __getattr__(name: str) -> Any:
    if name != "Seen":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("`Seen` is `Observation` now; the old name goes with the next release.", DeprecationWarning, 2)
    return Observation


@dataclass(frozen=True)
class GateSizes:
    """How large what a gate may keep is, for all rows of a call.

    Args:
        images (`int`): Images that decide for themselves.
        input, output, hidden (`int`): Bytes of the model's input, its output, and the hidden states of its image
            tokens.
    """

    images: int
    input: int
    output: int
    hidden: int


class Gate(Registered, ABC):
    """Decides for each image whether a step that the plan does not force is computed in full or filled.

    What is remembered between steps goes into `now.memory`. A subclass is a frozen dataclass.
    """

    kind: ClassVar[str] = "gate"
    asks: ClassVar[tuple[str, ...]] = ()
    """What it asks of a model, of `toca.models.CAPABILITIES`."""

    probe: ClassVar[int | None] = INPUT
    """What is looked at before deciding: `None` for the model's input, 0 for block 0's modulated input, n for what
    leaves the first n blocks, which are then not run again."""

    reads_grid: ClassVar[bool] = False
    """Whether it must know where the tokens of an image stand."""

    per_sample: bool = True
    """Whether each image decides for itself; off, the whole batch decides together, as the published code does."""

    def __post_init__(self) -> None:
        """Check the fields by their annotations. Raises `ValueError`; it names the field and the value."""
        check_fields(self)

    @abstractmethod
    def opens(self, now: Observation) -> torch.Tensor:
        """Whether the step is computed in full, (images,), bool. Asked in steps that are not forced."""

    @abstractmethod
    def observe(self, now: Observation, computed: bool) -> None:
        """Look at a step that has run, forced ones too.

        Args:
            now (`Observation`): The step, with the model's output.
            computed (`bool`): Whether it was computed in full.
        """

    @abstractmethod
    def bytes_kept(self, sizes: GateSizes) -> int:
        """Bytes of the tensors in its memory."""

    def watched_layer(self, layers: int) -> int | None:
        """The layer, of so many, whose residual `observe` is shown of steps computed in full; `None` for none."""
        return None

    def verifies(self, now: Observation) -> bool:
        """Whether a filled step is checked by running the last block on what was filled before it."""
        return False

    def weights_of(self, now: Observation) -> list[Any] | None:
        """weight_0 to weight_O for a fill that reads the gate's, and what more it asks for, a number or a tensor
        (images,) each; or `None`."""
        return None


def mean_per_image(tensor: torch.Tensor) -> torch.Tensor:
    """(images, ...) -> (images,), float32: the mean over everything of an image."""
    return tensor.float().flatten(1).mean(dim=1)


def relative_l1(now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """`mean |now - before| / mean |before|` of each image: (images, ...) twice -> (images,), float32."""
    return mean_per_image((now - before).abs()) / mean_per_image(before.abs())


def reaches(value: torch.Tensor, threshold: float) -> torch.Tensor:
    """`value >= threshold`; what is no number (a change of 0 over 0) or not finite counts as reached, so that what
    cannot be judged is computed."""
    return ~((value < threshold) & value.isfinite())


def finite_images(tensor: torch.Tensor) -> torch.Tensor:
    """1 for an image whose numbers are all finite, else 0: (images, ...) -> (images,), float32."""
    return tensor.isfinite().flatten(1).all(dim=1).float()
