"""ConsisID: CogVideoX with a face, to which the video attends between blocks (Yuan et al., arXiv 2411.17440).

The face is told once for all samples of a call, and is found anew in each call; what it adds between two blocks is
added to all tokens, as a ControlNet does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..sites import cross_attention, feed_forward
from ..sizes import Others
from ..spec import BlockSpec
from .cogvideox import AROUND, COGVIDEOX
from .cogvideox import SIZES as COGVIDEOX_SIZES

PICTURE_TOKENS = 577
SCALES = 5
"""Layers of the encoder that the face is read from."""


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens of the picture, of the face that is asked for in it (with those of its identity), of all that it is asked
    of, and of what is found."""
    pictures, found, identity = call.get("id_vit_hidden"), config.LFE_num_querie, config.LFE_num_id_token
    picture = pictures[0].shape[1] if pictures else PICTURE_TOKENS
    asked = found + identity
    return (("picture", picture), ("asked", asked), ("of", identity + picture + asked), ("face", found))


SIZES = replace(COGVIDEOX_SIZES, others=_others)


def _projection_flops(extractor: Any) -> int:
    """Of one token: a matrix that is no layer."""
    return int(2 * extractor.proj_out.numel())


LINEARS: dict[str, Any] = {"query_linears": ("to_q", "to_out"), "text_linears": ("to_kv",)}
EXTRACTOR = "local_facial_extractor"
FINDING = (
    *(
        BlockSpec(f"scale {i}", f"{EXTRACTOR}.mapping_{i}", (feed_forward("", stream="picture"),), rows="call")
        for i in range(SCALES)
    ),
    BlockSpec(
        "extractor",
        f"{EXTRACTOR}.layers",
        (cross_attention("0", stream="asked", context="of", **LINEARS), feed_forward("1", stream="asked")),
        rows="call",
    ),
    BlockSpec("found", EXTRACTOR, (feed_forward("", stream="face", token_flops=_projection_flops),), rows="call"),
)
BETWEEN = (
    BlockSpec(
        "between",
        "perceiver_cross_attention",
        (cross_attention("", context="face", **LINEARS | {"text_linears": ()}),),
    ),
    BlockSpec("face", "perceiver_cross_attention", (feed_forward("to_kv", stream="face"),), rows="call"),
)

CONSISID = replace(
    COGVIDEOX,
    name="consisid",
    transformer="ConsisIDTransformer3DModel",
    side=(*FINDING, *BETWEEN),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    around=(*AROUND, (f"{EXTRACTOR}.id_embedding_mapping", "call")),
    batched=(*COGVIDEOX.batched, "id_cond", "id_vit_hidden"),
    added=("id_cond",),
)

register(CONSISID)
