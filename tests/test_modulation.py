"""Modulation that differs from token to token (image-to-video of LTX): norms are not narrowed to the chosen tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import LTXVideoTransformer3DModel
from torch import Tensor

import toca

from .helpers import randomize, relative_error, still

STEPS, FRAMES, ROWS = 6, 2, 4
TOKENS = FRAMES * ROWS * ROWS


@pytest.fixture
def ltx() -> Any:
    model = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        num_layers=3,
        caption_channels=16,
    )
    return randomize(model)


def calls(by_token: bool, moves: bool) -> list[dict[str, Any]]:
    """The first frame is given, so its tokens have no noise."""
    generator = torch.Generator().manual_seed(0)
    latents, text = torch.randn(2, TOKENS, 8, generator=generator), torch.randn(2, 8, 16, generator=generator)
    noisy = (torch.arange(TOKENS) >= ROWS * ROWS).float().expand(2, -1)
    fixed = {"encoder_hidden_states": text, "num_frames": FRAMES, "height": ROWS, "width": ROWS}
    made = []
    for i in range(STEPS):
        time = torch.full((2,), 900.0 - (100.0 * i if moves else 0))
        timestep = time[:, None] * noisy if by_token else time
        mask = torch.ones(2, 8)
        latent = latents + (0.05 * i if moves else 0)
        made.append(fixed | {"hidden_states": latent, "timestep": timestep, "encoder_attention_mask": mask})
    return made


def run(model: Any, inputs: list[dict[str, Any]]) -> list[Tensor]:
    with torch.no_grad():
        return [model(**call).sample for call in inputs]


def cached(model: Any, method: Any, inputs: list[dict[str, Any]]) -> list[Tensor]:
    with toca.cached(model, method, num_inference_steps=STEPS):
        outputs = run(model, inputs)
        assert "t" in toca.summary(model).steps
    return outputs


@pytest.mark.parametrize("fresh_ratio", [1 / TOKENS, 0.3, (TOKENS - 1) / TOKENS])
@pytest.mark.parametrize("by_token", [True, False])
def test_partial_steps_of_a_still_model(ltx: Any, by_token: bool, fresh_ratio: float) -> None:
    """Where nothing moves, whatever tokens are computed anew must come out as they were."""
    inputs = still(calls(by_token, moves=False)[0], STEPS)
    wanted = run(ltx, inputs)
    got = cached(ltx, toca.RandomTokens(interval=3, fresh_ratio=fresh_ratio), inputs)
    assert max(relative_error(a, b) for a, b in zip(got, wanted, strict=True)) < 1e-5


def test_norms_are_narrowed_where_they_may_be(ltx: Any) -> None:
    """The same generation with one timestep a sample, told once and told for each token, is the same; tokens are
    computed by it, and not all of them."""
    method = toca.RandomTokens(interval=3, fresh_ratio=0.3)
    once = calls(False, moves=True)
    each = [call | {"timestep": call["timestep"][:, None].expand(-1, TOKENS)} for call in once]
    sizes: list[int] = []
    ltx.transformer_blocks[1].norm2.register_forward_hook(lambda _, args, output: sizes.append(output.shape[1]))
    outputs = cached(ltx, method, each)
    assert set(sizes) == {TOKENS}
    assert max(relative_error(a, b) for a, b in zip(cached(ltx, method, once), outputs, strict=True)) < 1e-5
    assert min(sizes) < TOKENS
    assert max(relative_error(a, b) for a, b in zip(outputs, run(ltx, each), strict=True)) > 1e-3
