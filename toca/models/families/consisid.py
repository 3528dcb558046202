"""ConsisID: CogVideoX with a face, to which the video attends between blocks (Yuan et al., arXiv 2411.17440)."""

from dataclasses import replace

from ...registry import register
from .cogvideox import COGVIDEOX

CONSISID = replace(
    COGVIDEOX,
    name="consisid",
    transformer="ConsisIDTransformer3DModel",
)

register(CONSISID)
