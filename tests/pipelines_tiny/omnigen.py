"""OmniGen: guidance in a batch, the conditional part first; three parts where a picture is given."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
from PIL import Image

from ..helpers import tiny_tokenizer, tiny_vae
from .style import pipeline, style, zoo

ARGUMENTS = {"prompt": ["a red owl"], "height": 64, "width": 64}
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))


def make() -> Any:
    parts = {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        "vae": tiny_vae(levels=4),
        "tokenizer": tiny_tokenizer(),
        "transformer": zoo("OmniGenTransformer2DModel"),
    }
    return pipeline("OmniGenPipeline", **parts)


style("omnigen", make, ARGUMENTS)
EDIT = {"prompt": ["the owl <img><|image_1|></img> blue"], "input_images": [[PICTURE]], "max_input_image_size": 64}
style("omnigen-picture", make, ARGUMENTS | EDIT)
