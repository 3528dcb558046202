"""Free composition: a value on each axis, taken from any method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..axes.fills import Fill
from ..axes.gates import Gate
from ..axes.sampling import Sampling
from ..axes.selections import Selection
from ..axes.spans import Span
from ..models import Site
from ..registry import named, register
from .base import Method


@register
@dataclass(frozen=True)
class CacheMethod(Method):
    """When x which tokens x how to fill, each as another method does it.

    `CacheMethod(when=EasyCache(), which=preset("toca/pixart"), fill=TaylorSeer(order=1))` computes in full when
    EasyCache says so, in the other steps the tokens that ToCa chooses, and forecasts the rest as TaylorSeer does.

    Args:
        when (`Method` or `str`, defaults to `"fora"`): Which steps are computed in full; a method, or the name of one
            or of a preset.
        which (`Method` or `str`, *optional*): What is computed in the others: tokens, or the blocks that are not left
            out. By default nothing is, module by module.
        fill (`Method` or `str`, *optional*): How the rest is forecast. By default it is reused.

    Raises:
        ValueError: If a name is unknown, or `fill` is a method that forecasts nothing.
    """

    when: Method | str = "fora"
    which: Method | str | None = None
    fill: Method | str | None = None

    name: ClassVar[str] = "composed"
    title: ClassVar[str] = "a combination of your own"

    def __post_init__(self) -> None:
        super().__post_init__()
        for axis in ("when", "which", "fill"):
            value = getattr(self, axis)
            if isinstance(value, str):
                object.__setattr__(self, axis, named(value))
        if isinstance(self.fill, Method) and self.fill.filling() is None:
            raise ValueError(f"`fill` must be a method that forecasts, such as taylorseer, got {self.fill.name}.")

    @property
    def label(self) -> str:
        names = (method.label if isinstance(method, Method) else "none" for method in (self.when, self.which))
        return " x ".join([*names, self.fill.label if isinstance(self.fill, Method) else "reuse"])

    @property
    def _clock(self) -> Method:
        """`when`; a name has become a method by now, here and below."""
        assert isinstance(self.when, Method)
        return self.when

    @property
    def _chooser(self) -> Method | None:
        assert not isinstance(self.which, str)
        return self.which

    @property
    def _filler(self) -> Method | None:
        assert not isinstance(self.fill, str)
        return self.fill

    @property
    def leaves_out_blocks(self) -> bool:
        return self._chooser is not None and self._chooser.leaves_out_blocks

    @property
    def reads_timesteps(self) -> bool:  # type: ignore[override]
        return any(method.reads_timesteps for method in self._parts)

    @property
    def _parts(self) -> list[Method]:
        return [part for part in (self.when, self.which, self.fill) if isinstance(part, Method)]

    def check_fits(self, sampling: Sampling) -> None:
        for part in self._parts:
            part.check_fits(sampling)

    def check_scheduler(self, scheduler: Any) -> None:
        for part in self._parts:
            part.check_scheduler(scheduler)

    @property
    def num_inference_steps(self) -> int | None:
        """The number of steps that one of them was made for, if any."""
        numbers = (getattr(part, "num_inference_steps", None) for part in self._parts)
        return next((number for number in numbers if number is not None), None)

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return self._clock.computes(site, step, sampling)

    def gate(self) -> Gate | None:
        return self._clock.gate()

    def guided(self, step: int, sampling: Sampling) -> bool:
        return self._clock.guided(step, sampling)

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        return None if self._chooser is None else self._chooser.share(site, step, sampling)

    def selection(self) -> Selection | None:
        return None if self._chooser is None else self._chooser.selection()

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        spans = () if self._chooser is None else self._chooser.spans(step, sampling)
        return tuple(replace(span, forecasts=self.fill is not None) for span in spans)

    def filling(self) -> Fill | None:
        fill = None if self._filler is None else self._filler.filling()
        if fill is None or self._filler is None or self._filler.gate() == self.gate():
            return fill
        # A forecast whose weights its own method's gate tells is told none by another's.
        return fill.without_gate()
