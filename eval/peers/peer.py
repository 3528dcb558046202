"""What a peer is: settings, a name, and a way onto a stock pipeline and off it again."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from toca.api import cache_on
from toca.eval.peers.denoisers import transformers_of
from toca.eval.peers.meter import Meter
from toca.eval.peers.session import Session
from toca.eval.peers.unchanged import unchanged
from toca.registry import Registered, to_data


class PeerRefusal(ValueError):
    """A peer cannot work on this pipeline; the message says why, in one sentence."""


class Peer(Registered, ABC):
    """A cache of another library. A subclass is a frozen dataclass of its settings."""

    kind: ClassVar[str] = "method"
    """It is recorded as our methods are."""
    name: ClassVar[str]
    """What it is called in a line-up: `peer:` and the library's name for it."""
    title: ClassVar[str]
    """Library and method, for messages."""
    package: ClassVar[str]
    """The distribution that it comes in."""

    @classmethod
    def available(cls) -> str | None:
        """The version of its package; `None` where that is not installed or lacks this cache."""
        try:
            return version(cls.package)
        except PackageNotFoundError:
            return None

    def recorded(self) -> dict[str, Any]:
        """Name, settings and version as plain data: what results depend on."""
        return {**to_data(self), "package": f"{self.package} {self.available()}"}

    def for_model(self, model: str) -> Peer:
        """The same, with what lies beside a model's weights for it; `model` is a name, a folder or a hub id."""
        return self

    @contextlib.contextmanager
    def on(self, pipe: Any, num_inference_steps: int) -> Iterator[Session]:
        """Put it on a pipeline for the length of a `with` block.

        Args:
            pipe: A stock diffusers pipeline with one or two transformers.
            num_inference_steps (`int`): Steps of the generations that follow.

        Yields:
            `Session`: `summary()` says what it did.

        Raises:
            ImportError: If its package is not installed; it says what to install.
            PeerRefusal: If it cannot work on this pipeline. The pipeline is what it was then.
        """
        if self.available() is None:
            raise ImportError(f"{self.title} is not installed: run `pip install -U {self.package}`.")
        _check_free(pipe)
        with contextlib.ExitStack() as counted:
            counted.enter_context(unchanged(pipe))
            meters = [counted.enter_context(Meter(transformer)) for transformer in transformers_of(pipe)]
            peer = counted.enter_context(contextlib.ExitStack())
            peer.enter_context(unchanged(pipe))
            held = peer.enter_context(self.enabled(pipe, num_inference_steps))
            yield Session(meters, held, peer.close)

    @abstractmethod
    def enabled(self, pipe: Any, num_inference_steps: int) -> contextlib.AbstractContextManager[Callable[[], int]]:
        """The library's own way on and off, as a context manager.

        What it leaves behind on modules and classes is put back by `on`; on the pipeline object it cleans up itself.

        Yields:
            `Callable`: Tells the bytes that the cache held late in the last generation.

        Raises:
            PeerRefusal: If the library cannot work on this pipeline.
        """


def _check_free(pipe: Any) -> None:
    transformers = transformers_of(pipe)
    if not transformers:
        raise PeerRefusal(f"{type(pipe).__name__} has no transformer, so there is nothing to cache.")
    if any(cache_on(part) is not None for part in transformers):
        raise PeerRefusal(f"Another cache is already on this {type(pipe).__name__}: take it off first.")
