"""For other models that make pictures."""

from __future__ import annotations

from ..base import Method
from ..deepcache import DeepCache
from ..fbcache import DBCache
from ..freqca import FreqCa
from ..ras import RAS
from ..teacache import TeaCache


def images() -> dict[str, Method]:
    return {
        # Stable Diffusion 3, 28 steps.
        "ras/sd3": RAS(sample_ratio=0.5, warmup_steps=4, dense_steps=(12, 22)),
        # Its authors' polynomials are for the modulated input of the first block; those of CogVideoX, HiDream and Wan
        # are for the timestep's embedding, and are not here.
        "teacache/luminanext": TeaCache(
            coefficients=(393.76566581, -603.50993606, 209.10239044, -23.00726601, 0.86377344), threshold=0.2
        ),
        # The second polynomial of two, which its authors prefer at low thresholds: 1.6x at 0.3.
        "teacache/lumina2": TeaCache(
            coefficients=(
                225.7042019806413,
                -608.8453716535591,
                304.1869942338369,
                124.21267720116742,
                -1.4089066892956552,
            ),
            threshold=0.3,
        ),  # fmt: skip
        # As serving engines set cache-dit for Qwen-Image.
        "dbcache/qwenimage": DBCache(threshold=0.12, first_blocks=1, last_blocks=0, warmup_steps=4),
        # 50 steps; the authors run it at 6 and at 9.
        "freqca/qwenimage": FreqCa(interval=6, transform="fourier"),
        # Ours: nobody has published a setting for transformers. The long skips carry what the first seven blocks make
        # to the last seven; N is that of Stable Diffusion.
        "deepcache/hunyuandit": DeepCache(interval=3, outer_blocks=7),
    }
