"""Distances in feature space, and the file that the weights of LPIPS come from."""

from __future__ import annotations

import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers import tiny_vae
from toca.eval.metrics.lpips import Lpips, read_arrays
from toca.eval.metrics.perceptual import VaeDistance, vae_distance

torchvision = pytest.importorskip("torchvision")
CHANNELS = [(64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3)]


def pairs(count: int = 3, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    a = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    b = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    b[1] = a[1] // 2 + b[1] // 8
    return a, b


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=1, keepdim=True)


def test_the_vae_distance_is_the_mean_over_depths_of_the_encoders_features():
    vae, (a, b) = tiny_vae(), pairs()
    x, y = (vae.encoder.conv_in(part.float() / 127.5 - 1) for part in (a, b))
    depths = []
    for block in [*vae.encoder.down_blocks, vae.encoder.mid_block]:
        x, y = block(x), block(y)
        depths.append((unit(x) - unit(y)).square().sum(1).mean((1, 2)))
    assert len(depths) == 3
    assert torch.allclose(VaeDistance(vae)(a, b), torch.stack(depths).mean(0), atol=1e-6)


def test_the_vae_distance_is_zero_for_the_same_picture_and_leaves_no_hook():
    vae, (a, b) = tiny_vae(), pairs(20)
    distance = VaeDistance(vae)
    assert distance(a, a).abs().max() == 0
    # More pictures than are computed at a time: each has its own distance.
    assert torch.allclose(distance(a, b)[17:], distance(a[17:], b[17:]), atol=1e-6)
    assert distance(a, b).min() > 0
    assert not any(module._forward_hooks for module in vae.modules())


def test_a_pipeline_without_such_an_encoder_has_no_stand_in():
    assert vae_distance(SimpleNamespace(vae=SimpleNamespace(encoder=nn.Identity()))) is None
    assert vae_distance(SimpleNamespace()) is None
    assert vae_distance(SimpleNamespace(vae=tiny_vae())) is not None


def weights() -> dict:
    """Random AlexNet and heads, laid out as in the file."""
    random = np.random.default_rng(0)
    layers = {
        f"Conv_{i}": {
            "kernel": (random.standard_normal((k, k, cin, cout)) / np.sqrt(cin * k * k)).astype(np.float32),
            "bias": random.standard_normal(cout).astype(np.float32) / 10,
        }
        for i, (cout, cin, k) in enumerate(CHANNELS)
    }
    heads = {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": random.random((1, 1, cout, 1)).astype(np.float32)}}
        for i, (cout, _, _) in enumerate(CHANNELS)
    }
    return {"AlexNet_0": layers, **heads}


def save(path, data) -> None:
    path.write_bytes(pickle.dumps(data))


def test_lpips_agrees_with_torchmetrics_on_the_same_weights(tmp_path):
    from torchmetrics.functional.image.lpips import _LPIPS

    data, (a, b) = weights(), pairs(side=64)
    save(tmp_path / "alexnet.ckpt", data)
    ours = Lpips(tmp_path / "alexnet.ckpt", torch.device("cpu"))
    theirs = _LPIPS(pretrained=False, net="alex", pnet_rand=True)
    convolutions = [module for module in theirs.net.modules() if isinstance(module, nn.Conv2d)]
    for i, layer in enumerate(convolutions):
        layer.weight.data = torch.from_numpy(data["AlexNet_0"][f"Conv_{i}"]["kernel"].transpose(3, 2, 0, 1).copy())
        layer.bias.data = torch.from_numpy(data["AlexNet_0"][f"Conv_{i}"]["bias"])
    for i, head in enumerate(theirs.lins):
        kernel = data[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]
        head.model[-1].weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
    with torch.no_grad():
        wanted = theirs(a.float() / 127.5 - 1, b.float() / 127.5 - 1).flatten()
    assert torch.allclose(ours(a, b), wanted, rtol=1e-4)
    assert wanted.std() > 0.01
    assert ours.name == "LPIPS (alex)"


def test_a_file_of_the_wrong_shape_is_refused(tmp_path):
    data = weights()
    data["AlexNet_0"]["Conv_2"]["kernel"] = data["AlexNet_0"]["Conv_2"]["kernel"][..., :-1]
    save(tmp_path / "alexnet.ckpt", data)
    with pytest.raises(ValueError, match="Conv_2 has the shape"):
        Lpips(tmp_path / "alexnet.ckpt", torch.device("cpu"))


def test_a_file_without_a_network_is_refused(tmp_path):
    save(tmp_path / "other.ckpt", {"ResNet_0": {}})
    with pytest.raises(ValueError, match="neither"):
        Lpips(tmp_path / "other.ckpt", torch.device("cpu"))


class Harm:
    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    save(tmp_path / "bad.ckpt", {"AlexNet_0": Harm(tmp_path / "harm")})
    with pytest.raises(ValueError, match="mkdir"):
        read_arrays(tmp_path / "bad.ckpt")
    assert not (tmp_path / "harm").exists()


def test_what_is_no_pickle_is_refused(tmp_path):
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(ValueError, match="not a file of LPIPS weights"):
        read_arrays(tmp_path / "text.ckpt")
