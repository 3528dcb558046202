"""An entry of the zoo: a model class, its smallest configuration, and the arguments of a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import diffusers
import torch
from diffusers.models import transformers as classes
from torch import Tensor, nn

from .moment import STEPS, Moment
from .weights import waken

Arguments = Callable[[Moment], dict[str, Any]]


@dataclass(frozen=True)
class Tiny:
    """A tiny random model of a class of diffusers.

    Args:
        name (`str`): The class; of a variant, followed by its own name: `"Class/variant"`.
        config (`dict[str, Any]`): What the class is made with.
        arguments (`Callable`): `Moment -> keyword arguments` of a call.
        batches (`bool`): Whether a call can have several samples. If not, it has one whatever is asked for.
        exact (`torch.dtype`): What to compare in where rounding shall not show: float64, unless the class computes a
            part of itself in float32 by name.
    """

    name: str
    config: Mapping[str, Any]
    arguments: Arguments
    batches: bool = True
    exact: torch.dtype = torch.float64

    @property
    def tolerance(self) -> float:
        """How far apart two outputs may lie, relative to their size, that are equal but for rounding in `exact`."""
        return 1e-6 if self.exact == torch.float64 else 1e-4

    @property
    def model_class(self) -> type[nn.Module]:
        return _class(self.name.partition("/")[0])

    def make(self, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> nn.Module:
        """The model, in eval mode, with seeded weights of which none is zero.

        Args:
            dtype (`torch.dtype`): Of its weights.
            seed (`int`): Of its weights.
            changes: Values of the configuration that replace those of the entry.
        """
        with torch.random.fork_rng(devices=[]):
            model = self.model_class(**{**self.config, **changes})
        return waken(model, seed).to(dtype)

    def inputs(
        self, step: int, batch: int = 2, *, first: int = 0, still: bool = False, dtype: torch.dtype = torch.float32
    ) -> dict[str, Any]:
        """The keyword arguments of one call.

        Args:
            step (`int`): Of a generation of `STEPS`; the next generation follows.
            batch (`int`): Samples in the call.
            first (`int`): Number of the first sample: sample 1 of a batch of two is the same as sample 1 alone.
            still (`bool`): Whether every step is given the same, but for timesteps that differ by next to nothing.
            dtype (`torch.dtype`): Of the model.
        """
        samples = tuple(range(first, first + (batch if self.batches else 1)))
        return self.arguments(Moment(step, samples, still, dtype))

    def generation(self, batch: int = 2, **options: Any) -> list[dict[str, Any]]:
        """The arguments of all calls of a generation; for the options see `inputs`."""
        return [self.inputs(step, batch, **options) for step in range(STEPS)]

    def variant(self, name: str, arguments: Arguments | None = None, **changes: Any) -> Tiny:
        """Register another configuration of the same class, or other arguments."""
        made = replace(
            self,
            name=f"{self.name}/{name}",
            config={**self.config, **changes},
            arguments=arguments or self.arguments,
        )
        return _add(made)


ZOO: dict[str, Tiny] = {}
"""One entry a class of the installed diffusers."""
EVERY: dict[str, Tiny] = {}
"""The same and all variants."""


def tiny(
    name: str, batches: bool = True, exact: torch.dtype = torch.float64, **config: Any
) -> Callable[[Arguments], Tiny]:
    """Make a function from a moment to a call's arguments the entry of a class. A class that the installed diffusers
    lacks is left out of the tables."""

    def enter(arguments: Arguments) -> Tiny:
        return _add(Tiny(name, config, arguments, batches, exact))

    return enter


def _add(entry: Tiny) -> Tiny:
    class_name = entry.name.partition("/")[0]
    if not exists(class_name):
        return entry
    EVERY[entry.name] = entry
    if entry.name == class_name:
        ZOO[entry.name] = entry
    return entry


def exists(name: str) -> bool:
    """Whether the installed diffusers has a class."""
    return hasattr(classes, name) or hasattr(diffusers, name)


def _class(name: str) -> Any:
    return getattr(classes, name, None) or getattr(diffusers, name)


def tensors(output: Any) -> list[Tensor]:
    """All tensors that a model returned, each with one row a sample; a cache of keys and values is none of them."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, list) and any(isinstance(part, Mapping) for part in output):
        return []
    if isinstance(output, (list, tuple)) and all(isinstance(part, Tensor) for part in output):
        return [torch.stack(list(output))] if isinstance(output, list) else list(output)
    parts = output.values() if isinstance(output, Mapping) else output
    return [tensor for part in parts if part is not None for tensor in tensors(part)]


def run(model: nn.Module, calls: list[dict[str, Any]]) -> list[list[Tensor]]:
    """What the model returns for each call."""
    with torch.no_grad():
        return [tensors(model(**with_lists_of_its_own(call))) for call in calls]


def with_lists_of_its_own(call: dict[str, Any]) -> dict[str, Any]:
    """The same arguments: some models empty a list that they are given."""
    return {name: list(value) if isinstance(value, list) else value for name, value in call.items()}
