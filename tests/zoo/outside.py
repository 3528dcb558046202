"""Model classes among the transformers of diffusers that are no denoising transformers of pictures, video or sound."""

OUTSIDE = {
    "DreamLiteTransformer2DModel": "part of a U-Net",
    "MiniMaxMusic3RVQDepthDecoder": "autoregressive",
    "PriorTransformer": "predicts one embedding",
    "RFD4ProteinaTransformer": "proteins",
    "T5FilmDecoder": "deprecated",
    "Transformer2DModel": "part of U-Nets",
    "TransformerTemporalModel": "part of U-Nets",
}
