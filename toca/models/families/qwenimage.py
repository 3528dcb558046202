"""Qwen-Image, its Edit, Layered and ControlNet lines: text and image in streams of their own (Qwen Team, arXiv
2508.02324)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import PACKED
from ..sites import TEXT_FIRST_STREAMS, feed_forward, joint_attention, text_feed_forward
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Timesteps of a sample: where the reference is clean (Edit 2511) its tokens have a second one."""
    return (("times", 2 if config.zero_cond_t else 1),)


def grid(call: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of a sample's pictures, `None` where these differ in size. The shapes of pictures are a list a
    sample, or one shape alone."""
    pictures = call["img_shapes"][0]
    sizes = {(rows, columns) for _, rows, columns in (pictures if isinstance(pictures, list) else [pictures])}
    return sizes.pop() if len(sizes) == 1 else None


SIZES = Sizes(
    dims="BTC",
    patch=lambda config: (1, 2, 2),
    latents=lambda config: (1, 128, 128),
    text_tokens=512,
    others=_others,
)

QWENIMAGE = FamilySpec(
    name="qwenimage",
    transformer="QwenImageTransformer2DModel",
    stacks=(
        BlockSpec(
            "main",
            "transformer_blocks",
            (
                joint_attention("attn", "img_norm1", "txt_norm1"),
                feed_forward("img_mlp", "img_norm2"),
                text_feed_forward("txt_mlp", "txt_norm2"),
            ),
            conditioning=("txt_mod",),
            beside=(feed_forward("img_mod", stream="times"),),
            streams=TEXT_FIRST_STREAMS,
        ),
    ),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    # Cosines and sines of the image; the text's stay what they are.
    attention=Intercepted(positions=(Positions("image_rotary_emb", items=(0,)),)),
    around=(
        ("img_in", "token"),
        ("txt_in", "text_token"),
        ("time_text_embed", "times"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=(
        "hidden_states",
        "encoder_hidden_states",
        "encoder_hidden_states_mask",
        "timestep",
        "guidance",
        "additional_t_cond",
        "controlnet_block_samples",
    ),
    listed=("img_shapes", "txt_seq_lens"),
    free=("attention_kwargs",),
    channel_dim=2,
    grid=grid,
    input="img_in",
    prediction=PACKED,
    added=("controlnet_block_samples",),
    timestep_scale=1000.0,
)

register(QWENIMAGE)
