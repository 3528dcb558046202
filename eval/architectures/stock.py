"""A published architecture with random weights in its stock pipeline: what a cache of any library can be put on.

There is no text encoder and no VAE. The pipeline is called with random text features and hands out latents, so that
all of its time is the denoiser's and the scheduler's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from torch import Tensor

from toca.eval.architectures import Architecture, Setting
from toca.eval.architectures.calls import NULL_TOKENS, Scene
from toca.eval.architectures.making import make_random
from toca.eval.architectures.memory import check_memory


@dataclass(frozen=True)
class Stock:
    """A stock pipeline, and the arguments of its call but for steps and noise."""

    pipe: Any
    inputs: dict[str, Any]


def stock_pipeline(
    model: Architecture, scale: float, setting: Setting, samples: int, device: torch.device, dtype: torch.dtype
) -> Stock:
    """Build a model in its pipeline.

    Args:
        model (`Architecture`): What it is.
        scale (`float`): Share of the layers and of the width, above 0 and up to 1.
        setting (`Setting`): Size, steps, guidance and text length.
        samples (`int`): Pictures or videos of one call.
        device, dtype: Of weights and inputs.

    Raises:
        ValueError: If nothing is known of its pipeline, or the weights do not fit into the device's memory.
    """
    around = model.pipeline
    if around is None:
        raise ValueError(f"{model.name} has no `pipeline` in its file, so that no stock pipeline can be made of it.")
    latent = latent_of(model, setting)
    component = model.transformer
    if component.sized:
        component = replace(component, config={**component.config, component.sized: latent[-1]})
    check_memory(model.name, [component], scale, device, dtype)
    scene = Scene(
        config=component.config_at(scale), samples=samples, latent=latent, height=setting.height, width=setting.width,
        text_tokens=setting.text_tokens, guidance_scale=setting.guidance_scale, device=device, dtype=dtype,
    )  # fmt: skip
    scheduler = getattr(diffusers, around.scheduler)(**around.scheduler_config)
    make_pipe, make_inputs = _PIPELINES[around.class_name]
    pipe = make_pipe(
        getattr(diffusers, around.class_name), transformer=make_random(component, scale, device, dtype),
        scheduler=scheduler,
    )  # fmt: skip
    return Stock(pipe, {**make_inputs(scene, setting), "guidance_scale": setting.guidance_scale})


def latent_of(model: Architecture, setting: Setting) -> tuple[int, ...]:
    """Of one sample: (channels, height, width), and with frames in between for a video."""
    frames = () if model.vae.time == 1 else ((setting.frames - 1) // model.vae.time + 1,)
    return (model.vae.latents, *frames, setting.height // model.vae.space, setting.width // model.vae.space)


# --- the pipelines -------------------------------------------------------------------------------------------------


class Undecoded:
    """In the place of the VAE of a pipeline that cannot leave it out: hands on latents, shrunk so far that a pipeline
    which clips pictures clips none of them."""

    config = SimpleNamespace(scaling_factor=256.0)

    def decode(self, latents: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=latents)


def _bare(cls: Any, **parts: Any) -> Any:
    """A pipeline of a denoiser and a scheduler alone."""
    needed = [name for name, each in inspect.signature(cls).parameters.items() if each.default is each.empty]
    return cls(**{**dict.fromkeys(needed), **parts})


def _with_undecoded(cls: Any, **parts: Any) -> Any:
    return _bare(cls, vae=Undecoded(), **parts)


def _text(scene: Scene, width: str, seed: int) -> Tensor:
    return scene.noise(scene.samples, scene.text_tokens, scene.config[width], seed=seed)


def _dit(scene: Scene, setting: Setting) -> dict[str, Any]:
    classes = scene.config["num_embeds_ada_norm"]
    return {"class_labels": [i % classes for i in range(scene.samples)], "output_type": "np"}


def _pixart(scene: Scene, setting: Setting) -> dict[str, Any]:
    mask = torch.ones(scene.samples, scene.text_tokens, device=scene.device)
    null = mask.clone()
    null[:, NULL_TOKENS:] = 0
    return {
        "prompt_embeds": _text(scene, "caption_channels", 1), "prompt_attention_mask": mask,
        "negative_prompt": None, "negative_prompt_embeds": _text(scene, "caption_channels", 2),
        "negative_prompt_attention_mask": null, "use_resolution_binning": False, **_sizes(setting),
    }  # fmt: skip


def _flux(scene: Scene, setting: Setting) -> dict[str, Any]:
    pooled = scene.noise(scene.samples, scene.config["pooled_projection_dim"], seed=2)
    return {"prompt_embeds": _text(scene, "joint_attention_dim", 1), "pooled_prompt_embeds": pooled, **_sizes(setting)}


def _sd3(scene: Scene, setting: Setting) -> dict[str, Any]:
    pooled, null = (scene.noise(scene.samples, scene.config["pooled_projection_dim"], seed=seed) for seed in (3, 4))
    return {
        "prompt_embeds": _text(scene, "joint_attention_dim", 1), "pooled_prompt_embeds": pooled,
        "negative_prompt_embeds": _text(scene, "joint_attention_dim", 2), "negative_pooled_prompt_embeds": null,
        **_sizes(setting),
    }  # fmt: skip


def _wan(scene: Scene, setting: Setting) -> dict[str, Any]:
    return {
        "prompt_embeds": _text(scene, "text_dim", 1), "negative_prompt_embeds": _text(scene, "text_dim", 2),
        "num_frames": setting.frames, **_sizes(setting),
    }  # fmt: skip


def _sizes(setting: Setting) -> dict[str, Any]:
    return {"height": setting.height, "width": setting.width, "output_type": "latent"}


_PIPELINES: dict[str, tuple[Callable[..., Any], Callable[[Scene, Setting], dict[str, Any]]]] = {
    "DiTPipeline": (_with_undecoded, _dit),
    "PixArtAlphaPipeline": (_bare, _pixart),
    "FluxPipeline": (_bare, _flux),
    "StableDiffusion3Pipeline": (_bare, _sd3),
    "WanPipeline": (_bare, _wan),
}
"""How each class is made of its denoiser and its scheduler, and called. A model in another one is an entry here."""
