"""JoyImage-Edit: text and image in streams of their own; what is edited are further items beside the picture that is
made, as its frames."""

from __future__ import annotations

from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..shape import CallShape
from ..sites import feed_forward, joint_attention, text_feed_forward
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec
from ..streams import IMAGE_FIRST

SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: tuple(config.patch_size),
    latents=lambda config: (2, 128, 128),
    text_tokens=512,
)
BLOCKS = BlockSpec(
    "main",
    "double_blocks",
    (
        joint_attention(
            "attn",
            "img_norm1",
            "txt_norm1",
            stream=IMAGE_FIRST,
            query_linears=("img_attn_qkv", "img_attn_proj"),
            text_linears=("txt_attn_qkv", "txt_attn_proj"),
            width="img_attn_proj",
        ),
        feed_forward("img_mlp", "img_norm2"),
        text_feed_forward("txt_mlp", "txt_norm2"),
    ),
    streams=("hidden_states", "encoder_hidden_states"),
)
AROUND = (
    ("img_in", "token"),
    ("condition_embedder.time_embedder", "sample"),
    ("condition_embedder.time_proj", "sample"),
    ("condition_embedder.text_embedder", "text_token"),
    ("proj_out", "token"),
)


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    latents = call["hidden_states"]
    # The pipeline's have an item beside each of the pictures that it is given: (B, items, C, F, H, W).
    items = latents.transpose(1, 2).flatten(2, 3) if latents.ndim == 6 else latents
    return SIZES.call_shape(transformer, {**call, "hidden_states": items})


JOYIMAGEEDIT = FamilySpec(
    name="joyimageedit",
    transformer="JoyImageEditTransformer3DModel",
    stacks=(BLOCKS,),
    call_shape=_call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(positions=(Positions("image_rotary_emb", items=(0,)),)),
    around=AROUND,
    batched=("hidden_states", "timestep", "encoder_hidden_states"),
    input="img_in",
)

register(JOYIMAGEEDIT)
