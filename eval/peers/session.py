"""A peer on a pipeline, and what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from toca.eval.peers.meter import Meter


@dataclass(frozen=True)
class Work:
    """What a peer did, in the words of `toca.Summary` where that has them.

    Args:
        calls (`int`): Transformer calls.
        steps (`str`): A letter a transformer call: `F` nothing left out, `a` without some blocks, `m` any other.
        flops, flops_full (`int`): FLOPs of what ran, and of the same calls uncached; two a multiply-add. Counted on
            the first call and scaled by the batch: calls of different lengths of text count like the first.
        block_calls, block_calls_full (`int`): Blocks that ran, and those of the same calls uncached.
        cache_bytes (`int`): Most bytes that the peer was seen to hold, late in a generation.
        bypassed (`int`): Calls that ran past the cache; peers know of none.
    """

    calls: int
    steps: str
    flops: int
    flops_full: int
    block_calls: int
    block_calls_full: int
    cache_bytes: int
    bypassed: int = 0


class Session:
    """What `Peer.on` yields.

    Args:
        meters (`list[Meter]`): One a transformer.
        held (`Callable`): Tells the bytes that the cache holds.
        turn_off (`Callable`): Takes the peer off.
    """

    def __init__(self, meters: list[Meter], held: Callable[[], int], turn_off: Callable[[], None]) -> None:
        self._meters, self._held, self._turn_off = meters, held, turn_off

    def summary(self) -> Work:
        """What was done. It ends the session: the peer is taken off, and the first call is run once more, uncached,
        to count its FLOPs; so ask when all is generated, outside of what is timed."""
        cache_bytes = self._held()
        self._turn_off()
        for meter in self._meters:
            meter.weigh()
        calls = [(meter, call) for meter in self._meters for call in meter.calls]
        return Work(
            calls=len(calls),
            steps="".join(meter.letter(call) for meter, call in calls),
            flops=sum(meter.flops(call) for meter, call in calls),
            flops_full=sum(meter.flops_full(call) for meter, call in calls),
            block_calls=sum(meter.blocks(call) for meter, call in calls),
            block_calls_full=sum(meter.blocks_full for meter, _ in calls),
            cache_bytes=cache_bytes,
        )
