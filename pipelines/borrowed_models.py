"""The models of an embedded pipeline whose weights lie in another one's folder, where diffusers does not look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from toca.pipelines.borrowing import borrowed, weights_in
from toca.pipelines.on_meta import model_of


def borrowed_models(folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """The models that `from_pretrained` must be handed to load a pipeline's folder; none for a folder that is whole.

    Args:
        folder (`Path`): of the pipeline.
        dtype (`torch.dtype`): the precision of the weights.

    Returns:
        `dict[str, ModelMixin]`: by their parts, and as `from_pretrained` makes them: on the CPU, in evaluation mode.

    Raises:
        ValueError: if a part's configuration is not one of its class.
        RuntimeError: if the weights are not those of the model that the configuration describes.
    """
    return {part: _model(folder / part, dtype) for part in borrowed(folder)}


def _model(part: Path, dtype: torch.dtype) -> Any:
    """Its configuration is its own: a pipeline may want another shift of the same autoencoder's latents."""
    model: Any = model_of(part.parent, part.name)
    tensors = {name: tensor for path in weights_in(part) for name, tensor in load_file(path).items()}
    # Cast before they are in the model: diffusers warns of every model that is cast as a whole.
    cast = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    model.load_state_dict(cast, assign=True)
    model.register_to_config(_name_or_path=str(part))
    return model.eval()
