"""SeaCache: spectral-evolution-aware caching (arXiv 2602.18993)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch

from ..axes.fills import Fill
from ..axes.fills.expansions import Newton
from ..axes.gates import Gate, GateSizes, Observation, reaches, relative_l1
from ..axes.sampling import NoiseLevel, Sampling
from ..axes.spans import Span
from ..checks import NonNegative, SomeSteps, Steps, Within
from ..models import Site
from ..registry import register
from .base import Method

Indicator = Literal["modulated", "latents"]
Power = Annotated[float, Within(0, 10, open=True)]
IMAGE_POWER, VIDEO_POWER = 2.0, 3.0
LEAST = 1e-16
LEVEL_BOUNDS = 1e-6, 1 - 1e-6


def sea_gain(grid: tuple[int, ...], level: NoiseLevel, power: float, device: torch.device) -> torch.Tensor:
    """(frames, rows, columns), float32: by how much each frequency is let pass, 1 in the mean."""
    signal, noise = (min(max(part, LEVEL_BOUNDS[0]), LEVEL_BOUNDS[1]) for part in (level.signal, level.noise))
    gain = torch.ones((), device=device)
    for size in grid:
        picture = 1 / (torch.fft.fftfreq(size, device=device).abs() ** power + LEAST)
        along = signal * picture / (signal**2 * picture + noise**2 + LEAST)
        gain = gain.unsqueeze(-1) * along
    return gain / gain.mean()


def sea_filtered(tensor: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """(..., frames, rows, columns, C), filtered, each channel by itself, in float32; in the tensor's dtype."""
    dims = (-4, -3, -2)
    spectrum = torch.fft.fftn(tensor.float(), dim=dims) * gain.unsqueeze(-1)
    # The real part alone is a view of both.
    return torch.fft.ifftn(spectrum, dim=dims).real.contiguous().to(tensor.dtype)


@register
@dataclass(frozen=True)
class SpectralChange(Gate):
    """SeaCache's gate: opens once the change of what is picture and not noise in the input has added up.

    Args:
        threshold (`float`): delta, the change that adds up between two steps computed.
        indicator (`str`, defaults to `"modulated"`): What is looked at: `"modulated"`, the modulated input of block
            0's attention, or `"latents"`, the model's input.
        power (`float`, *optional*): p; by default 2 for a single frame and 3 for more.
        max_cached_steps (`int`, defaults to 0): Most steps in a row that are not computed; 0 for any number.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.
    """

    threshold: NonNegative
    indicator: Indicator = "modulated"
    power: Power | None = None
    max_cached_steps: Steps = 0
    per_sample: bool = True

    name: ClassVar[str] = "spectral-change"
    reads_grid: ClassVar[bool] = True

    @property
    def probe(self) -> int | None:  # type: ignore[override]
        return 0 if self.indicator == "modulated" else None

    def opens(self, now: Observation) -> torch.Tensor:
        memory = now.memory
        now.seen = self._filtered(now)
        memory["accumulated"] = memory["accumulated"] + relative_l1(now.seen, memory["filtered"])
        opens = reaches(memory["accumulated"], self.threshold)
        if self.max_cached_steps:
            opens |= memory["cached_steps"] >= self.max_cached_steps
        return opens

    def observe(self, now: Observation, computed: bool) -> None:
        memory, images = now.memory, len(now.input)
        memory["filtered"] = self._filtered(now) if now.seen is None else now.seen
        zeros = torch.zeros(images, device=now.input.device)
        if computed:
            memory["accumulated"] = zeros
        if self.max_cached_steps:
            memory["cached_steps"] = zeros if computed else memory["cached_steps"] + 1

    def _filtered(self, now: Observation) -> torch.Tensor:
        """(images, rows of an image, frames, rows, columns, C)."""
        tensor = self._on_grid(now)
        sizes = tuple(tensor.shape[2:5])
        power = self.power or (IMAGE_POWER if sizes[0] == 1 else VIDEO_POWER)
        return sea_filtered(tensor, sea_gain(sizes, now.level, power, tensor.device))

    def _on_grid(self, now: Observation) -> torch.Tensor:
        """What is looked at, its places along three dimensions and its channels last. What has them along one has them
        as the tokens of the grid, or in a column where these form none."""
        if self.indicator == "modulated":
            tensor = now.probe.flatten(2, -2)
        else:
            tensor = now.input.movedim(now.channel_dim, -1)
        places = tensor.shape[2:-1]
        if len(places) == 1:
            fits = now.grid is not None and math.prod(now.grid) == places[0]
            return tensor.unflatten(2, now.grid if fits else (1, -1, 1))
        return tensor.unsqueeze(2) if len(places) == 2 else tensor

    def bytes_kept(self, sizes: GateSizes) -> int:
        numbers = 2 if self.max_cached_steps else 1
        return (sizes.hidden if self.indicator == "modulated" else sizes.input) + 4 * numbers * sizes.images


@register
@dataclass(frozen=True)
class SeaCache(Method):
    """Leave out all blocks until that part of their input has changed which is picture by now, and not noise.

    **When**: the modulated input of block 0's attention, as a grid of frames, rows and columns, goes through a filter
    along each of these: with f its frequencies, `P = 1 / f^p` the picture's power, and the latents
    `a picture + b noise`, the gain is `a P / (a^2 P + b^2)`, over its mean. With y what is filtered,
    `acc += mean |y - y'| / mean |y'|` against the step before; a step is computed once `acc >= threshold`, which sets
    acc to 0. The first steps and the last are computed. **Which**: no token. **Fill**: what all blocks together added
    to their input in the last step computed; of order 1, as in diffusers, on the straight line over the steps through
    the last two.

    The released code filters each step but compares it with the one before unfiltered; here both are filtered. The
    noise level is the scheduler's; without one the timestep is taken for that of flow matching.

    Args:
        threshold (`float`, defaults to 0.3): delta, the change that adds up between two steps computed.
        indicator (`str`, defaults to `"modulated"`): What is looked at; `"latents"` for the model's input, as in
            diffusers.
        power (`float`, *optional*): p; by default 2 for a single frame and 3 for more.
        residual_order (`int`, defaults to 0): 0 to reuse, 1 for the line.
        max_cached_steps (`int`, defaults to 0): Most steps in a row that are not computed; 0 for any number.
        warmup_steps (`int`, defaults to 1): First steps that are computed.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself; off, all together,
            as the published code does.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    threshold: NonNegative = 0.3
    indicator: Indicator = "modulated"
    power: Power | None = None
    residual_order: Literal[0, 1] = 0
    max_cached_steps: Steps = 0
    warmup_steps: SomeSteps = 1
    per_sample: bool = True

    name: ClassVar[str] = "seacache"
    title: ClassVar[str] = "CVPR 2026, arXiv 2602.18993"
    knob: ClassVar[str | None] = "threshold"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step < self.warmup_steps or step == sampling.num_inference_steps - 1

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers, forecasts=self.residual_order > 0),)

    def gate(self) -> Gate:
        return SpectralChange(self.threshold, self.indicator, self.power, self.max_cached_steps, self.per_sample)

    def filling(self) -> Fill | None:
        return Newton(self.residual_order) if self.residual_order else None
