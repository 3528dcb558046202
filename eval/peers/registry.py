"""The peers by name."""

from __future__ import annotations

from toca.checks import nearest, shown
from toca.eval.peers.from_cache_dit import DBCache, DBCacheDMD, DBCacheFoCa, DBCacheSCM, DBCacheTaylorSeer
from toca.eval.peers.from_diffusers import (
    DiffusersFirstBlockCache,
    DiffusersMagCache,
    DiffusersPAB,
    DiffusersSeaCache,
    DiffusersTaylorSeer,
)
from toca.eval.peers.peer import Peer

PREFIX = "peer:"
"""How the name of a peer begins, in line-ups and on the command line."""

_ALL: tuple[type[Peer], ...] = (
    DiffusersFirstBlockCache,
    DiffusersTaylorSeer,
    DiffusersPAB,
    DiffusersMagCache,
    DiffusersSeaCache,
    DBCache,
    DBCacheTaylorSeer,
    DBCacheDMD,
    DBCacheFoCa,
    DBCacheSCM,
)


def peers() -> dict[str, type[Peer]]:
    """The classes of all peers by name, installed or not."""
    return {cls.name: cls for cls in _ALL}


def find_peer(name: str) -> Peer:
    """A peer with the settings that its library publishes.

    Raises:
        ValueError: If there is none of this name; it names those that come near, else all.
    """
    if name not in peers():
        raise ValueError(f"Unknown peer {shown(name)}: name one of {', '.join(nearest(name, peers()) or peers())}.")
    return peers()[name]()
