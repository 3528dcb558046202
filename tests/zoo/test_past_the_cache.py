"""Calls that a family's data says run in full: the output is the model's own, and the reason is logged."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

import toca

from .moment import Moment
from .tiny import EVERY, STEPS, run, tensors


def written(step: int) -> tuple[Any, list[dict[str, Any]]]:
    """GLM-Image writes the keys and values of a given picture."""
    from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache

    entry = EVERY["GlmImageTransformer2DModel"]
    caches = GlmImageKVCache(entry.config["num_layers"])
    caches.set_mode("write")
    return entry.make(), [entry.inputs(step, batch=1) | {"kv_caches": caches}]


def of_several_pictures(step: int) -> tuple[Any, list[dict[str, Any]]]:
    """Z-Image's Omni variant: the pictures of a sample are a list of their own."""
    entry, now = EVERY["ZImageTransformer2DModel"], Moment(step, (0,))
    call = {
        "x": [[now.given(4, 1, 8, 12, of="given")[0], now.latents(4, 1, 8, 12)[0]]],
        "t": now.rising_time(),
        "cap_feats": [[now.given(5, 12)[0], now.given(3, 12, of="more text")[0]]],
        "siglip_feats": [[now.given(2, 3, 6, of="seen")[0], None]],
        "image_noise_mask": [[0, 1]],
    }
    return entry.make(siglip_feat_dim=6), [call]


def of_several_lengths(step: int) -> tuple[Any, list[dict[str, Any]]]:
    """Lumina 2: the image of each sample begins elsewhere."""
    entry = EVERY["Lumina2Transformer2DModel/other-lengths"]
    return entry.make(), [entry.inputs(step)]


@pytest.mark.parametrize(
    ("name", "case", "why"),
    [
        ("GlmImageTransformer2DModel", written, "The keys and values of a given picture are written"),
        ("ZImageTransformer2DModel", of_several_pictures, "or have several pictures each"),
        ("Lumina2Transformer2DModel", of_several_lengths, "so that the image of each sample begins elsewhere"),
    ],
)
def test_runs_in_full_and_says_why(name: str, case: Any, why: str, caplog: pytest.LogCaptureFixture) -> None:
    if name not in EVERY:
        pytest.skip(f"this diffusers has no {name}")
    model, _ = case(0)
    calls = [call for step in range(3) for call in case(step)[1]]
    stock = run(model, [call for step in range(3) for call in case(step)[1]])
    with caplog.at_level(logging.WARNING, "toca"):
        with toca.cached(model, toca.RandomTokens(interval=2), num_inference_steps=STEPS):
            outputs, summary = run(model, calls), toca.summary(model)
    assert summary.bypassed == 3
    assert why in caplog.text
    for got, wanted in zip(outputs, stock, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tensors(got), tensors(wanted), strict=True))


@pytest.mark.skipif("MotifVideoTransformer3DModel" not in EVERY, reason="diffusers has no Motif-Video")
def test_motif_with_decoder_blocks_is_refused_with_the_reason() -> None:
    model = EVERY["MotifVideoTransformer3DModel"].make(num_decoder_layers=1)
    with pytest.raises(ValueError, match="`num_decoder_layers` cannot be cached: .* two images in one stack"):
        toca.enable_cache(model, "fora", num_inference_steps=STEPS)
