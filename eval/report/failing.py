"""Variants without figures: those that failed, and peers that do not go with the pipeline at all."""

from __future__ import annotations

from collections.abc import Sequence

from toca.eval.peers import PREFIX, PeerRefusal
from toca.eval.variants import Failure


def refused_peers(failures: Sequence[Failure]) -> dict[str, str]:
    """The peers that say that they cannot work on this pipeline, each once, with the reason."""
    return {_peer(each): each.reason.partition(": ")[2] for each in failures if _refused(each)}


def failed(failures: Sequence[Failure]) -> list[Failure]:
    """The others: something went wrong."""
    return [each for each in failures if not _refused(each)]


def _refused(failure: Failure) -> bool:
    return failure.variant.startswith(PREFIX) and failure.reason.startswith(f"{PeerRefusal.__name__}: ")


def _peer(failure: Failure) -> str:
    return failure.variant.partition(" ")[0]
