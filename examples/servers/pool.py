"""A pipeline for each of several threads: whoever wants a picture takes one that is free, and puts it back."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from typing import Any

import torch
from PIL import Image

import toca
from examples.servers.web import arguments, server
from toca.pipelines import load


class Pool:
    """Paints with several pipelines, each with a transformer of its own; safe to call from any thread."""

    def __init__(self, pipes: Iterable[Any], method: str):
        self._free: queue.Queue[Any] = queue.Queue()
        for pipe in pipes:
            self._free.put(toca.enable_cache(pipe, method))

    def __call__(self, prompt: str, seed: int) -> Image.Image:
        pipe = self._free.get()
        try:
            return pipe(prompt, generator=torch.Generator().manual_seed(seed)).images[0]
        finally:
            self._free.put(pipe)


if __name__ == "__main__":
    options = arguments()
    pipes = (load(options.model) for _ in range(options.pipelines))
    server(Pool(pipes, "fora"), options.port).serve_forever()
