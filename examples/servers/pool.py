"""A pipeline for each of several threads: whoever wants a picture takes one that is free, and puts it back."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image

import toca
from examples.servers.web import arguments, server
from toca.pipelines import load


class Pool:
    """Paints with several pipelines, each with a transformer of its own; safe to call from any thread. Without a
    method they have no cache, and whoever takes one puts his own on."""

    def __init__(self, pipes: Iterable[Any], method: str | None = None):
        self._free: queue.Queue[Any] = queue.Queue()
        for pipe in pipes:
            self._free.put(pipe if method is None else toca.enable_cache(pipe, method))

    @contextmanager
    def taken(self) -> Iterator[Any]:
        """A pipeline that nobody else has for the length of a `with` block; waits for one to be free."""
        pipe = self._free.get()
        try:
            yield pipe
        finally:
            self._free.put(pipe)

    def __call__(self, prompt: str, seed: int) -> Image.Image:
        with self.taken() as pipe:
            return pipe(prompt, generator=torch.Generator().manual_seed(seed)).images[0]


if __name__ == "__main__":
    options = arguments()
    pipes = (load(options.model) for _ in range(options.pipelines))
    server(Pool(pipes, "fora"), options.port).serve_forever()
