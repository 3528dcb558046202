"""A module that a block calls more than once: a handle for each call, in turn."""

from __future__ import annotations

from .handle import Handle


class Turns:
    """The handles of one module's calls in a block; it stands where other modules have their handle.

    Args:
        handles (`list[Handle]`): One a call, in the order of the calls.

    Attributes:
        turn (`int`): Which of them is asked next.
    """

    def __init__(self, handles: list[Handle]) -> None:
        self.handles, self.turn = handles, 0

    def take(self) -> Handle:
        """The handle of the call that begins."""
        handle = self.handles[self.turn]
        self.turn = (self.turn + 1) % len(self.handles)
        return handle

    @property
    def last(self) -> int:
        """Which of them was asked last."""
        return (self.turn - 1) % len(self.handles)
