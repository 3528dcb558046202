"""The servers of examples/servers: many requests at once, each with its own picture."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
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
        def __call__(self, prompt, num_inference_steps=6, **arguments):
            arguments |= {"num_inference_steps": num_inference_steps, "max_sequence_length": TEXT_TOKENS}
            return plain(self, prompt, **arguments)

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


# --- settings for each request, by FastAPI -------------------------------------------------------------------------

WISHES = [
    {"prompt": "a red owl", "method": "fora"},
    {"prompt": "a red owl", "method": "none"},
    {"prompt": "the big moon", "method": "taylorseer/flux", "seed": 1},
    {"prompt": "the big moon", "seed": 1},
    {"prompt": "a wire", "method": "fora", "steps": 4, "seed": 2},
]


@contextmanager
def serving(web: Any) -> Iterator[str]:
    """A FastAPI application, over real sockets."""
    uvicorn = pytest.importorskip("uvicorn")
    served = uvicorn.Server(uvicorn.Config(web, port=0, log_level="error"))
    thread = threading.Thread(target=served.run)
    thread.start()
    try:
        while not served.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{served.servers[0].sockets[0].getsockname()[1]}"
    finally:
        served.should_exit = True
        thread.join()


def wish(address: str, **said: Any) -> tuple[np.ndarray, str]:
    request = Request(f"{address}/pictures", json.dumps(said).encode(), {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read()))), answer.headers["X-Steps"]


@pytest.mark.parametrize("pipelines", [1, 2])
def test_each_request_has_its_own_settings(pipelines: int) -> None:
    pytest.importorskip("fastapi")
    from examples.servers.app import app

    alone, wanted = small_pipeline(), []
    for said in WISHES:
        with toca.cached(alone, said.get("method")):
            seed = torch.Generator().manual_seed(said.get("seed", 0))
            image = alone(said["prompt"], num_inference_steps=said.get("steps", 6), generator=seed).images[0]
            wanted.append((np.asarray(image), toca.summary(alone).steps))
    assert len({steps for _, steps in wanted}) > 3
    pipes = [small_pipeline() for _ in range(pipelines)]
    with serving(app(pipes)) as address, ThreadPoolExecutor(6) as clients:
        made = clients.map(lambda said: wish(address, **{"steps": 6, **said}), WISHES)
        for (picture, steps), (right, its_steps) in zip(made, wanted, strict=True):
            assert np.array_equal(picture, right) and steps == its_steps
        for said, why in (
            ({"method": "someone/something"}, "GET /methods"),
            ({"method": "../../etc"}, "GET /methods"),
            ({"speedup": 2}, "toca.tune"),
            ({"steps": 0}, "greater than or equal"),
        ):
            with pytest.raises(HTTPError, match="422") as refused:
                wish(address, prompt="a red owl", **said)
            assert why in refused.value.read().decode()
        with urlopen(f"{address}/methods") as answer:
            assert {"fora", "toca/flux"} <= set(json.load(answer))
    with pytest.raises(ValueError, match="No toca cache is on"):
        toca.summary(pipes[0])
