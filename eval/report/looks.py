"""One look for each method, in every plot: colour and marker follow from its name, and from nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from toca.eval.peers import PREFIX

COLOURS = "#0072b2 #d55e00 #00875f #bc5090 #b97700 #332288 #3a97d0 #882255 #7a7a1f".split()
"""After Okabe and Ito, and Tol: told apart with any colour vision; dark enough for thin lines on white."""
MARKERS = "os^DvPX*"

# By their place: whoever is new comes to the end, or all that follow change their looks.
METHODS = (
    "tuned", "toca", "fora", "taylorseer", "dmd", "teacache", "easycache", "smoothcache", "magcache", "random",
    "coast", "learned", "seacache", "spectrum", "adacache", "fbcache", "dbcache", "pab", "duca", "clusca", "ras",
    "tgate", "delta-dit", "blockdance", "deepcache", "fastercache", "lemica", "meancache", "budcache", "scm",
    "asyncdiff", "hicache", "scalingcache", "freqca", "foca", "hyca", "dicache", "rfc", "speca", "composed", "none",
    "peer:diffusers-fbcache", "peer:diffusers-taylorseer", "peer:diffusers-pab", "peer:diffusers-magcache",
    "peer:diffusers-seacache", "peer:cache-dit-dbcache", "peer:cache-dit-dbcache-taylorseer",
    "peer:cache-dit-dbcache-dmd", "peer:cache-dit-dbcache-foca", "peer:cache-dit-scm",
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """A colour, a marker, and whether it is hollow, as those of peers are."""

    colour: str
    marker: str
    hollow: bool


def look_of(group: str) -> Look:
    """The look of a method's line.

    Args:
        group (`str`): A method, one of its presets, a peer, or a label of a user's, which takes one of the looks that
            no method has.
    """
    name = group.partition("/")[0]
    looks = len(COLOURS) * len(MARKERS)
    if name in METHODS:
        place = METHODS.index(name)
    else:
        place = len(METHODS) + int(hashlib.sha256(group.encode()).hexdigest(), 16) % (looks - len(METHODS))
    # 9 and 8 have no divisor in common: no two places below 72 share both.
    return Look(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], group.startswith(PREFIX))
