"""One node: a MODEL whose transformer is one of diffusers goes in, and comes out with a cache on while it samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import toca
from toca.models import family_of

KEY = "toca"


class CacheWithToca:
    """What ComfyUI shows as "Cache (toca)".

    ComfyUI writes most models anew; those have blocks of their own and toca does not know them, which the node says.
    Those that a node pack loads through diffusers it knows.
    """

    CATEGORY = "model/acceleration"
    FUNCTION = "wrap"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The sockets: the model, and a method or preset by its name."""
        return {"required": {"model": ("MODEL",), "method": (sorted(toca.registered("method")), {"default": "toca"})}}

    def wrap(self, model: Any, method: str) -> tuple[Any]:
        """A clone of `model` (a `ModelPatcher`) with a cache on from the start of each sampling to its end; then
        nothing is left of it on the transformer, which all clones share.

        Raises:
            ValueError: If its transformer is none of diffusers.
        """
        from comfy.patcher_extension import WrappersMP

        transformer = model.get_model_object("diffusion_model")
        if family_of(transformer) is None:
            raise ValueError(
                f"The model's transformer is a {type(transformer).__name__} of ComfyUI's own, and toca caches those "
                "of diffusers: load the model by a node that keeps diffusers' transformer, or leave this node out."
            )
        wrapped = model.clone()
        wrapped.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
        wrapped.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _cached_sampling(transformer, method))
        return (wrapped,)


def _cached_sampling(transformer: Any, method: str) -> Callable[..., Any]:
    """What ComfyUI calls in the place of a sampling: its arguments are (noise, latents, sampler, sigmas, ...)."""

    def sample(executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        steps = len(args[3]) - 1
        with toca.cached(transformer, method, num_inference_steps=steps):
            made = executor(*args, **kwargs)
            print(toca.summary(transformer))
        return made

    return sample


NODE_CLASS_MAPPINGS = {"CacheWithToca": CacheWithToca}
NODE_DISPLAY_NAME_MAPPINGS = {"CacheWithToca": "Cache (toca)"}
