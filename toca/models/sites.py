"""The sites that most blocks of diffusers have, to be put into a family's data: attention and feed-forwards with the
usual names of their linear layers."""

from __future__ import annotations

from typing import Any

from .spec import SiteSpec
from .streams import IMAGE, JOINT, TEXT

QKV = ("to_q", "to_k", "to_v")
SELF_LINEARS = (*QKV, "to_out")
TEXT_FIRST_STREAMS = ("encoder_hidden_states", "hidden_states")
IMAGE_FIRST_STREAMS = ("hidden_states", "encoder_hidden_states")
"""What a block with two streams returns, in this order."""
TEXT_LINEARS = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


def self_attention(path: str = "attn1", *norms: str, **more: Any) -> SiteSpec:
    """Self-attention of one stream; `more` takes the place of what is usual."""
    usual: dict[str, Any] = {"module": "self_attn", "query_linears": SELF_LINEARS, "width": "to_q"}
    return SiteSpec(path=path, kind="attention", norms=norms, **usual | more)


def joint_attention(path: str = "attn", *norms: str, stream: str = JOINT, **more: Any) -> SiteSpec:
    """Attention over text and image in one row, of which each has linear layers of its own."""
    usual: dict[str, Any] = {"query_linears": SELF_LINEARS, "text_linears": TEXT_LINEARS}
    return self_attention(path, *norms, stream=stream, **usual | more)


def cross_attention(path: str = "attn2", *norms: str, **more: Any) -> SiteSpec:
    """Attention of the image to the text."""
    usual: dict[str, Any] = {
        "module": "cross_attn",
        "query_linears": ("to_q", "to_out"),
        "text_linears": ("to_k", "to_v"),
        "width": "to_q",
    }
    return SiteSpec(path=path, kind="attention", norms=norms, **usual | more)


def feed_forward(path: str = "ff", *norms: str, stream: str = IMAGE, **more: Any) -> SiteSpec:
    """The feed-forward of the image, or of the one stream that there is."""
    usual: dict[str, Any] = {"module": "ff"}
    return SiteSpec(path=path, kind="feed_forward", stream=stream, norms=norms, **usual | more)


def text_feed_forward(path: str = "ff_context", *norms: str, **more: Any) -> SiteSpec:
    """The feed-forward of the text, where it goes through the blocks beside the image."""
    return feed_forward(path, *norms, **{"module": "ff_context", "stream": TEXT} | more)


def dual_stream(stream: str = JOINT, image: str = IMAGE, text: str = TEXT) -> tuple[SiteSpec, ...]:
    """The sites of a block in which image and text attend to each other and have a feed-forward each; what these two
    consist of may be more."""
    return (
        joint_attention("attn", "norm1.norm", "norm1_context.norm", stream=stream),
        feed_forward("ff", "norm2", stream=image),
        text_feed_forward("ff_context", "norm2_context", stream=text),
    )


def parallel(stream: str = JOINT) -> tuple[SiteSpec, ...]:
    """The sites of a block whose attention and feed-forward run side by side (`toca.models.parallel_blocks`)."""
    return (
        self_attention("attn", stream=stream, inside="block", query_linears=QKV),
        SiteSpec(
            "block",
            "",
            "parallel_block",
            stream=stream,
            query_linears=("proj_mlp", "proj_out"),
            norms=("norm.norm",),
        ),
    )
