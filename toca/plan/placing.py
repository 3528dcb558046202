"""Plans whose blocks are shared out over several processes, by the devices of their late spans."""

from __future__ import annotations

from collections.abc import Sequence

from ..axes.actions import Action
from ..axes.spans import Span
from ..checks import check


def devices_of(table: Sequence[Sequence[Action]], spans: Sequence[Sequence[Span]]) -> int:
    """The processes of a plan: one for each late span of a step, and one for the blocks of none; 1 where no span has a
    device.

    Args:
        table (`Sequence[Sequence[Action]]`): One row a step.
        spans (`Sequence[Sequence[Span]]`): Of each step.

    Raises:
        ValueError: If the devices of a step are not counted from 0, or not as many in each step, or if a step is
            neither full nor runs all blocks, each on its device: what a block keeps for a later step of another kind
            would be where it ran, and nowhere else.
    """
    placed = [[span.device for span in step] for step in spans if any(span.device is not None for span in step)]
    if not placed:
        return 1
    counted = list(range(len(placed[0])))
    for devices in placed:
        check(devices == counted, "device", devices, f"must be {counted} in the spans of a step, as in others")
    for step, (row, left) in enumerate(zip(table, spans, strict=True)):
        kinds = {action.kind for action in row}
        whole = kinds == {"compute"} or (kinds <= {"compute", "late"} and [span.device for span in left] == counted)
        check(whole, f"table[{step}]", sorted(kinds), "must be all compute, or late in spans that have devices")
    return len(counted) + 1
