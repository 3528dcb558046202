"""Ways to fill, each from all that was computed and when, in numpy; and a model that is filled so, on any family.

A rule is `(history, s) -> value`: the history holds (step, value) of the steps that computed, oldest first. Nothing is
kept but that: whatever a rule needs it works out anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .patching import blocks_of, samples, visited, visited_blocks
from .taylor import derivative, hermite

Array = np.ndarray
History = list[tuple[int, Any]]
Rule = Callable[[History, int], Any]


def reuse(history: History, s: int) -> Array:
    """The last value."""
    return history[-1][1]


def line(history: History, s: int) -> Array:
    """The straight line through the last two values; the last one where there is no other."""
    if len(history) == 1:
        return history[-1][1]
    (before, older), (last, newer) = history[-2:]
    return newer + (newer - older) * (s - last) / (last - before)


def fitted(rows: Sequence[Sequence[float]]) -> Rule:
    """Weights of the last values, newest first, for each step; the newest value stands in for those that lack."""

    def rule(history: History, s: int) -> Array:
        values = [value for _, value in reversed(history)]
        return sum(w * (values[i] if i < len(values) else values[0]) for i, w in enumerate(rows[s]))

    return rule


def hermite_series(order: int, sigma: float) -> Rule:
    """HiCache's series, as far as its differences exist."""

    def rule(history: History, s: int) -> Array:
        x = s - history[-1][0]
        terms = range(min(order, len(history) - 1) + 1)
        return sum(derivative(history, i) * hermite(i, x, sigma) / math.factorial(i) for i in terms)

    return rule


def polynomial(order: int, places: Sequence[float]) -> Rule:
    """The polynomial through the last values over the places of their steps, by Neville's scheme: from those of fewer
    points those of one more."""

    def rule(history: History, s: int) -> Array:
        last, x = history[-order - 1 :], places[s]
        at, row = [places[t] for t, _ in last], [value for _, value in last]
        for m in range(1, len(last)):
            row = [
                ((x - at[i + m]) * row[i] + (at[i] - x) * row[i + 1]) / (at[i] - at[i + m])
                for i in range(len(row) - 1)
            ]
        return row[0]

    return rule


def chebyshev(S: int, degree: int, ridge: float) -> Rule:
    """Ridge regression through every computed value, kept whole: the least squares of the values with one row more for
    each coefficient, which is to be 0, of weight sqrt(ridge)."""

    def basis(s: int) -> Array:
        angle = math.acos(2 * s / S - 1)
        return np.array([math.cos(n * angle) for n in range(degree + 1)])

    def rule(history: History, s: int) -> Array:
        values = np.stack([value.reshape(-1) for _, value in history])
        design = np.vstack([*(basis(t) for t, _ in history), math.sqrt(ridge) * np.eye(degree + 1)])
        wanted = np.vstack([values, np.zeros((degree + 1, values.shape[1]))])
        coefficients = np.linalg.lstsq(design, wanted, rcond=None)[0]
        return (basis(s) @ coefficients).reshape(history[-1][1].shape)

    return rule


def blend(one: Rule, other: Rule, w: float) -> Rule:
    """The weighted mean of two rules."""
    return lambda history, s: w * one(history, s) + (1 - w) * other(history, s)


def foca(history: History, s: int) -> Array:
    """FoCa as cache-dit 1.5.3 has it, from the first step on; filled values go through the window too."""
    computed = dict(history)
    window: list[Array] = []
    anchors: list[tuple[int, Array]] = []
    for t in range(history[0][0], s + 1):
        if t in computed:
            anchors.append((t, computed[t]))
            value = computed[t]
        elif len(anchors) < 2:
            value = anchors[-1][1]
        else:
            (_, before), (last, anchor) = anchors[-2:]
            both = (anchor - before) + (window[-1] - window[-2])
            ahead = anchor + min(t - last, 3) / 2 * both
            far = max(1.0, (t - last) / 3)
            value = ahead / far + (1 - 1 / far) * anchor
        window.append(value)
    return window[-1]


def dmd(window: int, samples: int = 2, least: int = 4) -> Rule:
    """Dynamic mode decomposition by the singular value decomposition of the snapshots of each sample, whose rows stand
    side by side; a line where fewer than `least` are equally far apart."""

    def rule(history: History, s: int) -> Array:
        steps = [t for t, _ in history[-window:]]
        tail = 1
        while tail < len(steps) and steps[-tail] - steps[-tail - 1] == steps[-1] - steps[-2]:
            tail += 1
        if tail < least:
            return line(history, s)
        k = (s - steps[-1]) / (steps[-1] - steps[-2])
        values = np.stack([value.reshape(samples, -1) for _, value in history[-tail:]], axis=-1)
        return np.stack([_advanced(sample, k) for sample in values]).reshape(history[-1][1].shape)

    return rule


def _advanced(y: Array, k: float) -> Array:
    """Snapshots in columns, oldest first, k spacings on."""
    X, X_next = y[:, :-1].astype(complex), y[:, 1:].astype(complex)
    U, S, Vh = np.linalg.svd(X, full_matrices=False)
    r = int((S > 1e-4 * S[0]).sum())
    U, S, V = U[:, :r], S[:r], Vh[:r].conj().T
    eigenvalues, W = np.linalg.eig(U.conj().T @ X_next @ V / S)
    modes = X_next @ V / S @ W
    amounts = np.linalg.pinv(modes) @ y[:, -1]
    return (modes @ (eigenvalues**k * amounts)).real


def solver_pool(clusters: int, samples: int = 2) -> Rule:
    """HyCa as toca reads it, sample by sample, cluster by cluster and solver by solver."""

    def rule(history: History, s: int) -> Array:
        if len(history) < 5:
            return line(history, s)
        shape, pixels = history[-1][1].shape, history[-1][1].ndim > 3
        course = []
        for t, value in history[-5:]:
            last = np.moveaxis(value, 1, -1) if pixels else value
            course.append((t, last.reshape(samples, -1, last.shape[-1])))
        filled = np.stack([_by_cluster([(t, value[b]) for t, value in course], s, clusters) for b in range(samples)])
        if pixels:
            return np.moveaxis(filled.reshape(shape[0], *shape[2:], shape[1]), -1, 1)
        return filled.reshape(shape)

    return rule


def _by_cluster(course: History, s: int, clusters: int) -> Array:
    """One sample's (numbers, channels)."""
    values = np.stack([value for _, value in course])
    labels = _clustered(_descriptors(values), min(clusters, values.shape[-1]))
    forecast = np.zeros_like(values[-1])
    for k in set(labels.tolist()):
        mine = labels == k
        known = [(t, value[:, mine]) for t, value in course]
        errors = [((solver(known[:-1], known[-1][0]) - known[-1][1]) ** 2).sum() for solver in SOLVERS]
        forecast[:, mine] = SOLVERS[int(np.argmin(errors))](known, s)
    return forecast


def _slopes(course: History) -> list[Array]:
    """Latest first."""
    return [(b - a) / (t - r) for (r, a), (t, b) in zip(course[-2::-1], course[:0:-1], strict=True)]


def _taylor(order: int) -> Rule:
    def solver(course: History, s: int) -> Array:
        (f0, f1, *_), x = _slopes(course), s - course[-1][0]
        second = (f0 - f1) / (course[-1][0] - course[-2][0])
        return course[-1][1] + (x * f0 if order else 0) + (x * x / 2 * second if order > 1 else 0)

    return solver


def _multistep(*parts: float) -> Rule:
    def solver(course: History, s: int) -> Array:
        x = s - course[-1][0]
        return course[-1][1] + x * sum(part * slope for part, slope in zip(parts, _slopes(course), strict=False))

    return solver


def _midpoint(course: History, s: int) -> Array:
    """Slopes are those of the middles of the gaps; the slope of the middle ahead is on the line through them."""
    (f0, f1, *_), (r, t, u) = _slopes(course), [t for t, _ in course[-3:]]
    slope = f0 + (f0 - f1) * ((s + u) / 2 - (t + u) / 2) / ((t + u) / 2 - (r + t) / 2)
    return course[-1][1] + (s - u) * slope


SOLVERS: list[Rule] = [
    *(_taylor(order) for order in range(3)),
    _multistep(3 / 2, -1 / 2),
    _multistep(5 / 3, -2 / 3),
    _multistep(2, -3 / 2, 1 / 2),
    _midpoint,
]


def _descriptors(values: Array) -> Array:
    """(values, numbers, channels) -> (channels, 6)."""
    rows = []
    for c in range(values.shape[-1]):
        course = values[:, :, c]
        norms = [math.sqrt((np.diff(course, n, axis=0)[-1] ** 2).mean()) for n in range(4)]
        power = (np.abs(np.fft.fft(course, axis=0)[1 : len(course) // 2 + 1]) ** 2).mean(axis=1)
        flatness = math.exp(np.log(power).mean()) / power.mean()
        rows.append([norms[1], norms[2], norms[0], norms[3] / norms[1], norms[2] / norms[1], flatness])
    each = np.log(np.array(rows))
    return (each - each.mean(axis=0)) / each.std(axis=0)


def _clustered(points: Array, clusters: int) -> Array:
    """Lloyd's algorithm from evenly spaced points, ten times over."""
    centres = points[[k * len(points) // clusters for k in range(clusters)]]

    def nearest() -> Array:
        return ((points[:, None] - centres[None]) ** 2).sum(axis=-1).argmin(axis=1)

    for _ in range(10):
        labels = nearest()
        centres = np.stack(
            [points[labels == k].mean(axis=0) if (labels == k).any() else centres[k] for k in range(clusters)]
        )
    return nearest()


def low_band(value: Array, cutoff: float, axis: int = 1) -> Array:
    """The part of low frequencies along an axis, by numpy's complex Fourier transform."""
    tokens = value.shape[axis]
    waves = np.abs(np.rint(np.fft.fftfreq(tokens) * tokens))
    passes = waves <= cutoff * (tokens // 2)
    shape = [-1 if i == axis else 1 for i in range(value.ndim)]
    return np.fft.ifft(np.fft.fft(value, axis=axis) * passes.reshape(shape), axis=axis).real


def bands(low: Rule, high: Rule, cutoff: float) -> Rule:
    """One rule for the low band and another for the rest. A model's output (B, channels, ..., rows, columns) has its
    pixels for tokens, row by row."""

    def rule(history: History, s: int) -> Array:
        if history[0][1].ndim > 3:
            shape = history[0][1].shape
            flat = [(t, value.reshape(-1, shape[-2] * shape[-1], 1)) for t, value in history]
            return rule(flat, s).reshape(shape)
        lows = [(t, low_band(value, cutoff)) for t, value in history]
        highs = [(t, value - low_band(value, cutoff)) for t, value in history]
        return low(lows, s) + high(highs, s)

    return rule


def cosines(n: int) -> Array:
    """The orthonormal DCT-II as a matrix: a row for each frequency."""
    rows = [[math.cos(math.pi * (2 * i + 1) * u / (2 * n)) for i in range(n)] for u in range(n)]
    return np.array(rows) * np.array([math.sqrt((1 if u == 0 else 2) / n) for u in range(n)])[:, None]


def low_cosines(value: Array, cutoff: float, grid: tuple[int, int]) -> Array:
    """The part of low frequencies over grids of tokens (rows, grids x tokens, C); tokens that are no grids are one of
    a single column. A model's output (B, channels, ..., rows, columns) is a grid of pixels."""
    if value.ndim > 3:
        pixels = value.reshape(-1, *value.shape[-2:], 1)
        return low_cosines(pixels.reshape(len(pixels), -1, 1), cutoff, value.shape[-2:]).reshape(value.shape)
    if value.shape[1] % math.prod(grid):
        grid = (value.shape[1], 1)
    height, width = grid
    down, across = cosines(height), cosines(width)
    waves = np.array([[math.hypot(u / height, v / width) for v in range(width)] for u in range(height)])
    passes = waves <= cutoff * waves.max() + 1e-9
    frames = value.reshape(-1, height, width, value.shape[-1])
    spectrum = np.einsum("uh,vw,bhwc->buvc", down, across, frames) * passes[:, :, None]
    return np.einsum("uh,vw,buvc->bhwc", down, across, spectrum).reshape(value.shape)


def bands_of_grids(low: Rule, high: Rule, cutoff: float, grid: tuple[int, int]) -> Rule:
    """One rule for the low cosines of a grid and another for the rest."""

    def rule(history: History, s: int) -> Array:
        lows = [(t, low_cosines(value, cutoff, grid)) for t, value in history]
        rests = [(t, value - lows[i][1]) for i, (t, value) in enumerate(history)]
        return low(lows, s) + high(rests, s)

    return rule


def segments(rules: Sequence[Rule], labels: Sequence[int]) -> Rule:
    """In each step the rule that it names."""
    return lambda history, s: rules[labels[s]](history, s)


def mean_velocity(
    velocity: Callable[[int, Array], Array], start: Array, sigmas: Sequence[float], full: Sequence[bool], K: int
) -> list[Array]:
    """MeanCache over a whole generation by Euler's rule: the model's output of every step, filled ones too.

    `velocity(s, x)` runs the model; sigmas has one more than there are steps, 0.
    """
    outputs: list[Array] = []
    before = [start]
    for s in range(len(full)):
        x = before[s]
        if full[s]:
            v = velocity(s, x)
        else:
            r = s - min(K, s)
            mean = (x - before[r]) / (sigmas[s] - sigmas[r])
            slope = (outputs[r] - mean) / (sigmas[s] - sigmas[r])
            v = outputs[s - 1] - slope * (sigmas[s + 1] - sigmas[s])
        outputs.append(v)
        before.append(x + (sigmas[s + 1] - sigmas[s]) * v)
    return outputs


# --- a model that is filled ----------------------------------------------------------------------------------------


def filled(history: History, s: int, rule: Rule) -> Any:
    """A rule for tensors, or tuples of them, in double precision."""
    if isinstance(history[0][1], tuple):
        parts = range(len(history[0][1]))
        return tuple(filled([(t, value[i]) for t, value in history], s, rule) for i in parts)
    value = rule([(t, value.double().numpy()) for t, value in history], s)
    return torch.from_numpy(np.ascontiguousarray(value)).to(history[-1][1].dtype)


def run_filled(
    transformer: nn.Module, inputs: list[dict[str, Any]], full: Sequence[bool], rule: Rule, scope: str
) -> list[Tensor]:
    """The sample of every call. What is filled in steps that are not full are the modules' outputs (`"module"`), what
    each block adds to its input (`"block"`), what leaves the last block (`"last"`), or the model's output
    (`"output"`)."""
    known: dict[Any, History] = {}
    now = {"step": 0}

    def feature(name: Any, compute: Callable[[], Any]) -> Any:
        if full[now["step"]]:
            known.setdefault(name, []).append((now["step"], compute()))
            return known[name][-1][1]
        return filled(known[name], now["step"], rule)

    def visit_block(layer: int, streams: tuple[Tensor, ...], compute: Callable) -> tuple[Tensor, ...]:
        if scope == "last":
            last = layer == len(blocks_of(transformer)) - 1
            return feature("last", compute) if last else compute()
        added = feature(layer, lambda: tuple(a - b for a, b in zip(compute(), streams, strict=True)))
        return tuple(a + b for a, b in zip(streams, added, strict=True))

    def run() -> list[Tensor]:
        return samples(transformer, inputs, lambda step: now.update(step=step))

    if scope == "module":
        with visited(transformer, lambda layer, kind, compute: feature((layer, kind), compute)):
            return run()
    if scope == "output":
        computed = run()
        history: History = []
        outputs = []
        for s, output in enumerate(computed):
            history += [(s, output)] if full[s] else []
            outputs.append(output if full[s] else filled(history, s, rule))
        return outputs
    with visited_blocks(transformer, visit_block):
        return run()
