"""The Inception of FID, by torch-fidelity: the network, the weights and the resizing of the published figures."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toca.eval.metrics.errors import brief
from toca.eval.metrics.optional import FROM_CHECKOUT, needed
from toca.eval.metrics.pictures import check_pictures
from toca.eval.metrics.tags import ExtractorTag, file_digest

MODULE = "torch_fidelity.feature_extractor_inceptionv3"
FEATURES = 2048
RESIZE = "bilinear as in TensorFlow 1 to 299 x 299, on float"


class Inception:
    """InceptionV3 of 2015-12-05 as ported by torch-fidelity: its 2048 pooled features.

    Args:
        weights (`Path`, *optional*): A state dict in torch-fidelity's layout. Without it torch-fidelity downloads its
            own file once, into torch's hub folder.
        device (`torch.device`): Where to compute.

    Raises:
        ImportError: If torch-fidelity is missing.
        ValueError: If the file is no such state dict.
        OSError: If it cannot be read.
    """

    def __init__(self, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        module = needed(MODULE, "Inception", FROM_CHECKOUT)
        path = weights or _downloaded(module.URL_INCEPTION_V3)
        self._network = _network(module, path).to(device)
        self._device = device
        self.tag = ExtractorTag("Inception V3 (torch-fidelity), pool3", file_digest(path), RESIZE, FEATURES)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        check_pictures(images)
        return self._network(images.to(self._device))[0].float().cpu()

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """What Inception Score is computed from, of features that are there already.

        Args:
            features (`Tensor`): (N, 2048), as returned for pictures.

        Returns:
            `Tensor`: (N, 1008), float64: torch-fidelity's `logits_unbiased`, the classifier without its bias.

        Raises:
            ValueError: If the weights have no classifier.
        """
        matrix = self._network.fc.weight.double().cpu()
        if not matrix.any():
            raise ValueError("Inception Score needs a classifier, and that of these Inception weights is zero.")
        return features.double() @ matrix.T


def _downloaded(url: str) -> Path:
    """Where torch's hub keeps torch-fidelity's own file, downloaded if it is not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    return path


def _network(module: Any, path: Path) -> Any:
    try:
        # torch-fidelity reads the file with a plain unpickler, which runs any code: first see that it is only tensors.
        torch.load(path, map_location="cpu", weights_only=True)
        return module.FeatureExtractorInceptionV3("inception-v3-compat", [str(FEATURES)], str(path))
    except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError) as error:
        raise ValueError(f"{path} is no state dict of torch-fidelity's Inception: {brief(error)}.") from error
