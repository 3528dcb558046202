"""Dynamic mode decomposition of a few snapshots, from their products alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

LEAST_SINGULAR = 1e-4
"""Singular values below this part of the largest are noise."""


def products(snapshots: Sequence[torch.Tensor], samples: int) -> torch.Tensor:
    """The products of all pairs of snapshots, (samples, n, n), float64.

    Args:
        snapshots (`Sequence[torch.Tensor]`): n of one shape, whose first dimension holds the rows of a sample side by
            side.
        samples (`int`): How many there are.
    """
    each = torch.stack([snapshot.reshape(samples, -1).double() for snapshot in snapshots], dim=1)
    return torch.stack([(each * other[:, None]).sum(dim=-1) for other in each.unbind(1)], dim=1)


@torch.library.custom_op("toca::dmd_weights", mutates_args=(), schema="(Tensor products, Tensor numbers) -> Tensor")
def dmd_weights(products: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The weights of snapshots in what dynamic modes forecast.

    With the snapshots y_0 to y_(m-1), X those but the last and X' those but the first, `X = U S V^H`, singular values
    that are noise left out: `U^H X' V S^-1 = W L W^-1`, the modes `Phi = X' V S^-1 W`, their amounts
    `b = Phi^+ y_(m-1)`, and k spacings on the forecast is `Re Phi L^k b`. As all of it lies in the span of X', the
    products say with which weights. It is an operator of its own, for `torch.compile` looks into none, and waits for
    the device: eigenvalues of a matrix that is not symmetric are found on the CPU.

    Args:
        products (`torch.Tensor`): (samples, n, n), float64: of the snapshots, the newest first.
        numbers (`torch.Tensor`): (2,): k, and m, how many of the snapshots count.

    Returns:
        `torch.Tensor`: (samples, n), float32; the newest alone where a sample has no such modes.
    """
    ahead, snapshots = numbers.tolist()
    rows = [_weights(gram, ahead, int(snapshots)) for gram in products.cpu().numpy()]
    return torch.from_numpy(np.stack(rows)).to(products.device, torch.float32)


@dmd_weights.register_fake
def _(products: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    return products.new_empty(products.shape[:2], dtype=torch.float32)


def _weights(gram: np.ndarray, ahead: float, snapshots: int) -> np.ndarray:
    weights = np.zeros(len(gram))
    weights[0] = 1.0
    later, sooner = slice(0, snapshots - 1), slice(1, snapshots)
    if snapshots < 2 or not np.isfinite(gram[:snapshots, :snapshots]).all() or gram[1, 1] <= 0:
        return weights
    try:
        squares, right = np.linalg.eigh(gram[sooner, sooner])
        known = squares > LEAST_SINGULAR**2 * squares[-1]
        basis = right[:, known] / np.sqrt(squares[known])
        values, vectors = np.linalg.eig(basis.T @ gram[sooner, later] @ basis)
        modes = basis.astype(complex) @ vectors
        amounts = np.linalg.lstsq(
            modes.conj().T @ gram[later, later] @ modes, modes.conj().T @ gram[later, 0], rcond=None
        )[0]
        forecast = (modes @ (values.astype(complex) ** ahead * amounts)).real
    except np.linalg.LinAlgError:
        return weights
    if np.isfinite(forecast).all():
        weights[:] = 0.0
        weights[later] = forecast
    return weights
