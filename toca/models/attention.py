"""How the attention modules of diffusers make query, key and value: one small dialect for each kind of module.

A cached step needs what the stock processors keep to themselves: the query and the key as they enter the softmax
(after normalisation and rotary embedding), to measure which tokens matter, or to attend to tokens that are not there.
Where neither is asked for the stock processor runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb

Output = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
"""What an attention module returns: one stream, or image and text."""


class Projected(NamedTuple):
    """Query, key and value of shape (B, heads, tokens, head_dim) and the additive mask, as the softmax sees them."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None


@dataclass(frozen=True)
class AttentionDialect:
    """The two halves of an attention call, before and after the softmax product.

    Args:
        processors (`tuple[str, ...]`): Class names of the stock processors whose mathematics this is.
        project (`Callable`): `(attn, arguments by name) -> Projected`.
        finish (`Callable`): `(attn, Projected, arguments by name) -> output`, as the stock processor's.
        mask (`Callable`): `(attn, arguments by name, number of keys) -> the additive mask`, or `None`.
        placed (`Callable`): `(arguments by name, places of the tokens (B, tokens)) -> arguments by name`: what tells
            tokens their positions, for these tokens only.
    """

    processors: tuple[str, ...]
    project: Callable[[Any, dict[str, Any]], Projected]
    finish: Callable[[Any, Projected, dict[str, Any]], Output]
    mask: Callable[[Any, dict[str, Any], int], torch.Tensor | None]
    placed: Callable[[dict[str, Any], torch.Tensor], dict[str, Any]]


def heads_first(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, T, heads * d) -> (B, heads, T, d)."""
    return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)


def tokens_first(tensor: torch.Tensor) -> torch.Tensor:
    """(B, heads, T, d) -> (B, T, heads * d), contiguous."""
    return tensor.transpose(1, 2).flatten(2).contiguous()


FUSED = "FusedAttnProcessor2_0"


def _project_classic(attn: Any, call: dict[str, Any]) -> Projected:
    hidden_states, context = call["hidden_states"], call.get("encoder_hidden_states")
    # It is the processor that knows: PixArt's `unfuse_qkv_projections` leaves the module's flag, and the fused layers.
    fused = type(attn.get_processor()).__name__ == FUSED
    if context is None and fused:
        query, key, value = attn.to_qkv(hidden_states).chunk(3, dim=-1)
    else:
        context = hidden_states if context is None else context
        query = attn.to_q(hidden_states)
        key, value = attn.to_kv(context).chunk(2, dim=-1) if fused else (attn.to_k(context), attn.to_v(context))
    mask = _mask_classic(attn, call, key.shape[1])
    query, key, value = (heads_first(tensor, attn.heads) for tensor in (query, key, value))
    query = query if attn.norm_q is None else attn.norm_q(query)
    key = key if attn.norm_k is None else attn.norm_k(key)
    return Projected(query, key, value, mask)


def _mask_classic(attn: Any, call: dict[str, Any], keys: int) -> torch.Tensor | None:
    mask = call.get("attention_mask")
    if mask is None:
        return None
    batch = call["hidden_states"].shape[0]
    mask = attn.prepare_attention_mask(mask, keys, batch)
    return mask.view(batch, attn.heads, -1, mask.shape[-1])


def _finish_classic(attn: Any, projected: Projected, call: dict[str, Any]) -> torch.Tensor:
    query, key, value, mask = projected
    output = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=0.0, is_causal=False)
    output = output.transpose(1, 2).flatten(2).to(query.dtype)
    return attn.to_out[1](attn.to_out[0](output))


CLASSIC = AttentionDialect(
    processors=("AttnProcessor2_0", FUSED),
    project=_project_classic,
    finish=_finish_classic,
    mask=_mask_classic,
    placed=lambda call, places: call,
)
"""`diffusers.models.attention_processor.Attention` of DiT, PixArt and Latte: no rotary embedding, one stream."""


def _project_flux(attn: Any, call: dict[str, Any]) -> Projected:
    hidden_states, context = call["hidden_states"], call.get("encoder_hidden_states")
    query, key, value = _flux_streams(attn, hidden_states, "to_qkv", ("to_q", "to_k", "to_v"))
    query, key = attn.norm_q(query), attn.norm_k(key)
    if context is not None:
        text = _flux_streams(attn, context, "to_added_qkv", ("add_q_proj", "add_k_proj", "add_v_proj"))
        query = torch.cat([attn.norm_added_q(text[0]), query], dim=1)
        key = torch.cat([attn.norm_added_k(text[1]), key], dim=1)
        value = torch.cat([text[2], value], dim=1)
    rotary = call.get("image_rotary_emb")
    if rotary is not None:
        query, key = _turned(query, rotary), _turned(key, rotary)
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
    return Projected(query, key, value, call.get("attention_mask"))


def _turned(tensor: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotary embedding of (B, T, heads, d); cosines and sines are (T, d), or (B, T, d) where samples differ."""
    if rotary[0].ndim == 2:
        # diffusers annotates what it takes and returns here as it is elsewhere.
        return apply_rotary_emb(tensor, rotary, sequence_dim=1)  # type: ignore[arg-type,return-value]
    cosine, sine = (part[:, :, None].to(tensor.device) for part in rotary)
    real, imaginary = tensor.unflatten(-1, (-1, 2)).unbind(-1)
    across = torch.stack([-imaginary, real], dim=-1).flatten(-2)
    return (tensor.float() * cosine + across.float() * sine).to(tensor.dtype)


def _placed_flux(call: dict[str, Any], places: torch.Tensor) -> dict[str, Any]:
    rotary = call.get("image_rotary_emb")
    if rotary is None:
        return call
    return {**call, "image_rotary_emb": tuple(part.to(places.device)[places] for part in rotary)}


def _flux_streams(
    attn: Any, hidden_states: torch.Tensor, fused: str, separate: tuple[str, str, str]
) -> tuple[torch.Tensor, ...]:
    """Query, key and value of one stream, each (B, T, heads, head_dim)."""
    if attn.fused_projections:
        projected = getattr(attn, fused)(hidden_states).chunk(3, dim=-1)
    else:
        projected = tuple(getattr(attn, name)(hidden_states) for name in separate)
    return tuple(tensor.unflatten(-1, (-1, attn.head_dim)) for tensor in projected)


def _finish_flux(attn: Any, projected: Projected, call: dict[str, Any]) -> Output:
    query, key, value = (tensor.transpose(1, 2) for tensor in projected[:3])
    processor = attn.get_processor()
    output = dispatch_attention_fn(
        query,
        key,
        value,
        attn_mask=projected.mask,
        backend=processor._attention_backend,
        parallel_config=processor._parallel_config,
    )
    output = output.flatten(2, 3).to(query.dtype)
    context = call.get("encoder_hidden_states")
    if context is None:
        return output
    text, image = output.split_with_sizes([context.shape[1], output.shape[1] - context.shape[1]], dim=1)
    image = attn.to_out[1](attn.to_out[0](image.contiguous()))
    return image, attn.to_add_out(text.contiguous())


FLUX = AttentionDialect(
    processors=("FluxAttnProcessor",),
    project=_project_flux,
    finish=_finish_flux,
    mask=lambda attn, call, keys: call.get("attention_mask"),
    placed=_placed_flux,
)
"""`FluxAttention`: joint attention over text and image (text first), rotary embedding, RMS-normed query and key."""
