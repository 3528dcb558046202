"""What both servers share: HTTP in, PNG out, a thread a request."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from PIL import Image

Painter = Callable[[str, int], Image.Image]
"""From a prompt and a seed to a picture; called by many threads."""


def server(paint: Painter, port: int) -> ThreadingHTTPServer:
    """A server of `GET /?prompt=TEXT&seed=NUMBER` on this machine only; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            seed = query.get("seed", ["0"])[0]
            if "prompt" not in query or not (seed.isascii() and seed.isdigit() and len(seed) < 10):
                self.send_error(400, "Ask for /?prompt=TEXT&seed=NUMBER")
                return
            data = io.BytesIO()
            paint(query["prompt"][0], int(seed)).save(data, format="png")
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            self.wfile.write(data.getvalue())

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def arguments() -> argparse.Namespace:
    """`--model`, `--port`, and `--pipelines` for a pool."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--pipelines", type=int, default=2)
    return parser.parse_args()
