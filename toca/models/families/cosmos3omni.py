"""Cosmos 3: a language model that reads, and one beside it that makes video, sound and actions and attends to both
(NVIDIA, 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..shape import CallShape
from ..sites import feed_forward, self_attention, text_feed_forward
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec

TEXT_TOKENS = 512
MADE = "image+beside"
"""What is made: the video, and sound and actions beside it."""


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens beside the video, and those of frames with noise."""
    noisy = call.get("vision_timesteps")
    return (("beside", 0), ("noisy", 45 * 40 * 24 if noisy is None else len(noisy)))


SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: (1, config.latent_patch_size, config.latent_patch_size),
    # 189 frames of 720 x 1280 pixels.
    latents=lambda config: (48, 44, 80),
    text_tokens=TEXT_TOKENS,
    text=None,
    others=_others,
    argument="vision_tokens",
)


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    """The row is told by its lengths."""
    # A video may have a dimension of samples, which is 1.
    video = [latents.flatten(0, -4) for latents in call["vision_tokens"]]
    shape = SIZES.call_shape(transformer, {**call, "vision_tokens": video})
    beside = call["sequence_length"] - call["und_len"] - shape.image_tokens
    return replace(shape, text_tokens=call["und_len"], others=(("beside", beside), *shape.others[1:]))


def _rotation_flops(transformer: Any) -> int:
    return 3 * int(transformer.config.head_dim)


# Blocks work on (tokens, C): there are no samples, and modules are computed or reused whole.
SITES = (
    self_attention(
        "self_attn",
        stream=f"text+{MADE}",
        query_linears=("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
        text_linears=("to_q", "to_k", "to_v", "to_out"),
        width="add_q_proj",
        output="to_add_out",
        causal="text",
        whole=True,
    ),
    text_feed_forward("mlp", whole=True),
    feed_forward("mlp_moe_gen", stream=MADE, whole=True),
)

register(
    FamilySpec(
        name="cosmos3omni",
        transformer="Cosmos3OmniTransformer",
        stacks=(
            BlockSpec(
                "main",
                "layers",
                SITES,
                streams=("und_seq", "gen_seq"),
                main="gen_seq",
                carries=("text", MADE),
            ),
        ),
        call_shape=_call_shape,
        default_shape=SIZES.default_shape,
        attention=Intercepted(measures=False, drops=False, probed="gen_seq"),
        around=(
            ("proj_in", "token"),
            ("time_embedder", "noisy"),
            *((_rotation_flops, kind) for kind in ("token", "text_token", "beside")),
            ("proj_out", "noisy"),
        ),
        latents="vision_tokens",
        timestep="vision_timesteps",
        batched=(),
        whole=(
            "input_ids",
            "text_indexes",
            "position_ids",
            "und_len",
            "sequence_length",
            "return_dict",
            *(
                f"{kind}_{name}"
                for kind in ("vision", "sound", "action")
                for name in (
                    "tokens",
                    "token_shapes",
                    "sequence_indexes",
                    "mse_loss_indexes",
                    "timesteps",
                    "noisy_frame_indexes",
                )
            ),
            "action_domain_ids",
        ),
        input="proj_in",
        outputs=3,
        condition="input_ids",
        modulation="sample",
    )
)
