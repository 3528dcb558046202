"""HiDream-I1: text and image in streams of their own, then in one; feed-forwards of experts (arXiv 2505.22705)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..linears import linear_flops
from ..prediction import LATENTS
from ..shape import CallShape
from ..sites import IMAGE_FIRST_STREAMS, feed_forward, joint_attention, self_attention, text_feed_forward
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec

# A picture that is no square is padded; a layer of the language model's states is put anew to each block's text.
IMAGE, TEXT = "image+padding", "t5+llama+fresh"
BOTH = f"{IMAGE}+{TEXT}"
EXPERT = "shared_experts.w2"
"""Makes an output of the feed-forward: that of the expert which sees all tokens."""


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    t5, llama = call.get("encoder_hidden_states_t5"), call.get("encoder_hidden_states_llama3")
    words = 128 if llama is None else llama.shape[2]
    return (
        ("padding", _padding(config, call)),
        ("t5", 128 if t5 is None else t5.shape[1]),
        ("llama", words),
        ("fresh", words),
    )


def _padding(config: Any, call: Mapping[str, Any]) -> int:
    if not call or call["hidden_states"].ndim == 3:
        return 0
    height, width = call["hidden_states"].shape[2:]
    rows, columns = (pixels // config.patch_size for pixels in config.max_resolution)
    tokens = (height // config.patch_size) * (width // config.patch_size)
    return 0 if height == width else rows * columns - tokens


def _expert_flops(module: Any) -> int:
    """Of a token: the experts that it is sent to, the one of all tokens, and the choice."""
    experts = getattr(module, "experts", None)
    if experts is None:
        return linear_flops(module)
    sent = module.num_activated_experts * linear_flops(experts[0])
    return sent + linear_flops(module.shared_experts) + 2 * module.gate.weight.numel()


SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    latents=lambda config: (1, 128, 128),
    text=None,
    others=_others,
)


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    # Patches that somebody else has cut come with arguments that are not named, and run in full.
    sizes = replace(SIZES, dims="BTC") if call["hidden_states"].ndim == 3 else SIZES
    return sizes.call_shape(transformer, call)


HIDREAM = FamilySpec(
    name="hidream",
    transformer="HiDreamImageTransformer2DModel",
    stacks=(
        BlockSpec(
            "dual",
            "double_stream_blocks",
            (
                joint_attention(
                    "block.attn1",
                    "block.norm1_i",
                    "block.norm1_t",
                    stream=BOTH,
                    text_linears=("to_q_t", "to_k_t", "to_v_t", "to_out_t"),
                ),
                feed_forward("block.ff_i", "block.norm3_i", stream=IMAGE, token_flops=_expert_flops, output=EXPERT),
                text_feed_forward("block.ff_t", "block.norm3_t", stream=TEXT, output="w2"),
            ),
            conditioning=("block.adaLN_modulation",),
            streams=IMAGE_FIRST_STREAMS,
            carries=(IMAGE, TEXT),
        ),
        BlockSpec(
            "single",
            "single_stream_blocks",
            (
                self_attention("block.attn1", "block.norm1_i", stream=BOTH),
                feed_forward("block.ff_i", "block.norm3_i", stream=BOTH, token_flops=_expert_flops, output=EXPERT),
            ),
            conditioning=("block.adaLN_modulation",),
        ),
    ),
    # One projection for each layer of the language model, and the last for T5, whose text is as long.
    side=(BlockSpec("captions", "caption_projection", (feed_forward("", stream="llama"),)),),
    call_shape=_call_shape,
    default_shape=SIZES.default_shape,
    # The model reads the number of the image's tokens off what comes from the dual blocks, and cuts its output so.
    attention=Intercepted(drops=False),
    around=(
        ("x_embedder", "token"),
        ("x_embedder", "padding"),
        ("t_embedder", "sample"),
        ("p_embedder", "sample"),
        ("final_layer.adaLN_modulation", "sample"),
        ("final_layer.linear", "token"),
        ("final_layer.linear", "padding"),
    ),
    timestep="timesteps",
    batched=("hidden_states", "timesteps", "encoder_hidden_states_t5", "pooled_embeds"),
    rows_at={"encoder_hidden_states_llama3": 1},
    free=("attention_kwargs",),
    batched_cfg=True,
    input="x_embedder.proj",
    output="final_layer.linear",
    prediction=LATENTS,
    condition="encoder_hidden_states_t5",
)

register(HIDREAM)
