"""The servers of examples/servers: many requests at once, each with its own picture."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

import toca
from examples.servers.lock import Locked
from examples.servers.pool import Pool
from examples.servers.web import Painter, server
from tests.helpers import TEXT_TOKENS, tiny_flux_pipeline

REQUESTS = [("a red owl", 0), ("the big moon", 1), ("a red owl", 2), ("a wire", 3), ("the big moon", 0), ("a wire", 1)]


def small_pipeline():
    """One whose plain call is small."""
    pipe = tiny_flux_pipeline()
    plain = type(pipe).__call__

    class Small(type(pipe)):  # type: ignore[misc]
        def __call__(self, prompt, **arguments):
            return plain(self, prompt, num_inference_steps=6, max_sequence_length=TEXT_TOKENS, **arguments)

    pipe.__class__ = Small
    return pipe


@contextmanager
def running(paint: Painter) -> Iterator[str]:
    web = server(paint, 0)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{web.server_port}"
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


def ask(address: str, prompt: str, seed: int) -> np.ndarray:
    with urlopen(f"{address}/?{urlencode({'prompt': prompt, 'seed': seed})}") as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())))


@pytest.mark.parametrize(
    "make", [lambda: Locked(small_pipeline(), "fora"), lambda: Pool([small_pipeline(), small_pipeline()], "fora")],
    ids=["lock", "pool"],
)  # fmt: skip
def test_requests_at_the_same_time_get_their_own_pictures(make) -> None:
    alone = Locked(small_pipeline(), "fora")
    wanted = [np.asarray(alone(*request)) for request in REQUESTS]
    assert toca.summary(alone.pipe).full_steps < 6
    with running(make()) as address, ThreadPoolExecutor(6) as clients:
        for made, right in zip(clients.map(lambda request: ask(address, *request), REQUESTS), wanted, strict=True):
            assert np.array_equal(made, right)
        for query in ("/", "/?prompt=x&seed=-1", "/?prompt=x&seed=1e99"):
            with pytest.raises(HTTPError, match="400"):
                urlopen(address + query)
