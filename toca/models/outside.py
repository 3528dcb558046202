"""What cannot be cached here, and what to say of it: by class where the reason is known."""

from __future__ import annotations

_UNET = (
    "is a convolutional U-Net and not a transformer over one sequence of tokens; DeepCache (arXiv 2312.00858) is a "
    "cache for U-Nets"
)
_PART_OF_UNET = "is a part of U-Nets, which runs once in each of their levels; what is cached here is a whole denoiser"
_DEPRECATED = "is deprecated in diffusers"
AUTOREGRESSIVE = (
    "is autoregressive: it makes one token after another, with its own cache of keys and values, and has no denoising "
    "steps between which features could be reused"
)

OUTSIDE: dict[str, str] = {
    **dict.fromkeys(
        (
            *("UNet1DModel", "UNet2DModel", "UNet2DConditionModel", "UNet3DConditionModel", "UNetMotionModel"),
            *("UNetSpatioTemporalConditionModel", "UNetFlatConditionModel", "I2VGenXLUNet", "Kandinsky3UNet"),
            *("StableCascadeUNet", "AudioLDM2UNet2DConditionModel", "DreamLiteUNetModel"),
        ),
        _UNET,
    ),
    **dict.fromkeys(
        (
            *("Transformer2DModel", "DualTransformer2DModel", "TransformerTemporalModel"),
            *("TransformerSpatioTemporalModel", "DreamLiteTransformer2DModel"),
        ),
        _PART_OF_UNET,
    ),
    **dict.fromkeys(
        ("UTransformer2DModel", "UniDiffuserModel", "WuerstchenPrior", "WuerstchenDiffNeXt", "T5FilmDecoder"),
        _DEPRECATED,
    ),
    "UVit2DModel": "fills in masked tokens, other ones in each step, so that no token has a feature to go on from",
    "PriorTransformer": "makes an embedding from 81 tokens: there is nothing to gain",
    "MiniMaxMusic3RVQDepthDecoder": AUTOREGRESSIVE,
    "WanAnimate2Transformer3DModel": (
        "is run in passes of two kinds, one that writes the keys and values of a reference and one that reads them "
        "under the masks of a compiled FlexAttention, and has no pipeline yet but a modular one"
    ),
    "RFD4ProteinaTransformer": "makes proteins, over pairs of residues, and runs its stack several times a step",
}
"""Reasons by the class's name, each to follow it."""
