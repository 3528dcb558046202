"""DiT: guidance in a batch, the conditional half first."""

from __future__ import annotations

from ..helpers import tiny_dit_pipeline
from .style import style

ARGUMENTS = {"class_labels": [1, 207], "output_type": "pt"}
style("dit", tiny_dit_pipeline, ARGUMENTS)
style("dit-unguided", tiny_dit_pipeline, ARGUMENTS | {"guidance_scale": 1.0})
