"""Attention modules of stock diffusers models, as their blocks call them: what the attention dialects are tested on.

Each `Case` names a class with a tiny configuration, one attention module in it, and how it is looked into. Positions,
masks and streams are those that the model itself hands to the module in a call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn

from toca.models.dialect import AttentionDialect
from toca.models.intercepted import Intercepted
from toca.models.positions import Positions

from .helpers import randomize

BATCH, TEXT, FRAMES, GRID = 2, 5, 3, (4, 6)
IMAGE = GRID[0] * GRID[1]
TEXT_FIRST, IMAGE_FIRST, ALONE = ("text", "image"), ("image", "text"), ("image",)
IMAGE_ROTARY = Intercepted(("image_rotary_emb",))


@dataclass(frozen=True)
class Case:
    """An attention module of a stock model.

    Args:
        model (`str`): Its class in diffusers.
        path (`str`): The attention module.
        parts (`tuple[str, ...]`): What the rows of its softmax are made of, in order.
        dialect (`AttentionDialect`): How it is looked into.
        config (`dict`): Of the model.
        inputs (`Callable`): The arguments of a call of it.
        joined (`bool`): Whether text and image come to the module as one stream.
    """

    model: str
    path: str
    parts: tuple[str, ...]
    dialect: AttentionDialect
    config: dict[str, Any] = field(hash=False)
    inputs: Callable[[], dict[str, Any]]
    joined: bool = False

    def __str__(self) -> str:
        return f"{self.model}-{self.path}"


@dataclass
class Captured:
    """A module with a call of it: `call` holds its arguments by name, the queries first."""

    module: nn.Module
    stock: Callable[..., Any]
    call: dict[str, Any]

    @property
    def queries(self) -> Tensor:
        return next(iter(self.call.values()))

    def given(self, queries: Tensor) -> dict[str, Any]:
        """The call with other queries, wherever they are handed over."""
        return {name: queries if value is self.queries else value for name, value in self.call.items()}

    def run(self, **changes: Any) -> Any:
        return self.stock(self.module, **{**self.call, **changes})


def capture(case: Case) -> Captured:
    """The module, with the arguments of its first call by the model."""
    model = model_of(case)
    module = model.get_submodule(case.path)
    stock = type(module).forward
    names = list(inspect.signature(stock).parameters)[1:]
    calls: list[dict[str, Any]] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append({names[0]: None, **dict(zip(names, args, strict=False)), **kwargs})

    hook = module.register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        model(**case.inputs())
    hook.remove()
    return Captured(module, stock, calls[0])


@functools.cache
def model_of(case: Case) -> nn.Module:
    cls = getattr(diffusers, case.model, None)
    if cls is None:
        pytest.skip(f"this diffusers has no {case.model}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return randomize(cls(**case.config))


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hidden(*shape: int) -> Tensor:
    """A mask (..., tokens) of which the second sample's last two tokens are padding."""
    mask = torch.ones(*shape, dtype=torch.long)
    mask[1, ..., -2:] = 0
    return mask


TIMES = torch.tensor([650.0, 650.0])
HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}
FOUR = {"in_channels": 4, "out_channels": 4}
PICTURE = (BATCH, 4, 8, 12)
VIDEO = (BATCH, 4, FRAMES, 8, 12)


def _sd3() -> dict[str, Any]:
    return {
        "hidden_states": drawn(*PICTURE),
        "encoder_hidden_states": drawn(BATCH, TEXT, 12),
        "pooled_projections": drawn(BATCH, 10),
        "timestep": TIMES,
    }


def _flux2() -> dict[str, Any]:
    places = torch.zeros(*GRID, 4)
    places[..., 1] = torch.arange(GRID[0])[:, None]
    places[..., 2] = torch.arange(GRID[1])
    return {
        "hidden_states": drawn(BATCH, IMAGE, 4),
        "encoder_hidden_states": drawn(BATCH, TEXT, 12),
        "timestep": TIMES / 1000,
        "img_ids": places.flatten(0, 1),
        "txt_ids": torch.zeros(TEXT, 4),
        "guidance": torch.full((BATCH,), 4.0),
    }


def _qwen() -> dict[str, Any]:
    return {
        "hidden_states": drawn(BATCH, IMAGE, 4),
        "encoder_hidden_states": drawn(BATCH, TEXT, 12),
        "encoder_hidden_states_mask": hidden(BATCH, TEXT),
        "timestep": TIMES / 1000,
        "img_shapes": [[(1, *GRID)]] * BATCH,
    }


def _lumina2() -> dict[str, Any]:
    return {
        "hidden_states": drawn(*PICTURE),
        "timestep": TIMES / 1000,
        "encoder_hidden_states": drawn(BATCH, TEXT, 12),
        "encoder_attention_mask": hidden(BATCH, TEXT).bool(),
    }


def _z_image() -> dict[str, Any]:
    return {"x": list(drawn(BATCH, 4, 1, 8, 12)), "t": TIMES / 1000, "cap_feats": list(drawn(BATCH, TEXT, 12))}


def _wan(**more: Any) -> dict[str, Any]:
    return {
        "hidden_states": drawn(*VIDEO),
        "timestep": TIMES.long(),
        "encoder_hidden_states": drawn(BATCH, TEXT, 12),
        **more,
    }


def _ltx() -> dict[str, Any]:
    return {
        "hidden_states": drawn(BATCH, FRAMES * IMAGE, 4),
        "encoder_hidden_states": drawn(BATCH, TEXT, 12),
        "timestep": TIMES.long(),
        "encoder_attention_mask": hidden(BATCH, TEXT),
        "num_frames": FRAMES,
        "height": GRID[0],
        "width": GRID[1],
    }


def _hunyuan_video() -> dict[str, Any]:
    return {
        "hidden_states": drawn(*VIDEO),
        "timestep": TIMES,
        "encoder_hidden_states": drawn(BATCH, TEXT, 12),
        "encoder_attention_mask": hidden(BATCH, TEXT),
        "pooled_projections": drawn(BATCH, 10),
        "guidance": torch.full((BATCH,), 6000.0),
    }


def _hunyuan_video15() -> dict[str, Any]:
    return {
        "hidden_states": drawn(BATCH, 4, FRAMES, *GRID),
        "timestep": TIMES,
        "encoder_hidden_states": drawn(BATCH, TEXT, 12),
        "encoder_attention_mask": hidden(BATCH, TEXT),
        "encoder_hidden_states_2": drawn(BATCH, 2, 10),
        "encoder_attention_mask_2": torch.ones(BATCH, 2, dtype=torch.long),
        "image_embeds": torch.zeros(BATCH, 3, 6),
    }


def _turns(tokens: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (tokens, width) of a rotary embedding of neighbouring pairs."""
    angles = drawn(tokens, width // 2, seed=3).repeat_interleave(2, dim=1)
    return angles.cos(), angles.sin()


def _cogvideox() -> dict[str, Any]:
    return {
        "hidden_states": drawn(BATCH, FRAMES, 4, 8, 12),
        "encoder_hidden_states": drawn(BATCH, TEXT, 12),
        "timestep": TIMES.long(),
        "image_rotary_emb": _turns(FRAMES * IMAGE, 8),
    }


def _hunyuan_dit() -> dict[str, Any]:
    return {
        "hidden_states": drawn(*PICTURE),
        "timestep": TIMES,
        "encoder_hidden_states": drawn(BATCH, 3, 8),
        "text_embedding_mask": hidden(BATCH, 3),
        "encoder_hidden_states_t5": drawn(BATCH, 2, 8),
        "text_embedding_mask_t5": torch.ones(BATCH, 2, dtype=torch.long),
        "image_meta_size": torch.tensor([[64.0, 96, 64, 96, 0, 0]] * BATCH),
        "style": torch.zeros(BATCH, dtype=torch.long),
        "image_rotary_emb": _turns(IMAGE, 8),
    }


def _lumina_next() -> dict[str, Any]:
    return {
        "hidden_states": drawn(*PICTURE),
        "timestep": TIMES / 1000,
        "encoder_hidden_states": drawn(BATCH, TEXT, 12),
        "encoder_mask": hidden(BATCH, TEXT),
        "image_rotary_emb": torch.polar(torch.ones(16, 16, 8), drawn(16, 16, 8)),
        "cross_attention_kwargs": {},
    }


def _mochi() -> dict[str, Any]:
    return {
        "hidden_states": drawn(*VIDEO),
        "encoder_hidden_states": drawn(BATCH, TEXT, 16),
        "timestep": TIMES,
        "encoder_attention_mask": hidden(BATCH, TEXT).bool(),
    }


def _prx() -> dict[str, Any]:
    return {
        "hidden_states": drawn(*PICTURE),
        "timestep": TIMES / 1000,
        "encoder_hidden_states": drawn(BATCH, TEXT, 12),
        "attention_mask": hidden(BATCH, TEXT).bool(),
    }


SD3 = {
    **HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 8,
    "num_layers": 2,
    "joint_attention_dim": 12,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 10,
    "pos_embed_max_size": 8,
}
FLUX2 = {
    **HEADS,
    "in_channels": 4,
    "num_layers": 1,
    "num_single_layers": 1,
    "joint_attention_dim": 12,
    "timestep_guidance_channels": 16,
    "axes_dims_rope": (2, 2, 2, 2),
}
WAN = {
    **FOUR,
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": 12,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 1,
    "rope_max_seq_len": 32,
}
LTX = {
    **FOUR,
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "cross_attention_dim": 24,
    "num_layers": 1,
    "caption_channels": 12,
}
HUNYUAN = {
    **HEADS,
    **FOUR,
    "num_layers": 1,
    "num_refiner_layers": 1,
    "mlp_ratio": 2.0,
    "rope_axes_dim": (2, 2, 4),
    "text_embed_dim": 12,
}
HUNYUAN_VIDEO = {**HUNYUAN, "num_single_layers": 1, "patch_size": 2, "patch_size_t": 1, "pooled_projection_dim": 10}
HUNYUAN_DIT = {
    **HEADS,
    "in_channels": 4,
    "patch_size": 2,
    "sample_size": 8,
    "hidden_size": 16,
    "num_layers": 2,
    "cross_attention_dim": 8,
    "cross_attention_dim_t5": 8,
    "pooled_projection_dim": 4,
    "text_len": 3,
    "text_len_t5": 2,
}
LUMINA_NEXT = {
    "sample_size": 16,
    "patch_size": 2,
    "in_channels": 4,
    "hidden_size": 32,
    "num_layers": 1,
    "num_attention_heads": 2,
    "num_kv_heads": 1,
    "multiple_of": 8,
    "learn_sigma": False,
    "cross_attention_dim": 12,
}
BY_ROW = Positions("image_rotary_emb", 1)

SELF = (
    Case("SD3Transformer2DModel", "transformer_blocks.0.attn", IMAGE_FIRST, Intercepted(), SD3, _sd3),
    Case("SD3Transformer2DModel", "transformer_blocks.1.attn", IMAGE_FIRST, Intercepted(), SD3, _sd3),
    Case("Flux2Transformer2DModel", "transformer_blocks.0.attn", TEXT_FIRST, IMAGE_ROTARY, FLUX2, _flux2),
    Case("Flux2Transformer2DModel", "single_transformer_blocks.0.attn", TEXT_FIRST, IMAGE_ROTARY, FLUX2, _flux2, True),
    Case(
        "QwenImageTransformer2DModel",
        "transformer_blocks.0.attn",
        TEXT_FIRST,
        Intercepted((Positions("image_rotary_emb", items=(0,)),)),
        {**HEADS, "in_channels": 4, "out_channels": 1, "num_layers": 1}
        | {"joint_attention_dim": 12, "axes_dims_rope": (2, 2, 4)},
        _qwen,
    ),
    Case(
        "Lumina2Transformer2DModel",
        "layers.0.attn",
        TEXT_FIRST,
        Intercepted((BY_ROW,)),
        {"sample_size": 16, "in_channels": 4, "hidden_size": 24, "num_layers": 1, "num_refiner_layers": 1}
        | {"num_attention_heads": 3, "num_kv_heads": 1, "multiple_of": 2, "axes_dim_rope": (4, 2, 2)}
        | {"axes_lens": (32, 16, 16), "cap_feat_dim": 12},
        _lumina2,
        True,
    ),
    Case(
        "ZImageTransformer2DModel",
        "layers.0.attention",
        IMAGE_FIRST,
        Intercepted((Positions("freqs_cis", 1),)),
        {"in_channels": 4, "dim": 48, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2}
        | {"cap_feat_dim": 12, "axes_dims": [8, 8, 8], "axes_lens": [128, 16, 16]},
        _z_image,
        True,
    ),
    Case("WanTransformer3DModel", "blocks.0.attn1", ALONE, Intercepted((Positions("rotary_emb", 1),)), WAN, _wan),
    Case("LTXVideoTransformer3DModel", "transformer_blocks.0.attn1", ALONE, Intercepted((BY_ROW,)), LTX, _ltx),
    Case(
        "HunyuanVideoTransformer3DModel",
        "transformer_blocks.0.attn",
        IMAGE_FIRST,
        IMAGE_ROTARY,
        HUNYUAN_VIDEO,
        _hunyuan_video,
    ),
    Case(
        "HunyuanVideoTransformer3DModel",
        "single_transformer_blocks.0.attn",
        IMAGE_FIRST,
        IMAGE_ROTARY,
        HUNYUAN_VIDEO,
        _hunyuan_video,
    ),
    Case(
        "HunyuanVideo15Transformer3DModel",
        "transformer_blocks.0.attn",
        IMAGE_FIRST,
        IMAGE_ROTARY,
        {**HUNYUAN, "patch_size": 1, "patch_size_t": 1, "text_embed_2_dim": 10, "image_embed_dim": 6}
        | {"target_size": 16, "task_type": "t2v"},
        _hunyuan_video15,
    ),
    Case(
        "CogVideoXTransformer3DModel",
        "transformer_blocks.0.attn1",
        TEXT_FIRST,
        IMAGE_ROTARY,
        {**HEADS, **FOUR, "time_embed_dim": 8, "text_embed_dim": 12, "num_layers": 1, "sample_width": 12}
        | {"sample_height": 8, "sample_frames": 9, "max_text_seq_length": TEXT}
        | {"use_rotary_positional_embeddings": True},
        _cogvideox,
    ),
    Case("HunyuanDiT2DModel", "blocks.0.attn1", ALONE, IMAGE_ROTARY, HUNYUAN_DIT, _hunyuan_dit),
    Case(
        "LuminaNextDiT2DModel",
        "layers.0.attn1",
        ALONE,
        Intercepted((Positions("query_rotary_emb", 1), Positions("key_rotary_emb", 1))),
        LUMINA_NEXT,
        _lumina_next,
    ),
    Case(
        "MochiTransformer3DModel",
        "transformer_blocks.0.attn1",
        IMAGE_FIRST,
        IMAGE_ROTARY,
        {**HEADS, "patch_size": 2, "num_layers": 1, "pooled_projection_dim": 12, "in_channels": 4}
        | {"text_embed_dim": 16, "time_embed_dim": 8, "max_sequence_length": TEXT},
        _mochi,
    ),
    Case(
        "PRXTransformer2DModel",
        "blocks.0.attention",
        ALONE,
        Intercepted((Positions("image_rotary_emb", 2),), own_keys="last"),
        {"in_channels": 4, "patch_size": 2, "context_in_dim": 12, "hidden_size": 16, "mlp_ratio": 2.0}
        | {"num_heads": 2, "depth": 1, "axes_dim": [4, 4]},
        _prx,
    ),
)
"""Attention of the image's tokens to themselves, and to the text's where it is in the row."""

I2V = {**WAN, "image_dim": 10, "added_kv_proj_dim": 24}
CROSS = (
    Case("WanTransformer3DModel", "blocks.0.attn2", ALONE, Intercepted((Positions("rotary_emb", 1),)), WAN, _wan),
    Case(
        "WanTransformer3DModel",
        "blocks.0.attn2",
        ALONE,
        Intercepted(),
        I2V,
        lambda: _wan(
            encoder_hidden_states=drawn(BATCH, 512, 12), encoder_hidden_states_image=drawn(BATCH, 4, 10, seed=4)
        ),
    ),
    Case("LTXVideoTransformer3DModel", "transformer_blocks.0.attn2", ALONE, Intercepted((BY_ROW,)), LTX, _ltx),
    Case("HunyuanDiT2DModel", "blocks.0.attn2", ALONE, IMAGE_ROTARY, HUNYUAN_DIT, _hunyuan_dit),
    Case(
        "LuminaNextDiT2DModel",
        "layers.0.attn2",
        ALONE,
        Intercepted((Positions("query_rotary_emb", 1),)),
        LUMINA_NEXT,
        _lumina_next,
    ),
)
"""Attention to the text alone; the query of the last two is rotated."""
