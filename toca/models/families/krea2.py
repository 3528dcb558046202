"""Krea 2: text and image in one sequence; the text is fused from several layers of its encoder before (Krea, 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import PACKED
from ..sites import SELF_LINEARS, feed_forward, self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec
from ..streams import JOINT, TEXT

TEXT_TOKENS = 512


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Layers of the encoder that a text token comes from."""
    return (("levels", config.num_text_layers),)


SIZES = Sizes(
    dims="BTC",
    patch=lambda config: (1, 2, 2),
    # 1024 x 1024 pixels.
    latents=lambda config: (1, 128, 128),
    text_tokens=TEXT_TOKENS,
    others=_others,
)


def _grid(call: dict[str, Any]) -> tuple[int, int] | None:
    """Read from the positions (T, 3) of the image, which stand after the text's: one look at the device."""
    tokens = call["hidden_states"].shape[1]
    rows, columns = (int(last) + 1 for last in call["position_ids"][-tokens:, 1:].amax(dim=0).tolist())
    return None if tokens % (rows * columns) else (rows, columns)


def _projector_flops(fusion: Any) -> int:
    """Of one text token: each channel is a sum over the layers."""
    width = [*fusion.layerwise_blocks, *fusion.refiner_blocks][0].ff.down.out_features
    return int(2 * fusion.projector.in_features * width)


def _sites(stream: str) -> tuple[Any, ...]:
    linears = (*SELF_LINEARS, "to_gate")
    return (
        self_attention("attn", "norm1", stream=stream, query_linears=linears),
        feed_forward("ff", "norm2", stream=stream),
    )


KREA2 = FamilySpec(
    name="krea2",
    transformer="Krea2Transformer2DModel",
    stacks=(BlockSpec("main", "transformer_blocks", _sites(JOINT)),),
    side=(
        BlockSpec("levels", "text_fusion.layerwise_blocks", _sites("levels"), rows="text"),
        BlockSpec("fusion", "text_fusion", (feed_forward("", stream=TEXT, token_flops=_projector_flops),)),
        BlockSpec("refiner", "text_fusion.refiner_blocks", _sites(TEXT)),
    ),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    # Angles of all tokens (T, D).
    attention=Intercepted(positions=("image_rotary_emb",)),
    around=(
        ("img_in", "token"),
        ("time_embed", "sample"),
        ("time_mod_proj", "sample"),
        ("txt_in", "text_token"),
        ("final_layer.linear", "token"),
    ),
    batched=("hidden_states", "encoder_hidden_states", "timestep", "encoder_attention_mask"),
    whole=("position_ids", "return_dict"),
    free=("attention_kwargs",),
    channel_dim=2,
    grid=_grid,
    input="img_in",
    output="final_layer.linear",
    prediction=PACKED,
    timestep_scale=1000.0,
)

register(KREA2)
