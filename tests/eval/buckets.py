"""An object store in memory with the manners of the real ones: asynchronous, whole objects, folders by their names
alone, buckets that somebody has to make, requests that fail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, ClassVar

import fsspec
from fsspec.asyn import AsyncFileSystem

BUCKET = "ours"


class Buckets(AsyncFileSystem):
    """`bucket://ours/...`. What is asked is told to `asked`, which may raise."""

    protocol = "bucket"
    cachable = False
    objects: ClassVar[dict[str, bytes]] = {}
    buckets: ClassVar[set[str]] = {BUCKET}
    moments: ClassVar[dict[str, datetime]] = {}
    listed: ClassVar[list[str]] = []  # what a hostile store lists, too
    asked: ClassVar[Callable[[str, str], None]]

    @classmethod
    def reset(cls) -> None:
        cls.objects.clear()
        cls.moments.clear()
        cls.listed.clear()
        cls.buckets.intersection_update({BUCKET})
        cls.asked = staticmethod(lambda what, path: None)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list:
        type(self).asked("ls", path)
        folder = path.rstrip("/") + "/"
        inside = [key.removeprefix(folder).partition("/")[0] for key in self.objects if key.startswith(folder)]
        names = [f"{folder}{name}" for name in dict.fromkeys(inside)] + self.listed
        if not names:
            raise FileNotFoundError(path)
        return [{"name": name, "size": 0, "type": "file"} for name in names] if detail else names

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        type(self).asked("read", path)
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path][start:end]

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if path.partition("/")[0] not in self.buckets:
            raise FileNotFoundError("The specified bucket does not exist")
        type(self).asked("write", path)
        self.objects[path] = value
        self.moments[path] = datetime.now(timezone.utc)

    async def _mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        bucket, _, key = path.partition("/")
        if bucket in self.buckets:
            return
        if key and not create_parents:
            raise FileNotFoundError("The specified bucket does not exist")
        self.buckets.add(bucket)

    def modified(self, path: str) -> datetime:
        return self.moments[path]


fsspec.register_implementation("bucket", Buckets, clobber=True)
Buckets.reset()
