"""Who else is busy on the machine while times are taken: they are not to be relied on then, and the report says so."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from toca.eval.store.presence import others, present

SHARE = 0.1
"""Of the machine's cores: what others may keep busy before times are said to be taken in competition."""

_USER = os.getuid() if hasattr(os, "getuid") else "user"
BENCHES = Path(tempfile.gettempdir()) / f"toca-bench-{_USER}"
"""Where the processes of this machine that take times know each other from."""


@dataclass(frozen=True)
class Rivals:
    """What others did on the machine for some time.

    Args:
        wall (`float`): How long, in seconds.
        busy (`float`): Seconds of its cores that other processes took.
        benches (`int`): Other processes of ours that took times.
    """

    wall: float
    busy: float
    benches: int

    @property
    def cores(self) -> float:
        """How many cores others kept busy, on average."""
        return self.busy / self.wall if self.wall else 0.0

    @property
    def compete(self) -> bool:
        """Whether times that were taken meanwhile are to be mistrusted."""
        return self.benches > 0 or self.cores > SHARE * _cores()


def together(parts: Iterable[Rivals]) -> Rivals:
    """Of several times, one after another."""
    found = list(parts)
    return Rivals(
        sum(part.wall for part in found),
        sum(part.busy for part in found),
        max((part.benches for part in found), default=0),
    )


class Lookout:
    """Watches the machine while times are taken; what it asks the system for takes no time of a core worth telling.

    Args:
        folder (`Path`): Where the other processes that take times are found.
        mine (`Path`): This one's mark there.
    """

    def __init__(self, folder: Path, mine: Path) -> None:
        self._folder, self._mine = folder, mine
        self._since = _clocks()

    def look(self) -> Rivals:
        """What others did since the last look."""
        before, self._since = self._since, _clocks()
        wall, all_busy, own_busy = (now - then for now, then in zip(self._since, before, strict=True))
        return Rivals(max(wall, 0.0), max(all_busy - own_busy, 0.0), len(others(self._folder, self._mine)))


@contextmanager
def lookout() -> Iterator[Lookout]:
    """Watch while times are taken in a `with` block, and be seen by the other processes that take them."""
    with present(BENCHES, "bench") as mine:
        yield Lookout(BENCHES, mine)


def competition(rivals: Mapping[str, Rivals]) -> list[str]:
    """What is to be said of the times of variants, by their names; nothing if there was no competition."""
    competed = {name: each for name, each in rivals.items() if each.compete}
    if not competed:
        return []
    most = max(each.cores for each in competed.values())
    who = [f"others kept up to {most:.1f} of {_cores()} cores busy"]
    if any(each.benches for each in competed.values()):
        who.append("another run of toca eval took times here")
    return [
        f"Times were taken in competition: meanwhile {', and '.join(who)}. Take them again when nothing else "
        f"runs; it concerns {', '.join(competed)}."
    ]


def _clocks() -> tuple[float, float, float]:
    """Seconds by the clock; of all cores that were busy; of those that this process and its children kept busy."""
    machine = psutil.cpu_times()
    idle = machine.idle + getattr(machine, "iowait", 0.0)
    # Linux counts the time of guests in that of their hosts too.
    twice = getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)
    return time.monotonic(), sum(machine) - idle - twice, _own_seconds()


def _own_seconds() -> float:
    this = psutil.Process()
    times = this.cpu_times()
    ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    found = times.user + times.system + ended
    for child in this.children(recursive=True):
        with suppress(psutil.Error):  # it may have ended just now
            times = child.cpu_times()
            found += times.user + times.system
    return found


def _cores() -> int:
    return os.cpu_count() or 1
