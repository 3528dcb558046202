"""Pictures of the full model that need not be made again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from PIL import Image

MOST_BYTES = 2**28


@dataclass(frozen=True)
class Picture:
    """Frames, one for an image, and the seconds that they took."""

    frames: tuple[Image.Image, ...]
    seconds: float

    @property
    def bytes(self) -> int:
        return sum(3 * frame.width * frame.height for frame in self.frames)


class Kept:
    """Pictures by what they show; those asked for longest ago go first. Safe to use from any thread.

    Args:
        most_bytes (`int`): that all of them may have.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._pictures = most_bytes, OrderedDict[Hashable, Picture]()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> Picture | None:
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
            return self._pictures.get(key)

    def keep(self, key: Hashable, picture: Picture) -> None:
        with self._lock:
            self._pictures[key] = picture
            while sum(each.bytes for each in self._pictures.values()) > self._most:
                self._pictures.popitem(last=False)
