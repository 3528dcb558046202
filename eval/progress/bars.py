"""The bars of a run that is going on: how much is done, how many samples an hour, and how long the others take."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text

from toca.eval.progress.pace import HOUR
from toca.eval.progress.told import duration


class PaceColumn(ProgressColumn):
    """What a `Tally` says of its bar; nothing beside the others."""

    def render(self, task: Task) -> Text:
        """The words of a bar."""
        return Text(task.fields.get("pace", ""))


def bars(disable: bool) -> Progress:
    """On stderr, where results do not go."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), PaceColumn())
    return Progress(*columns, console=Console(stderr=True), disable=disable)


def at_variant(progress: Progress, task: TaskID, what: str, names: str, place: tuple[int, int] | None = None) -> None:
    """Say beside a bar what it is at; with its number among so many in a line of its own where there is no bar."""
    progress.update(task, description=escape(f"{what}: {names}"))
    if place is not None and not progress.console.is_terminal and not progress.disable:
        progress.print(Text(f"{what}: {names} ({place[0]} of {place[1]})"), soft_wrap=True)


class Tally:
    """A bar of samples, of which some are there from an earlier run and cost nothing.

    Args:
        progress (`Progress`): Where it is shown.
        what (`str`): What is done.
        total (`float`): All work, in any unit.
        clock (`Callable`): Seconds.
    """

    def __init__(
        self, progress: Progress, what: str, total: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._progress, self._what, self._clock = progress, what, clock
        self._task = progress.add_task(what, total=total)
        self._total, self._done, self._last = total, 0.0, clock()
        self._samples, self._work, self._seconds = 0, 0.0, 0.0

    def at(self, variant: str, number: int, of: int) -> None:
        """It is at a variant, the `number`th of so many."""
        at_variant(self._progress, self._task, self._what, variant, (number, of))

    def add(self, samples: int, new: bool, weight: float = 1.0) -> None:
        """Some samples more.

        Args:
            samples (`int`): How many.
            new (`bool`): Whether they were made now.
            weight (`float`): The work of each.
        """
        now = self._clock()
        if new:
            self._samples += samples
            self._work += samples * weight
            self._seconds += now - self._last
        self._last = now
        self.reach(self._done + samples * weight)

    def reach(self, done: float) -> None:
        """So much of the work is done, or will never be."""
        self._done = done
        self._progress.update(self._task, completed=done, pace=self.pace)

    @property
    def pace(self) -> str:
        """Samples an hour and the time left, by what was made since this began."""
        if not self._seconds:
            return ""
        left = max(0.0, self._total - self._done) * self._seconds / self._work
        return f"{self._samples * HOUR / self._seconds:,.0f} samples an hour, {duration(left)} left"
