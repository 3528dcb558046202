"""Who works on the results in a folder: shards of the samples at once, and all else alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toca.eval.samples.shards import WHOLE, Shard, parse_shard
from toca.eval.store.presence import Mark, present
from toca.files.reading import named
from toca.pipelines.writing import prepare_folder

MARKS = Path("stages") / ".present"


@contextmanager
def working(output: Path, shard: Shard = WHOLE) -> Iterator[None]:
    """Work on the results in a folder for the length of a `with` block.

    Args:
        output (`Path`): The folder.
        shard (`Shard`): The part of the samples; all of them, for what is more than samples too.

    Raises:
        ValueError: If another process works on some of the same; it says which, and what to do.
        OSError: If the folder cannot be written to.
    """

    def allow(marks: list[Mark]) -> None:
        for mark in marks:
            if _meet(shard, parse_shard(mark.what.replace("-of-", "/"))):
                raise ValueError(
                    f"Another run, {mark}, works in {named(output)}: wait until it ends, name another folder with "
                    "--output, or share the samples between `toca eval generate --shard 1/2` and `--shard 2/2`."
                )

    prepare_folder(output)
    with present(output / MARKS, f"{shard.rank + 1}-of-{shard.world}", allow):
        yield


def _meet(one: Shard, other: Shard) -> bool:
    """Whether a piece can belong to both: to rank r mod n and to rank s mod m."""
    return (one.rank - other.rank) % math.gcd(one.world, other.world) == 0
