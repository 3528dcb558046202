"""The arguments of the calls of a denoiser in one generation, by its class: noise of the right shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Call = dict[str, Any]
Branch = Callable[[Tensor, float], Call]
"""`(latents, progress) -> keyword arguments` of one call; progress runs from 0 to just below 1."""

NULL_TOKENS = 20
"""Text tokens that a prompt of no words leaves unmasked in PixArt's unconditional branch."""


@dataclass(frozen=True)
class Scene:
    """What a generation is about.

    Args:
        config (`Mapping[str, Any]`): Of the transformer.
        samples (`int`): Pictures or videos.
        latent (`tuple[int, ...]`): (C, height, width) of a picture, (C, frames, height, width) of a video, in latents.
        height, width (`int`): Pixels.
        text_tokens (`int`): Of one sample.
        guidance_scale (`float`): Told to models that take it as an input.
        device, dtype: Of all tensors but timesteps and masks.
    """

    config: Mapping[str, Any]
    samples: int
    latent: tuple[int, ...]
    height: int
    width: int
    text_tokens: int
    guidance_scale: float
    device: torch.device
    dtype: torch.dtype

    def noise(self, *shape: int, seed: int = 1) -> Tensor:
        """Normal noise of that shape, the same on every device."""
        return _noise(shape, torch.Generator().manual_seed(seed)).to(self.device, self.dtype)

    def full(self, rows: int, value: float, dtype: torch.dtype | None = None) -> Tensor:
        """(rows,), all `value`."""
        return torch.full((rows,), value, device=self.device, dtype=dtype or self.dtype)


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    # In single precision whatever the default dtype: a GPU's half precision and the CPU's draw different numbers.
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


class Calls(Sequence):
    """The calls of one generation, step by step, each made when it is asked for: those of a long video would take up
    more memory than its cache, and be counted with it.

    The latents turn slowly from one noise into another, as in a generation.

    Args:
        branches (`Sequence[Branch]`): The calls of one step.
        shape (`tuple[int, ...]`): Of the latents.
        steps (`int`): Denoising steps.
        device, dtype: Of the latents.
    """

    def __init__(
        self,
        branches: Sequence[Branch],
        shape: tuple[int, ...],
        steps: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        self._start, self._end = (_noise(shape, generator).to(device, dtype) for _ in range(2))
        self._branches = tuple(branches)
        self.steps = steps

    def __len__(self) -> int:
        return self.steps * len(self._branches)

    def __getitem__(self, index: Any) -> Any:
        step, branch = divmod(range(len(self))[index], len(self._branches))
        angle = math.pi / 2 * step / self.steps
        latents = math.cos(angle) * self._start + math.sin(angle) * self._end
        return self._branches[branch](latents, step / self.steps)


def timestep(progress: float, rows: int, device: torch.device) -> Tensor:
    """(rows,), int64, from 999 down."""
    return torch.full((rows,), round(999 * (1 - progress)), device=device)


def pixart_branch(text: Tensor, mask: Tensor, added: Mapping[str, Tensor | None]) -> Branch:
    """Both branches of guidance in one call: the same latents twice.

    Args:
        text (`Tensor`): (2 B, tokens, width), the unconditional half first.
        mask (`Tensor`): (2 B, tokens), 0 where there is no text.
        added (`Mapping`): `resolution` (2 B, 2) and `aspect_ratio` (2 B, 1), or `None` where the model has neither.
    """

    def call(latents: Tensor, progress: float) -> Call:
        return {
            "hidden_states": torch.cat([latents, latents]),
            "encoder_hidden_states": text,
            "encoder_attention_mask": mask,
            "timestep": timestep(progress, text.shape[0], text.device),
            "added_cond_kwargs": dict(added),
        }

    return call


NO_ADDED_CONDITIONS: Mapping[str, None] = {"resolution": None, "aspect_ratio": None}


def _pixart(scene: Scene) -> tuple[tuple[int, ...], list[Branch]]:
    rows = 2 * scene.samples
    mask = torch.ones(rows, scene.text_tokens, device=scene.device)
    mask[: scene.samples, NULL_TOKENS:] = 0
    text = scene.noise(rows, scene.text_tokens, scene.config["caption_channels"])
    branch = pixart_branch(text, mask, _added_conditions(scene, rows))
    return (scene.samples, *scene.latent), [branch]


def _added_conditions(scene: Scene, rows: int) -> Mapping[str, Tensor | None]:
    """The model of 1024 pixels, and only that one, is told the size."""
    if scene.config["sample_size"] != 128:
        return NO_ADDED_CONDITIONS
    size = torch.tensor([[scene.height, scene.width]] * rows).to(scene.device, scene.dtype)
    return {"resolution": size, "aspect_ratio": scene.full(rows, scene.height / scene.width)[:, None]}


def _dit(scene: Scene) -> tuple[tuple[int, ...], list[Branch]]:
    rows, classes = 2 * scene.samples, scene.config["num_embeds_ada_norm"]
    labels = torch.arange(scene.samples, device=scene.device) % classes
    # The row after the last class is that of no class.
    both = torch.cat([labels, torch.full_like(labels, classes)])

    def call(latents: Tensor, progress: float) -> Call:
        times = timestep(progress, rows, scene.device)
        return {"hidden_states": torch.cat([latents, latents]), "timestep": times, "class_labels": both}

    return (scene.samples, *scene.latent), [call]


def _flux(scene: Scene) -> tuple[tuple[int, ...], list[Branch]]:
    # A token is a square of 2 x 2 latents.
    rows, columns = scene.latent[1] // 2, scene.latent[2] // 2
    ids = torch.zeros(rows, columns, 3, device=scene.device, dtype=scene.dtype)
    ids[..., 1] += torch.arange(rows, device=scene.device)[:, None]
    ids[..., 2] += torch.arange(columns, device=scene.device)[None]
    text = scene.noise(scene.samples, scene.text_tokens, scene.config["joint_attention_dim"])
    fixed = {
        "encoder_hidden_states": text,
        "pooled_projections": text[:, 0, : scene.config["pooled_projection_dim"]].contiguous(),
        "guidance": scene.full(scene.samples, scene.guidance_scale, torch.float32),
        "img_ids": ids.view(-1, 3),
        "txt_ids": torch.zeros(scene.text_tokens, 3, device=scene.device, dtype=scene.dtype),
    }

    def call(latents: Tensor, progress: float) -> Call:
        return {"hidden_states": latents, "timestep": scene.full(scene.samples, 1 - progress), **fixed}

    return (scene.samples, rows * columns, scene.config["in_channels"]), [call]


def _sd3(scene: Scene) -> tuple[tuple[int, ...], list[Branch]]:
    rows = 2 * scene.samples
    fixed = {
        "encoder_hidden_states": scene.noise(rows, scene.text_tokens, scene.config["joint_attention_dim"]),
        "pooled_projections": scene.noise(rows, scene.config["pooled_projection_dim"], seed=2),
    }

    def call(latents: Tensor, progress: float) -> Call:
        times = scene.full(rows, 1000 * (1 - progress))
        return {"hidden_states": torch.cat([latents, latents]), "timestep": times, **fixed}

    return (scene.samples, *scene.latent), [call]


def _wan(scene: Scene) -> tuple[tuple[int, ...], list[Branch]]:
    def branch(seed: int) -> Branch:
        text = scene.noise(scene.samples, scene.text_tokens, scene.config["text_dim"], seed=seed)

        def call(latents: Tensor, progress: float) -> Call:
            times = timestep(progress, scene.samples, scene.device)
            return {"hidden_states": latents, "timestep": times, "encoder_hidden_states": text}

        return call

    return (scene.samples, *scene.latent), [branch(seed=1), branch(seed=2)]


def _cogvideox(scene: Scene) -> tuple[tuple[int, ...], list[Branch]]:
    rows, (channels, frames, height, width) = 2 * scene.samples, scene.latent
    tokens, head = frames * (height // 2) * (width // 2), scene.config["attention_head_dim"]
    angles = scene.noise(tokens, head, seed=2)
    fixed = {
        "encoder_hidden_states": scene.noise(rows, scene.text_tokens, scene.config["text_embed_dim"]),
        "image_rotary_emb": (angles.cos(), angles.sin()),
    }

    def call(latents: Tensor, progress: float) -> Call:
        times = timestep(progress, rows, scene.device)
        return {"hidden_states": torch.cat([latents, latents]), "timestep": times, **fixed}

    return (scene.samples, frames, channels, height, width), [call]


def _ltx(scene: Scene) -> tuple[tuple[int, ...], list[Branch]]:
    rows, (channels, frames, height, width) = 2 * scene.samples, scene.latent
    fixed = {
        "encoder_hidden_states": scene.noise(rows, scene.text_tokens, scene.config["caption_channels"]),
        "encoder_attention_mask": torch.ones(rows, scene.text_tokens, device=scene.device),
        "num_frames": frames,
        "height": height,
        "width": width,
    }

    def call(latents: Tensor, progress: float) -> Call:
        times = scene.full(rows, 1000 * (1 - progress))
        return {"hidden_states": torch.cat([latents, latents]), "timestep": times, **fixed}

    return (scene.samples, frames * height * width, channels), [call]


def _hunyuanvideo(scene: Scene) -> tuple[tuple[int, ...], list[Branch]]:
    rows = scene.samples
    fixed = {
        "encoder_hidden_states": scene.noise(rows, scene.text_tokens, scene.config["text_embed_dim"]),
        "encoder_attention_mask": torch.ones(rows, scene.text_tokens, device=scene.device, dtype=scene.dtype),
        "pooled_projections": scene.noise(rows, scene.config["pooled_projection_dim"], seed=2),
        "guidance": scene.full(rows, 1000 * scene.guidance_scale),
    }

    def call(latents: Tensor, progress: float) -> Call:
        return {"hidden_states": latents, "timestep": scene.full(rows, 1000 * (1 - progress)), **fixed}

    return (scene.samples, *scene.latent), [call]


_BRANCHES: dict[str, Callable[[Scene], tuple[tuple[int, ...], list[Branch]]]] = {
    "DiTTransformer2DModel": _dit,
    "PixArtTransformer2DModel": _pixart,
    "FluxTransformer2DModel": _flux,
    "SD3Transformer2DModel": _sd3,
    "WanTransformer3DModel": _wan,
    "HunyuanVideoTransformer3DModel": _hunyuanvideo,
    "CogVideoXTransformer3DModel": _cogvideox,
    "LTXVideoTransformer3DModel": _ltx,
}
"""`Scene -> (shape of the latents, the calls of a step)`. A new architecture of a new class is an entry here."""


def calls_of(class_name: str, scene: Scene, steps: int) -> Calls:
    """The calls of one generation with a transformer of that class."""
    shape, branches = _BRANCHES[class_name](scene)
    return Calls(branches, shape, steps, scene.device, scene.dtype)
