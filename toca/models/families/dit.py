"""DiT: class-conditional, batched classifier-free guidance (Peebles and Xie, arXiv 2212.09748)."""

from typing import Any

from ...registry import register
from ..attention import CLASSIC
from ..prediction import LATENTS
from ..shape import CallShape
from ..spec import BlockSpec, FamilySpec, SiteSpec

SELF_ATTENTION = SiteSpec(
    "self_attn",
    "attn1",
    "attention",
    query_linears=("to_q", "to_k", "to_v", "to_out"),
    norms=("norm1.norm",),
    width="to_q",
)
PLAIN_PROCESSORS = ("AttnProcessor", "SlicedAttnProcessor", "XFormersAttnProcessor", "AttnProcessorNPU")
FEED_FORWARD = SiteSpec("ff", "ff", "feed_forward", norms=("norm3",))


def latent_grid(config: Any, height: int | None, width: int | None) -> tuple[int, int]:
    """Rows and columns of tokens of a patchified latent image, sizes in latent pixels."""
    height = config.sample_size if height is None else height
    width = config.sample_size if width is None else width
    return height // config.patch_size, width // config.patch_size


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    batch, _, height, width = call["hidden_states"].shape
    grid = latent_grid(transformer.config, height, width)
    return CallShape(batch, grid[0] * grid[1], grid)


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    grid = latent_grid(config, height, width)
    return CallShape(1, grid[0] * grid[1], grid)


DIT = FamilySpec(
    name="dit",
    transformer="DiTTransformer2DModel",
    stacks=(BlockSpec("main", "transformer_blocks", (SELF_ATTENTION, FEED_FORWARD), conditioning=("norm1",)),),
    call_shape=_call_shape,
    default_shape=_default_shape,
    attention=CLASSIC,
    # The output layer asks block 0 for the timestep and label embedding once more.
    around=(
        ("pos_embed", "token"),
        ("transformer_blocks.0.norm1.emb", "sample"),
        ("proj_out_1", "sample"),
        ("proj_out_2", "token"),
    ),
    batched=("hidden_states", "timestep", "class_labels"),
    free=("cross_attention_kwargs",),
    by_row=PLAIN_PROCESSORS,
    batched_cfg=True,
    conditional_half=0,
    output="proj_out_2",
    entry="pos_embed",
    prediction=LATENTS,
    condition="class_labels",
)

register(DIT)
