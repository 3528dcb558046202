"""Wan VACE: Wan with a stack of blocks beside it, whose hints are added to the video's (Jiang et al., arXiv
2503.07598)."""

from __future__ import annotations

from dataclasses import replace

from ...registry import register
from ..sites import feed_forward
from .wan import AROUND, BATCHED, BLOCKS, SITES, WAN

# The hints are made before block 0, anew in each step: they look at the noisy video too.
CONTROL = replace(
    BLOCKS, stack="control", blocks="vace_blocks", sites=(feed_forward("proj_in"), *SITES, feed_forward("proj_out"))
)

register(
    replace(
        WAN,
        name="vace",
        transformer="WanVACETransformer3DModel",
        stacks=(replace(BLOCKS, by_token=("control_hidden_states",)),),
        side=(CONTROL,),
        around=(*AROUND, ("vace_patch_embedding", "token")),
        batched=(*BATCHED, "control_hidden_states"),
        whole=("control_hidden_states_scale", "return_dict"),
    )
)
