"""A style of calling: a tiny random pipeline, how it is called, and what that makes of the transformer's calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn

from toca.models import family_of

from ..zoo import ZOO

STEPS = 5
TEXT, TEXT_WIDTH = 4, 12
Make = Callable[[], Any]


@dataclass(frozen=True)
class Style:
    """One entry of `STYLES`.

    Args:
        name (`str`): Of the pipeline, and of what is special in how it is called.
        make (`Callable`): The pipeline.
        arguments (`dict[str, Any]`): It is called with; functions are called for a value.
        branches (`tuple`): The branches of guidance, as the summary calls them.
        steps (`str`): What FORA of interval 2 does in each step.
        past (`int`): Calls of a generation that run in full, past the cache.
        calls (`int`, *optional*): Calls that go through it, where not each branch has one in each step.
        matrix (`bool`): Whether it runs with the full tables alone.
    """

    name: str
    make: Make
    arguments: Mapping[str, Any]
    branches: tuple[Hashable, ...] = (0,)
    steps: str = "FrFrF"
    past: int = 0
    calls: int | None = None
    matrix: bool = False

    def pipeline(self) -> Any:
        """The pipeline; a test is skipped where the installed diffusers has none."""
        return made(self.make)

    def cacheable(self) -> tuple[Any, Tensor]:
        """The same with what it generates; a test is skipped where no family of its transformer is known."""
        pipe = self.pipeline()
        stock = self.generate(pipe)
        if not transformers_of(pipe):
            pytest.skip("no family of its transformer is known")
        return pipe, stock

    def generate(self, pipe: Any, **more: Any) -> Tensor:
        """Latents of one generation; the same each time."""
        common = {"num_inference_steps": STEPS, "output_type": "latent", "return_dict": False}
        generator = torch.Generator().manual_seed(0)
        arguments = {**common, "generator": generator, **self.arguments, **more}
        arguments = {name: drawn(value, pipe) for name, value in arguments.items()}
        known = inspect.signature(pipe.__call__).parameters
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            output = pipe(**{name: value for name, value in arguments.items() if name in known})[0]
        # DiT's of older releases decodes to numpy whatever it is asked for.
        return torch.as_tensor(output[0] if isinstance(output, list) else output)


def made(make: Make) -> Any:
    """What a function makes of diffusers; a test is skipped where that has no such pipeline, or cannot import its own
    for want of something in the installed transformers."""
    try:
        pipe = make()
    except AttributeError as lacking:
        if not str(lacking).startswith("module diffusers has no attribute"):
            raise
        pytest.skip(str(lacking))
    except RuntimeError as failed:
        if not (str(failed).startswith("Failed to import diffusers.") and isinstance(failed.__cause__, ImportError)):
            raise
        pytest.skip(f"diffusers cannot import its own pipeline: {failed.__cause__}")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(value: Any, pipe: Any) -> Any:
    """An argument: what a function without parameters makes, tensors in the dtype of the pipeline."""
    if callable(value) and not inspect.signature(value).parameters:
        value = value()
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(pipe.dtype)
    return value


STYLES: dict[str, Style] = {}


def style(name: str, make: Make, arguments: Mapping[str, Any], **facts: Any) -> Style:
    """Register one."""
    STYLES[name] = Style(name, make, arguments, **facts)
    return STYLES[name]


def transformers_of(pipe: Any) -> list[nn.Module]:
    """The transformers of a pipeline that a cache can be put on."""
    parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    return [part for part in dict.fromkeys(parts) if family_of(part) is not None]


def zoo(name: str, **changes: Any) -> nn.Module:
    """A model of the zoo with some of its configuration changed."""
    if name not in ZOO:
        raise AttributeError(f"module diffusers has no attribute {name}")
    return ZOO[name].make(**changes)


def pipeline(name: str, **components: Any) -> Any:
    """A pipeline of diffusers of these components, and of none for those that are not named."""
    cls = getattr(diffusers, name)
    needed = cls._get_signature_types()
    return cls(**dict.fromkeys(part for part in needed if part not in cls._get_signature_keys(cls)[1]) | components)


def noise(*shape: int, seed: int = 0) -> Callable[[], Tensor]:
    """Seeded numbers, drawn anew for each call: a pipeline may write in what it is given."""
    return lambda: torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text(tokens: int = TEXT, width: int = TEXT_WIDTH, seed: int = 1, batch: int = 1) -> Callable[[], Tensor]:
    """What a text encoder would make of a prompt."""
    return noise(batch, tokens, width, seed=seed)


def mask(tokens: int = TEXT, dtype: torch.dtype = torch.long) -> Callable[[], Tensor]:
    """No padding."""
    return lambda: torch.ones(1, tokens, dtype=dtype)


@dataclass
class Counter:
    """How often the first linear or convolutional layer of each site runs."""

    calls: int = 0
    handles: list[Any] = field(default_factory=list)

    def watch(self, pipe: Any) -> Counter:
        from toca.models import walk_blocks
        from toca.models.spec import has

        for transformer in transformers_of(pipe):
            for *_, block, spec in walk_blocks(transformer, family_of(transformer)):
                paths = {site.path for site in spec.sites if site.path and has(block, site.path)}
                for path in paths:
                    layers = (nn.Linear, nn.Conv2d)
                    linear = next(part for part in block.get_submodule(path).modules() if isinstance(part, layers))
                    self.handles.append(linear.register_forward_hook(self._count))
        return self

    def _count(self, *_: Any) -> None:
        self.calls += 1

    @property
    def layers(self) -> int:
        """Layers that are watched."""
        return len(self.handles)

    def take(self) -> int:
        """Calls since the last time."""
        calls, self.calls = self.calls, 0
        return calls
