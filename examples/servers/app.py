"""Settings for each request: FastAPI, and a pool of pipelines, of which a request has one to itself."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import torch
from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel, Field, field_validator

import toca
from examples.servers.pool import Pool
from examples.servers.web import arguments
from toca.pipelines import load

METHODS = sorted({*toca.methods(), *toca.presets()})
"""What a request may name. Whoever could name anything could name a folder of this machine, or a repository."""


class Wish(BaseModel):
    """What a request asks for: a picture, and how it is made."""

    prompt: str = Field(min_length=1, max_length=300)
    seed: int = Field(0, ge=0, lt=2**31)
    steps: int = Field(20, ge=1, le=50)
    method: str | None = None
    speedup: float | None = Field(None, ge=1, le=10)

    @field_validator("method")
    @classmethod
    def is_known(cls, method: str | None) -> str | None:
        if method is not None and method not in METHODS:
            raise ValueError("GET /methods lists the names that there are")
        return method


def app(pipes: Iterable[Any]) -> FastAPI:
    """The application. What is no `async def` FastAPI runs in threads, so that a picture blocks no other request."""
    web, pool = FastAPI(title="toca"), Pool(pipes)

    @web.get("/methods")
    def methods() -> list[str]:
        return METHODS

    @web.post("/pictures", response_class=Response)
    def picture(wish: Wish) -> Response:
        generator = torch.Generator().manual_seed(wish.seed)
        # A request waits here for a pipeline, and nobody else's settings are on while it has it.
        with pool.taken() as pipe:
            try:
                with toca.cached(pipe, wish.method, speedup=wish.speedup):
                    image = pipe(wish.prompt, num_inference_steps=wish.steps, generator=generator).images[0]
                    steps = toca.summary(pipe).steps
            except ValueError as error:  # such as a preset for another model, or a speed-up that no plan reaches
                raise HTTPException(422, str(error)) from error
        data = io.BytesIO()
        image.save(data, format="png")
        return Response(data.getvalue(), media_type="image/png", headers={"X-Steps": steps})

    return web


if __name__ == "__main__":
    import uvicorn

    options = arguments()
    pipelines = (load(options.model) for _ in range(options.pipelines))
    uvicorn.run(app(pipelines), host="127.0.0.1", port=options.port)
