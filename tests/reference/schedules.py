"""When a step is full, and what share of the tokens a ToCa step recomputes.

Source: ToCa (arXiv 2410.05317) and FORA (arXiv 2407.01425), as in sections 1 and 4 of the method notes. `S` steps,
`s` the step index in the direction the model's own code counts, `l` of `L` layers, `N` the nominal interval.
Every list is in the order of sampling.
"""

from __future__ import annotations

import math


def full_steps_dit(S: int, N: int) -> list[bool]:
    """Counting down from S - 1. Full at s = S - 1 and whenever s mod tau = 0; each full step sets tau anew."""
    if N == 1:
        return [True] * S
    full, tau = [], 1
    for s in range(S - 1, -1, -1):
        full.append(s == S - 1 or s % tau == 0)
        if full[-1]:
            tau = _tau_dit(s, S, N)
    return full


def _tau_dit(s: int, S: int, N: int) -> int:
    in_window = math.floor(0.2 * S) <= s < math.floor(0.4 * S)
    return 2 if in_window else round(N / (1.4 - 0.8 * s / S))


def full_steps_spectrum(S: int, warmup: int, window: float, growth: float) -> list[bool]:
    """The first ones, and then by a window that grows: with `run` steps filled in a row, full if run + 1 is a multiple
    of its whole part."""
    full: list[bool] = []
    for s in range(S):
        run = 0
        while run < s and not full[s - 1 - run]:
            run += 1
        full.append(s < warmup or (run + 1) % math.floor(window) == 0)
        window += growth if full[s] and s >= warmup else 0
    return full


def full_steps_pixart(S: int, N: int) -> list[bool]:
    """Counting up from 0. Full whenever s mod tau = 0; each full step sets tau anew; no window."""
    if N == 1:
        return [True] * S
    full, tau = [], 1
    for s in range(S):
        full.append(s % tau == 0)
        if full[-1]:
            tau = round(N / (0.8 + 0.4 * s / S))
    return full


def full_steps_flux(S: int, N: int) -> list[bool]:
    """Counting up. The first three steps are full, then every N-th one after the last of them."""
    return [s < 3 or (s - 2) % N == 0 for s in range(S)]


def full_steps_fora(S: int, N: int, counts_down: bool = True) -> list[bool]:
    """Counting down, as on DiT: full at s = S - 1 and at every multiple of N. Counting up, as the other models do
    (notes, section 8, 2): full at every multiple of N, of which the first step is one."""
    if not counts_down:
        return [s % N == 0 for s in range(S)]
    return [s == S - 1 or s % N == 0 for s in range(S - 1, -1, -1)]


def steps_string(full: list[bool], other: str) -> str:
    """One letter a step: F for full, `other` for the rest."""
    return "".join("F" if is_full else other for is_full in full)


def ratio_dit50(R0: float, s: int, S: int, l: int, L: int) -> float:  # noqa: E741
    """DiT's feed-forward, ddim50 preset (s counts down)."""
    return _clamp(R0 * (3 - 4 * s / S) * (0.8 + 0.4 * _depth(l, L)) * 2.5)


def ratio_dit250(R0: float, s: int, S: int, l: int, L: int) -> float:  # noqa: E741
    """DiT's feed-forward, ddpm250 preset (s counts down)."""
    return _clamp(R0 * (1.4 - 0.8 * s / S) * (1.8 - 1.6 * _depth(l, L)) * 2.5)


def ratio_pixart(R0: float, s: int, S: int, l: int, L: int, module: str) -> float:  # noqa: E741
    """PixArt's cross-attention ("cross") and feed-forward ("ff"); s counts up."""
    factor = {"cross": 0.6, "ff": 1.6}[module]
    return _clamp(R0 * (1.9 - 1.8 * s / S) * (1.6 - 1.2 * _depth(l, L)) * factor)


def ratio_flux(R0: float, l: int, kind: str) -> float:  # noqa: E741
    """FLUX's "dual" feed-forwards and "single" blocks; l counts within its own stream."""
    factor = {"dual": 0.4, "single": 1.6}[kind]
    return _clamp(R0 * (1.5 - l / 27) * factor)


def _depth(l: int, L: int) -> float:  # noqa: E741
    return l / (L - 1) if L > 1 else 0.0


def _clamp(ratio: float) -> float:
    return min(max(ratio, 0.0), 1.0)
