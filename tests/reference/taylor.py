"""TaylorSeer on DiTTransformer2DModel, step by step, and its forecast of a feature. Notes, section 3.

Nothing is kept but what was computed, and when: every derivative is taken anew, from that, whenever it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .dit import _grid, _output

History = list[tuple[int, Any]]
Basis = Callable[[int, float], float]


def power(i: int, x: float) -> float:
    """x^i."""
    return float(x) ** i


def hermite(i: int, x: float, sigma: float = 0.5) -> float:
    """HiCache: sigma^i H_i(sigma x), the physicists' Hermite polynomials written out."""
    z = sigma * x
    written_out = (1.0, 2 * z, 4 * z**2 - 2, 8 * z**3 - 12 * z, 16 * z**4 - 48 * z**2 + 12)
    return sigma**i * written_out[i]


def full_steps(S: int, N: int, k: int) -> list[bool]:
    """The first k, and then every N-th one after the last of them."""
    return [s < k or (s - (k - 1)) % N == 0 for s in range(S)]


def forecast(history: History, s: int, order: int, spacing: str = "official", basis: Basis = power) -> Any:
    """A feature in step s, from its values in the steps that computed it: (step, value), oldest first. A value is a
    tensor or a tuple of tensors."""
    if isinstance(history[0][1], tuple):
        parts = range(len(history[0][1]))
        return tuple(forecast([(t, v[i]) for t, v in history], s, order, spacing, basis) for i in parts)
    exact = [(t, value.double()) for t, value in history]
    total = _polynomial(exact[-order - 1 :], s) if spacing == "divided" else _series(exact, s, order, basis)
    return total.to(history[-1][1].dtype)


def _series(history: History, s: int, order: int, basis: Basis) -> Tensor:
    """sum over i <= O of f_i x^i / i!, with those f_i that exist."""
    x = s - history[-1][0]
    terms = range(min(order, len(history) - 1) + 1)
    return sum(derivative(history, i) * basis(i, x) / math.factorial(i) for i in terms)


def derivative(history: History, i: int) -> Tensor:
    """f_i after the last step of the history: the change of f_(i-1) since the one before, by the steps between."""
    if i == 0:
        return history[-1][1]
    return (derivative(history, i - 1) - derivative(history[:-1], i - 1)) / (history[-1][0] - history[-2][0])


def _polynomial(history: History, s: int) -> Tensor:
    """What true divided differences amount to: the polynomial through all these points (Lagrange)."""
    total = torch.zeros_like(history[0][1])
    for t, value in history:
        others = [other for other, _ in history if other != t]
        total = total + value * math.prod((s - other) / (t - other) for other in others)
    return total


@torch.no_grad()
def run_taylorseer_dit(
    transformer: nn.Module,
    inputs: list[dict[str, Any]],
    *,
    N: int,
    O: int,  # noqa: E741
    k: int,
    scope: str = "module",
    spacing: str = "official",
    basis: Basis = power,
) -> list[Tensor]:
    """The sample of every call. What is forecast are the modules' outputs before their gates, what each block adds to
    its input (`scope="block"`), or the model's output alone (`"lite"`)."""
    full = full_steps(len(inputs), N, k)
    known: dict[Any, History] = {}
    outputs = []
    for s, call in enumerate(inputs):

        def feature(name: Any, compute: Callable[[], Tensor], s: int = s) -> Tensor:
            if full[s]:
                known.setdefault(name, []).append((s, compute()))
                return known[name][-1][1]
            return forecast(known[name], s, O, spacing, basis)

        outputs.append(_forward(transformer, call, feature, scope))
    return outputs


def _forward(transformer: nn.Module, call: dict[str, Any], feature: Callable, scope: str) -> Tensor:
    """`feature(name, compute)` computes or forecasts; what is out of scope is computed where it is asked for."""
    timestep, labels = call["timestep"], call["class_labels"]

    def within(wanted: str, name: Any, compute: Callable[[], Tensor]) -> Tensor:
        return feature(name, compute) if scope == wanted else compute()

    def added(block: nn.Module, layer: int, x: Tensor) -> Tensor:
        normed, gate_attn, shift, scale, gate_ff = block.norm1(x, timestep, labels, hidden_dtype=x.dtype)
        after = x + gate_attn[:, None] * within("module", (layer, "attn"), lambda: block.attn1(normed))
        normed_ff = block.norm3(after) * (1 + scale[:, None]) + shift[:, None]
        after = after + gate_ff[:, None] * within("module", (layer, "ff"), lambda: block.ff(normed_ff))
        return after - x

    def whole() -> Tensor:
        x = transformer.pos_embed(call["hidden_states"])
        for layer, block in enumerate(transformer.transformer_blocks):
            x = x + within("block", layer, lambda block=block, layer=layer, x=x: added(block, layer, x))
        return _output(transformer, x, timestep, labels, _grid(transformer, call))

    return within("lite", "output", whole)
