"""One pipeline for all threads: a lock lets one generation through at a time."""

from __future__ import annotations

import threading
from typing import Any

import torch
from PIL import Image

import toca
from examples.servers.web import arguments, server
from toca.pipelines import load


class Locked:
    """Paints with one pipeline; safe to call from any thread."""

    def __init__(self, pipe: Any, method: str):
        self.pipe, self._lock = toca.enable_cache(pipe, method), threading.Lock()

    def __call__(self, prompt: str, seed: int) -> Image.Image:
        with self._lock:
            return self.pipe(prompt, generator=torch.Generator().manual_seed(seed)).images[0]


if __name__ == "__main__":
    options = arguments()
    server(Locked(load(options.model), "fora"), options.port).serve_forever()
