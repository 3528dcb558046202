"""Who calls: a thread, or in it an asyncio task. A generation belongs to one of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Caller:
    """A thread and the asyncio task that runs in it, if there is one."""

    thread: threading.Thread
    task: Any = None

    @classmethod
    def current(cls) -> Caller:
        """Who is running this."""
        # Most often there is no loop, and to be told so by an error takes longer than to ask.
        task = None if asyncio._get_running_loop() is None else asyncio.current_task()
        return cls(threading.current_thread(), task)

    @property
    def is_gone(self) -> bool:
        """Whether it will never call again."""
        return not self.thread.is_alive() or (self.task is not None and self.task.done())


class Ownership:
    """Whose generation it is. One transformer, and one scheduler, serve one generation at a time.

    Whoever begins a generation owns it to its end. A call of somebody else in the middle is refused, and so is an
    owner who goes on after somebody else has begun one. What nobody goes on with (its thread has ended, or a new one
    has begun) is nobody's.
    """

    def __init__(self) -> None:
        self._calling: Caller | None = None
        self._owner: Caller | None = None
        self._overtaken: set[Caller] = set()
        self._closed = False
        self._changed = threading.Condition()

    def enter(self, caller: Caller, begins_anew: Callable[[], bool], at_start: Callable[[], bool]) -> bool:
        """A call begins. Where there is one caller nothing is asked: an answer may wait for the device.

        Args:
            caller (`Caller`): Whose call it is.
            begins_anew (`Callable`): `() -> bool`: whether it can only be the first of a generation.
            at_start (`Callable`): `() -> bool`: whether it can be the first of one.

        Returns:
            `bool`: Whether it is let in; not once the cache is being taken off.

        Raises:
            RuntimeError: If another caller's call is under way, if the generation at hand is another caller's, or if
                this caller's own was ended by another.
        """
        with self._changed:
            if self._closed:
                return False
            calling = self._calling
            if calling is not None and calling != caller and not calling.is_gone:
                raise RuntimeError(REFUSED.format(what="is in the middle of a call"))
            self._check(caller, begins_anew, at_start)
            self._calling = caller
            return True

    def _check(self, caller: Caller, begins_anew: Callable[[], bool], at_start: Callable[[], bool]) -> None:
        if caller in self._overtaken:
            self._overtaken.discard(caller)
            if not at_start():
                raise RuntimeError(REFUSED.format(what="has begun a generation since the last step of this one"))
        if not self.is_anothers(caller):
            return
        if not begins_anew():
            raise RuntimeError(REFUSED.format(what="is in the middle of a generation"))
        others = (*self._overtaken, self._owner)
        self._overtaken = {other for other in others if other is not None and not other.is_gone}

    def is_calling(self, caller: Caller) -> bool:
        """Whether the call that is under way is this caller's."""
        return self._calling == caller

    def is_anothers(self, caller: Caller) -> bool:
        """Whether the generation at hand belongs to somebody else, who can still go on with it."""
        owner = self._owner
        return owner is not None and owner != caller and not owner.is_gone

    def leave(self) -> None:
        """The call has ended, however it did."""
        with self._changed:
            self._calling = None
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait for the end of a call that another thread has under way: half a call with a
        cache, and half without, is neither's."""
        with self._changed:
            self._closed = True
            while self._is_called_elsewhere():
                self._changed.wait(POLL_SECONDS)

    def _is_called_elsewhere(self) -> bool:
        calling = self._calling
        return calling is not None and calling.thread is not threading.current_thread() and not calling.is_gone

    def forget(self) -> None:
        """Whatever was under way is nobody's."""
        with self._changed:
            self._calling = self._owner = None
            self._overtaken.clear()
            self._changed.notify_all()

    def begin(self, caller: Caller) -> None:
        """A generation begins."""
        self._owner = caller

    def end(self) -> None:
        """The generation is over."""
        self._owner = None


POLL_SECONDS = 0.1
"""How often it is looked whether a thread that is waited for has ended in the middle of its call."""

REFUSED = (
    "Another thread or task {what} on this model: a pipeline serves one generation at a time, so run them one after "
    "the other (under a lock), or give each thread a pipeline of its own. toca.reset(target) ends one that was given "
    "up."
)

IN_SCOPE = (
    "Another thread or task is within `toca.cached` on this model: a pipeline serves one request at a time, so put "
    "one lock around the `with` block and the calls in it, or give each thread a pipeline of its own."
)
