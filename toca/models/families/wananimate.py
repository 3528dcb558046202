"""Wan-Animate: Wan's image-to-video, which follows the pose and the face of another video (Wan Team, arXiv
2509.14055)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from ...registry import register
from ..sites import cross_attention
from ..sizes import Others
from ..spec import BlockSpec
from .wan import AROUND, BATCHED, BLOCKS, WAN, others, sizes

FACES = 77
"""Frames of a segment."""


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Besides those of Wan the tokens of all frames but the first, which show a pose, the pictures of the face, what
    two convolutions of stride 2 make of them, and what a frame of the video attends to of them."""
    frames, height, width = call["hidden_states"].shape[2:] if call else (21, 90, 160)
    _, rows, columns = config.patch_size
    faces = call["face_pixel_values"].shape[2] if call else FACES
    halves = (faces + 1) // 2
    heads = config.face_encoder_num_heads
    return (
        *others(config, call),
        ("pose", (frames - 1) * (height // rows) * (width // columns)),
        ("faces", faces),
        ("halves", heads * halves),
        ("quarters", heads * ((halves + 1) // 2)),
        ("face", heads + 1),
    )


def _face_flops(transformer: Any) -> int:
    """FLOPs of one picture of a face: its convolutions are no layers of torch's."""
    encoder = transformer.motion_encoder
    tensors = {**dict(encoder.named_parameters()), **dict(encoder.named_buffers())}
    picture = torch.empty(1, 3, encoder.size, encoder.size, device="meta", dtype=transformer.dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(encoder, {name: tensor.to("meta") for name, tensor in tensors.items()}, (picture,))
    return counter.get_total_flops()


# 77 frames of 720 x 1280 pixels, and the picture.
SIZES = sizes(21, 90, 160, others=_others)
FACE = cross_attention("", context="face")

register(
    replace(
        WAN,
        name="wananimate",
        transformer="WanAnimateTransformer3DModel",
        # After every few blocks the tokens of a frame attend to its face.
        stacks=(replace(BLOCKS, by_token=("face_adapter",)),),
        side=(BlockSpec("face", "face_adapter", (FACE,), rows="frame"),),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        around=(
            *AROUND,
            ("pose_patch_embedding", "pose"),
            (_face_flops, "faces"),
            ("face_encoder.conv1_local", "faces"),
            ("face_encoder.conv2", "halves"),
            ("face_encoder.conv3", "quarters"),
            ("face_encoder.out_proj", "quarters"),
        ),
        batched=(*BATCHED, "pose_hidden_states", "face_pixel_values"),
        whole=("motion_encode_batch_size", "return_dict"),
    )
)
