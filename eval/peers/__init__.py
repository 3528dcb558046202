"""Caches of other libraries as methods on the same pipeline, measured like ours.

A peer is a frozen dataclass of settings with the defaults that its library publishes. `peer.on(pipe, steps)` puts it
on a stock pipeline for the length of a `with` block, counts what really ran, and leaves the pipeline as it was. Where
a peer cannot work it raises `PeerRefusal` with its reason: it never runs uncached in silence.
"""

from toca.eval.peers.peer import Peer, PeerRefusal
from toca.eval.peers.registry import PREFIX, find_peer, peers
from toca.eval.peers.session import Session, Work

__all__ = ["PREFIX", "Peer", "PeerRefusal", "Session", "Work", "find_peer", "peers"]
