"""A span: blocks whose place is taken in a step all together, by what is put there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..checks import MOST_LAYERS, check, shown
from ..models import Layout
from ..models.streams import IMAGE, parts_of

QUANTITIES = ("residual", "output")
SCOPES = ("blocks", "model")


@dataclass(frozen=True)
class Span:
    """Blocks `first` to `stop - 1`, not run in a step; or run late, for the steps to come.

    Args:
        first, stop (`int`): Layers, in the order in which the model runs them; `stop` is the first that runs again.
        keeps (`str`, defaults to `"residual"`): What is kept of a step that runs them: `"residual"` (what leaves the
            span minus what enters it, added to what enters it now) or `"output"` (what leaves it).
        around (`str`, defaults to `"blocks"`): `"blocks"` for the hidden states at the span's ends, `"model"` for the
            model's own input and output; the span is the whole stack then.
        forecasts (`bool`, defaults to `False`): Whether what is kept is forecast rather than reused.
        late (`bool`, defaults to `False`): Whether the blocks run all the same: what they make is kept, and what was
            kept before goes on to the blocks behind them, which so need not wait for them.
        device (`int`, *optional*): Where the blocks of a model are shared out over several processes, that which runs
            these, counted from 0; the last one runs the blocks of no span. `None` for a single process.

    Raises:
        ValueError: If the span is empty, a value is none of the above, or a span that is not late has a device.
    """

    first: int
    stop: int
    keeps: str = "residual"
    around: str = "blocks"
    forecasts: bool = False
    late: bool = False
    device: int | None = None

    def __post_init__(self) -> None:
        whole = type(self.first) is int and type(self.stop) is int
        if not whole or not 0 <= self.first < self.stop <= MOST_LAYERS:
            got = f"got first={shown(self.first)} and stop={shown(self.stop)}"
            raise ValueError(f"A span needs whole numbers 0 <= `first` < `stop` <= {MOST_LAYERS}, {got}.")
        for name in ("forecasts", "late"):
            check(isinstance(getattr(self, name), bool), name, getattr(self, name), "must be True or False")
        for name, value, allowed in (("keeps", self.keeps, QUANTITIES), ("around", self.around, SCOPES)):
            if value not in allowed:
                raise ValueError(f"`{name}` of a span must be one of {', '.join(allowed)}, got {shown(value)}.")
        check(not self.late or self.around == "blocks", "around", self.around, 'must be "blocks" of a late span')
        numbered = type(self.device) is int and 0 <= self.device < MOST_LAYERS
        fits = self.device is None or (self.late and numbered)
        check(fits, "device", self.device, "must be None, or of a late span a number from 0")

    @cached_property
    def stored(self) -> Span:
        """What is remembered for it: the same whether it is reused or forecast, left out or late."""
        return replace(self, forecasts=False, late=False, device=None)

    @property
    def layers(self) -> range:
        """Its blocks."""
        return range(self.first, self.stop)

    def __contains__(self, layer: int) -> bool:
        return self.first <= layer < self.stop


def skipped(layer: int, spans: Sequence[Span]) -> bool:
    """Whether one of `spans` leaves out this layer."""
    return any(layer in span for span in spans)


def last_block(layers: int) -> tuple[Span, ...]:
    """The span of a step that runs no block and forecasts what leaves the last; the norm and projection behind it run
    at the step's own timestep."""
    return (Span(0, layers, keeps="output", forecasts=True),)


def last_image(layout: Layout) -> tuple[Span, ...]:
    """The same for fills that look at more than one token at a time: around the model itself where the image leaves
    the last block in one row with other tokens, such as text that is padded to the longest of a batch."""
    alone = all(parts_of(stream) == (IMAGE,) for stream in layout.read.get(layout.stacks[-1], ()))
    around = "blocks" if alone or layout.outputs > 1 else "model"
    return (Span(0, layout.layers, keeps="output", around=around, forecasts=True),)
