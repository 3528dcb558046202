"""OmniGen: text with given pictures in it, the time and the image in one sequence (Xiao et al., arXiv 2409.11340)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..linears import out_features
from ..prediction import LATENTS
from ..sites import feed_forward, self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec

TEXT_TOKENS = 64
"""Of a usual prompt: texts are padded to the longest of a call."""
STREAM = "text+time+image"


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """The token of the time, and tokens of the given pictures, on an average over the samples."""
    patch = config.patch_size**2
    given = sum(picture.shape[-2] * picture.shape[-1] // patch for picture in call.get("input_img_latents") or ())
    return (("time", 1), ("given", given // len(call["hidden_states"]) if call else 0))


SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    # 1024 x 1024 pixels.
    latents=lambda config: (1, 128, 128),
    text_tokens=TEXT_TOKENS,
    text="input_ids",
    others=_others,
)


def _together(call: Mapping[str, Any]) -> str | None:
    if not call.get("input_img_latents"):
        return None
    return "The pictures that are given belong to samples by their number: the samples decide together."


SITES = (
    self_attention("self_attn", "input_layernorm", stream=STREAM),
    feed_forward("mlp", "post_attention_layernorm", stream=STREAM),
)


def _angles_flops(attn: Any) -> int:
    """Of one token: its position x the frequencies, which the model makes as a product of matrices."""
    return out_features(attn.to_q) // int(attn.heads)


ANGLES = BlockSpec("angles", "layers.0.self_attn", (feed_forward("", stream=STREAM, token_flops=_angles_flops),))

OMNIGEN = FamilySpec(
    name="omnigen",
    transformer="OmniGenTransformer2DModel",
    stacks=(BlockSpec("main", "layers", SITES),),
    side=(ANGLES,),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    # Angles of all tokens (T, D), the first sample's for all.
    attention=Intercepted(positions=("image_rotary_emb",), chooses=False),
    around=(
        ("patch_embedding.output_image_proj", "token"),
        ("patch_embedding.input_image_proj", "given"),
        ("time_token", "sample"),
        ("t_embedder", "sample"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=("hidden_states", "timestep", "input_ids", "attention_mask", "position_ids"),
    whole=("input_img_latents", "input_image_sizes", "return_dict"),
    batched_cfg=True,
    conditional_half=0,
    input="patch_embedding.output_image_proj",
    prediction=LATENTS,
    condition="input_ids",
    timestep_rises=True,
    together=_together,
    modulation="sample",
)

register(OMNIGEN)
