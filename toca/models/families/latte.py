"""Latte: video, spatial and temporal blocks in turn (Ma et al., arXiv 2401.03048)."""

from typing import Any

from ...registry import register
from ..attention import CLASSIC
from ..shape import CallShape
from ..spec import BlockSpec, FamilySpec
from .dit import PLAIN_PROCESSORS, latent_grid
from .pixart import CROSS_ATTENTION, FEED_FORWARD, SELF_ATTENTION, TEXT_TOKENS


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    batch, _, frames, height, width = call["hidden_states"].shape
    grid = latent_grid(transformer.config, height, width)
    return CallShape(batch, grid[0] * grid[1], grid, call["encoder_hidden_states"].shape[1], frames)


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    grid = latent_grid(config, height, width)
    text_tokens = TEXT_TOKENS if text_tokens is None else text_tokens
    return CallShape(1, grid[0] * grid[1], grid, text_tokens, num_frames or config.video_length)


LATTE = FamilySpec(
    name="latte",
    transformer="LatteTransformer3DModel",
    stacks=(
        BlockSpec("spatial", "transformer_blocks", (SELF_ATTENTION, CROSS_ATTENTION, FEED_FORWARD), rows="frame"),
        BlockSpec("temporal", "temporal_transformer_blocks", (SELF_ATTENTION, FEED_FORWARD), rows="position"),
    ),
    call_shape=_call_shape,
    default_shape=_default_shape,
    attention=CLASSIC,
    around=(
        ("pos_embed", "token"),
        ("adaln_single", "sample"),
        ("caption_projection", "text_token"),
        ("proj_out", "token"),
    ),
    interleaved=True,
    batched=("hidden_states", "timestep", "encoder_hidden_states", "encoder_attention_mask"),
    only={"enable_temporal_attentions": True},
    by_row=PLAIN_PROCESSORS,
    batched_cfg=True,
    entry="pos_embed",
)

register(LATTE)
