"""SANA-WM: a world model, whose blocks attend by a recurrence over the frames, and some of them by a softmax; cameras
are a second branch of either (NVIDIA, 2026).

The recurrence (a gated delta rule) is run forwards and backwards. It has for each head and frame a square state, which
it changes by products of the frame's keys and values, and at which the frame's queries look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..linears import linear_flops
from ..prediction import VIDEO
from ..shape import CallShape
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec

TEXT_TOKENS = 300
MAIN = ("qkv", "proj", "output_gate")
CAMERA = ("q_proj_cam", "k_proj_cam", "v_proj_cam", "out_proj_cam")
DIRECTIONS = 2


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Timesteps of a sample, one for each frame."""
    return (("times", call["timestep"].numel() // len(call["hidden_states"]) if call else 1),)


SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: tuple(config.patch_size),
    # 161 frames of 704 x 1280 pixels.
    latents=lambda config: (21, 22, 40),
    text_tokens=TEXT_TOKENS,
    others=_others,
)


def _with_cameras(config: Any, shape: CallShape, cameras: bool, rays: bool) -> CallShape:
    """The same tokens, frames and places of a frame again, where cameras or their rays are given."""
    tokens, frames, places = shape.image_tokens, shape.frames, shape.tokens
    width = config.linear_head_dim
    others = (
        ("frames", frames),
        ("places", places),
        ("camera", tokens * cameras),
        ("camera_frames", frames * cameras),
        ("camera_places", places * cameras),
        # As many as would cost what they do: their heads are padded to a width that fast kernels know.
        ("camera_keys", tokens * cameras * _padded_width(width) // width),
        ("rays", tokens * rays),
    )
    return replace(shape, others=(*shape.others, *others))


def _padded_width(width: int) -> int:
    known = (32, 64, 128, 256)
    return width if width in known or width >= 256 else 128 if width <= 128 else 256


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    shape = replace(SIZES.call_shape(transformer, call), text_tokens=call["encoder_hidden_states"].shape[2])
    given = (call.get(name) is not None for name in ("camera_conditions", "chunk_plucker"))
    return _with_cameras(transformer.config, shape, *given)


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    return _with_cameras(config, SIZES.default_shape(config, height, width, num_frames, text_tokens), True, True)


def _linears(attn: Any, paths: tuple[str, ...]) -> int:
    return sum(linear_flops(getattr(attn, path)) for path in paths if getattr(attn, path, None) is not None)


def _convolutions(attn: Any, names: tuple[str, ...]) -> int:
    """FLOPs of the convolutions over the frames, for one place of their output, in both directions."""
    there = [getattr(attn, name) for name in names if getattr(attn, name, None) is not None]
    return DIRECTIONS * sum(2 * each.weight.numel() for each in there)


def _padded(attn: Any, names: tuple[str, ...]) -> int:
    """The same for one place of a frame: what they make of the padding before its first frame."""
    return _convolutions(attn, names) * (attn.conv_kernel_size - 1)


def _token_flops(attn: Any) -> int:
    """States of keys and of values, and of keys alone for the divisor; the look at both."""
    products = DIRECTIONS * attn.heads * (8 * attn.dim**2 + 2 * attn.dim)
    return _linears(attn, (*MAIN, "beta_proj")) + _convolutions(attn, ("conv_q", "conv_k", "conv_v")) + products


def _frame_flops(attn: Any) -> int:
    """A step of both states, and the gate of a frame."""
    return DIRECTIONS * attn.heads * (2 * attn.dim**3 + 2 * attn.dim**2) + linear_flops(attn.gate_proj)


def _rays_flops(attn: Any) -> int:
    """Query, key, value and output of one token, turned by its ray: four by four numbers at a time, half of them."""
    return 4 * 4 * int(attn.cam_dim)


def _camera_flops(attn: Any) -> int:
    products = DIRECTIONS * attn.cam_heads * 6 * attn.cam_head_dim**2
    convolutions = _convolutions(attn, ("conv_q_cam", "conv_k_cam", "conv_v_cam"))
    return int(_linears(attn, CAMERA) + convolutions + products + _rays_flops(attn))


def _camera_frame_flops(attn: Any) -> int:
    return int(DIRECTIONS * attn.cam_heads * 2 * attn.cam_head_dim**3)


RECURRENT = self_attention(
    "attn",
    query_linears=(),
    width=None,
    output="proj",
    token_flops=_token_flops,
    apart=(
        ("frames", _frame_flops),
        ("places", lambda attn: _padded(attn, ("conv_q", "conv_k", "conv_v"))),
        ("camera", _camera_flops),
        ("camera_frames", _camera_frame_flops),
        ("camera_places", lambda attn: _padded(attn, ("conv_q_cam", "conv_k_cam", "conv_v_cam"))),
    ),
    given="attn.kernel_func",
)
# A camera's queries attend to a camera's keys: as many products again.
SOFTMAX = self_attention(
    "attn",
    query_linears=MAIN,
    width="proj",
    output="proj",
    context="camera_keys",
    apart=(("camera", lambda attn: _linears(attn, CAMERA) + _rays_flops(attn)),),
    unless="attn.kernel_func",
)
# What cameras tell of each token's ray: five products of a matrix of three by three with a vector.
RAYS = BlockSpec("rays", "blocks.0.attn", (feed_forward("", stream="camera", token_flops=lambda attn: 5 * 2 * 9),))
SITES = (
    RECURRENT,
    SOFTMAX,
    cross_attention(
        "cross_attn", query_linears=("q_linear", "proj"), text_linears=("kv_linear",), width="q_linear", output="proj"
    ),
    feed_forward("mlp", whole=True, output="point_conv"),
)

SANAWM = FamilySpec(
    name="sanawm",
    transformer="SanaWMTransformer3DModel",
    stacks=(
        BlockSpec(
            "main",
            "blocks",
            SITES,
            streams=("x",),
            main="x",
            beside=(feed_forward("plucker_proj", stream="rays"),),
        ),
    ),
    side=(RAYS,),
    call_shape=_call_shape,
    default_shape=_default_shape,
    attention=Intercepted(mapless=("BidirectionalGDNUCPESinglePathLiteLA",), product=0, drops=False),
    around=(
        ("x_embedder", "token"),
        ("plucker_embedder", "rays"),
        ("y_embedder", "text_token"),
        ("t_embedder", "times"),
        ("t_block", "times"),
        ("final_layer.linear", "token"),
    ),
    batched=(
        "hidden_states",
        "timestep",
        "encoder_hidden_states",
        "encoder_attention_mask",
        "mask",
        "camera_conditions",
        "chunk_plucker",
    ),
    batched_cfg=True,
    input="x_embedder",
    output="final_layer.linear",
    prediction=VIDEO,
)

register(SANAWM)
