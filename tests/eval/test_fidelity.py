"""The metrics against formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from toca.eval.metrics.fidelity import PERCEPTUAL, PSNR, SSIM, ssim

from .fidelities import fidelity, metrics_with


def pictures(samples: int = 3, frames: int = 1, side: int = 14, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (samples, frames, side, side, 3), dtype=np.uint8)


def naive_psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / ((a.astype(float) - b.astype(float)) ** 2).mean())


def naive_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Of two (height, width) channels: the mean over all pixels, the picture reflected at its borders."""
    a, b = (np.pad(channel, 5, mode="reflect") for channel in (a, b))
    at = np.arange(11) - 5
    window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = (c[y : y + 11, x : x + 11].astype(float) for c in (a, b))
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * p**2).sum() - mp**2, (window * q**2).sum() - mq**2
            cov = (window * p * q).sum() - mp * mq
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


def test_psnr_is_that_of_each_sample():
    a, b = pictures(), pictures(seed=1)
    b[1] = a[1] // 2
    found = fidelity(a, b, None)[PSNR]
    assert found == pytest.approx([naive_psnr(x, y) for x, y in zip(a, b, strict=True)])
    assert found[1] != pytest.approx(found[0], abs=0.5)


def test_a_video_has_the_psnr_of_all_its_frames_and_the_mean_ssim():
    a, b = pictures(2, frames=2), pictures(2, frames=2, seed=1)
    b[0, 0] = a[0, 0]
    found = fidelity(a, b, None)
    assert found[PSNR] == pytest.approx([naive_psnr(x, y) for x, y in zip(a, b, strict=True)])
    frames = [np.mean([naive_ssim(a[0, f, :, :, c], b[0, f, :, :, c]) for c in range(3)]) for f in range(2)]
    assert frames[0] == pytest.approx(1)
    assert found[SSIM][0] == pytest.approx(np.mean(frames), abs=1e-6)


def test_identical_samples_have_no_psnr():
    a, b = pictures(), pictures(seed=1)
    b[2] = a[2]
    found = fidelity(a, b, None)
    assert found[PSNR][2] is None
    assert None not in found[PSNR][:2]
    assert found[SSIM][2] == pytest.approx(1)


def test_ssim_is_the_formula():
    a = pictures()
    b = np.clip(a.astype(int) + pictures(seed=2) // 4 - 20, 0, 255).astype(np.uint8)
    wanted = [np.mean([naive_ssim(x[0, :, :, c], y[0, :, :, c]) for c in range(3)]) for x, y in zip(a, b, strict=True)]
    assert fidelity(a, b, None)[SSIM] == pytest.approx(wanted, abs=1e-6)
    assert 0.1 < wanted[0] < 0.99


def test_ssim_is_that_of_torchmetrics():
    """Of pictures that are no squares and of flat ones, whose variances a rounding takes below zero."""
    images = torch.rand(3, 2, 3, 23, 40, dtype=torch.float64) * 255
    images[1] = 200.1
    references = (images + 20 * torch.randn_like(images)).clamp(0, 255)
    references[1] = images[1]
    pair = [each.flatten(0, 1) for each in (images, references)]
    wanted = structural_similarity_index_measure(*pair, data_range=255.0, reduction="none").view(3, 2).mean(1)
    assert torch.allclose(ssim(images, references), wanted, rtol=0, atol=1e-9)


def test_a_perceptual_distance_is_a_third_column_of_which_less_is_better():
    class Mean:
        name = source = "mean"

        def __call__(self, images, references):
            assert images.shape == (4, 3, 14, 14)
            return (images.float() - references.float()).mean((1, 2, 3)).abs()

    a, b = pictures(2, frames=2), pictures(2, frames=2, seed=1)
    frames = np.abs((a.astype(float) - b).mean((2, 3, 4)))
    assert fidelity(a, b, Mean())[PERCEPTUAL] == pytest.approx(frames.mean(1).tolist(), abs=1e-3)
    assert metrics_with(Mean())[PERCEPTUAL].sign == -1
    assert [metric.sign for metric in metrics_with(None).values()] == [1, 1]
