"""What fills must have in common to be mixed: each reads the same terms."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Fill


def check_mixable(name: str, fills: Sequence[Fill]) -> None:
    """Refuse fills of which one would not find in the terms what it keeps. Raises `ValueError`."""
    told = {fill.stores for fill in fills if fill.kept}
    if len(told) > 1:
        names = " and ".join(fill.name for fill in fills if fill.kept)
        raise ValueError(f"The fills of {name!r} must keep the same terms, and those of {names} differ.")
    if len({fill.reads_latents for fill in fills}) > 1:
        raise ValueError(f"Of the fills of {name!r} all must read the latents, or none.")


def padded(weights: Sequence[float], length: int) -> list[float]:
    """Weights for terms of which the last ones do not count."""
    return [*weights, *[0.0] * (length - len(weights))]
