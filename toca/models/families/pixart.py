"""PixArt-alpha: text by cross-attention, adaLN-single (Chen et al., arXiv 2310.00426)."""

from dataclasses import replace
from typing import Any

from ...registry import register
from ..attention import CLASSIC
from ..prediction import LATENTS
from ..shape import CallShape
from ..spec import BlockSpec, FamilySpec, SiteSpec
from .dit import FEED_FORWARD as DIT_FEED_FORWARD
from .dit import PLAIN_PROCESSORS, latent_grid
from .dit import SELF_ATTENTION as DIT_SELF_ATTENTION

SELF_ATTENTION = replace(DIT_SELF_ATTENTION, norms=("norm1",))
FEED_FORWARD = replace(DIT_FEED_FORWARD, norms=("norm2",))
CROSS_ATTENTION = SiteSpec(
    "cross_attn", "attn2", "attention", query_linears=("to_q", "to_out"), text_linears=("to_k", "to_v"), width="to_q"
)
TEXT_TOKENS = 120


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    batch, _, height, width = call["hidden_states"].shape
    grid = latent_grid(transformer.config, height, width)
    return CallShape(batch, grid[0] * grid[1], grid, text_tokens=call["encoder_hidden_states"].shape[1])


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    grid = latent_grid(config, height, width)
    return CallShape(1, grid[0] * grid[1], grid, TEXT_TOKENS if text_tokens is None else text_tokens)


PIXART = FamilySpec(
    name="pixart",
    transformer="PixArtTransformer2DModel",
    stacks=(BlockSpec("main", "transformer_blocks", (SELF_ATTENTION, CROSS_ATTENTION, FEED_FORWARD)),),
    call_shape=_call_shape,
    default_shape=_default_shape,
    attention=CLASSIC,
    # Height and width share one resolution embedder, which therefore runs on two rows a sample.
    around=(
        ("pos_embed", "token"),
        ("adaln_single", "sample"),
        ("adaln_single.emb.resolution_embedder", "sample"),
        ("caption_projection", "text_token"),
        ("proj_out", "token"),
    ),
    batched=(
        "hidden_states",
        "encoder_hidden_states",
        "timestep",
        "added_cond_kwargs",
        "attention_mask",
        "encoder_attention_mask",
        "resolution",
        "aspect_ratio",
    ),
    free=("cross_attention_kwargs",),
    by_row=PLAIN_PROCESSORS,
    batched_cfg=True,
    entry="pos_embed",
    prediction=LATENTS,
)

register(PIXART)
