"""CogVideoX: video and text in one row, of attention and of one feed-forward (Yang et al., arXiv 2408.06072)."""

from __future__ import annotations

from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import VIDEO_FRAMES_FIRST
from ..sites import feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec
from ..streams import JOINT

TEXT_TOKENS = 226


def frames(config: Any) -> int:
    """Latent frames of the model's default; version 1.5 pads them to patches of two."""
    count = (config.sample_frames - 1) // config.temporal_compression_ratio + 1
    return int(count) + -int(count) % (getattr(config, "patch_size_t", None) or 1)


SIZES = Sizes(
    dims="BFCHW",
    # Version 1.5 makes a token of two frames.
    patch=lambda config: (getattr(config, "patch_size_t", None) or 1, config.patch_size, config.patch_size),
    latents=lambda config: (frames(config), config.sample_height, config.sample_width),
    text_tokens=TEXT_TOKENS,
)
# The norms before the sites are given text and image one by one, and there are no others.
SITES = (self_attention("attn1", stream=JOINT), feed_forward("ff", stream=JOINT))
BLOCKS = BlockSpec(
    "main",
    "transformer_blocks",
    SITES,
    conditioning=("norm1", "norm2"),
    streams=("hidden_states", "encoder_hidden_states"),
)
# Angles of the image alone, (image tokens, D), in the larger models.
ATTENTION = Intercepted(positions=("image_rotary_emb",))
AROUND = (
    ("patch_embed.proj", "token"),
    ("patch_embed.text_proj", "text_token"),
    ("time_embedding", "sample"),
    ("ofs_embedding", "call"),
    ("norm_out", "sample"),
    ("proj_out", "token"),
)

COGVIDEOX = FamilySpec(
    name="cogvideox",
    transformer="CogVideoXTransformer3DModel",
    stacks=(BLOCKS,),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=ATTENTION,
    around=AROUND,
    batched=("hidden_states", "encoder_hidden_states", "timestep"),
    # One offset for all samples of an image-to-video call.
    whole=("image_rotary_emb", "ofs", "return_dict"),
    free=("attention_kwargs",),
    channel_dim=2,
    batched_cfg=True,
    input="patch_embed.proj",
    prediction=VIDEO_FRAMES_FIRST,
)

register(COGVIDEOX)
