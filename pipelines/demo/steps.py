"""How far a generation is, told step by step."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

Told = Callable[[int, int], None]
"""Called with the steps that are done, and with how many there are."""


class _Bar(tqdm):
    """The bar that a pipeline moves: it is drawn nowhere, and tells where it stands."""

    def __init__(self, told: Told, *args: Any, **options: Any) -> None:
        self._told, self._last = told, 0
        super().__init__(*args, file=io.StringIO(), mininterval=0, miniters=1, **options)

    def display(self, *args: Any, **options: Any) -> None:
        if self.total and self.n != self._last:
            self._last = self.n
            self._told(self.n, self.total)


@contextmanager
def steps_told(pipe: Any, told: Told) -> Iterator[None]:
    """Within the block each step of a pipeline is told; the pipeline's own bar is back after it."""

    def bar(iterable: Any = None, total: int | None = None) -> _Bar:
        return _Bar(told, iterable, total=total)

    pipe.progress_bar = bar
    try:
        yield
    finally:
        del pipe.progress_bar
