"""Attention dialects that re-state the mathematics of a stock processor; what compiled blocks trace most plainly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb

from .dialect import (
    AttentionDialect,
    Forward,
    Measure,
    Output,
    Present,
    Projected,
    Remembered,
    heads_first,
    is_stock,
    processor_of,
    renewed,
    speaker_of,
    tokens_first,
)
from .intercepted import Intercepted


@dataclass(frozen=True)
class Restated(AttentionDialect):
    """The two halves of an attention call, before and after the softmax product.

    Args:
        processors (`tuple[str, ...]`): Class names of the stock processors whose mathematics this is.
        project (`Callable`): `(attn, arguments by name) -> Projected`.
        finish (`Callable`): `(attn, Projected, arguments by name) -> output`, as the stock processor's.
        mask (`Callable`): `(attn, arguments by name, number of keys) -> the additive mask`, or `None`.
        placed (`Callable`): `(arguments by name, places of the tokens (B, tokens)) -> arguments by name`: what tells
            tokens their positions, for these tokens only.
        otherwise (`AttentionDialect` or `None`): What speaks for modules with other processors.
        measures, drops (`bool`, default to `True`): As in every dialect.
    """

    processors: tuple[str, ...]
    project: Callable[[Any, dict[str, Any]], Projected]
    finish: Callable[[Any, Projected, dict[str, Any]], Output]
    mask: Callable[[Any, dict[str, Any], int], torch.Tensor | None]
    placed: Callable[[dict[str, Any], torch.Tensor], dict[str, Any]]
    otherwise: AttentionDialect | None = None
    measures: bool = True
    drops: bool = True

    def why_not(self, attn: Any) -> str | None:
        plain = not getattr(attn, "residual_connection", False) and getattr(attn, "rescale_output_factor", 1.0) == 1.0
        normed = any(getattr(attn, name, None) is not None for name in ("spatial_norm", "group_norm", "norm_cross"))
        speaker = speaker_of(attn)
        if speaker.__name__ in self.processors and is_stock(speaker) and plain and not normed:
            return None
        if self.otherwise is not None and self.otherwise.why_not(attn) is None:
            return None
        return (
            f"uses {speaker.__name__}, which this library cannot measure (it knows {', '.join(self.processors)}). Use "
            'a method that measures none and drops no tokens, such as "fora" or "random", or the default processor.'
        )

    def by_row(self, attn: Any) -> bool:
        other = self._other(attn)
        return speaker_of(attn).__name__ in self.processors if other is None else other.by_row(attn)

    def _other(self, attn: Any) -> AttentionDialect | None:
        return None if speaker_of(attn).__name__ in self.processors else self.otherwise

    def measured(
        self, stock: Forward, attn: Any, call: dict[str, Any], measure: Measure, tokens: int
    ) -> tuple[Output, torch.Tensor]:
        other = self._other(attn)
        if other is not None:
            return other.measured(stock, attn, call, measure, tokens)
        projected = self.project(attn, call)
        return self.finish(attn, projected, call), measure(projected)

    def remembered(
        self, stock: Forward, attn: Any, call: dict[str, Any], measure: Measure | None = None, tokens: int = 0
    ) -> Remembered:
        other = self._other(attn)
        if other is not None:
            return other.remembered(stock, attn, call, measure, tokens)
        projected = self.project(attn, call)
        statistic = None if measure is None else measure(projected)
        output = self.finish(attn, projected, call)
        return Remembered(output, tokens_first(projected.key), tokens_first(projected.value), statistic)

    def with_dropped(
        self, stock: Forward, attn: Any, call: dict[str, Any], present: Present, held: tuple[torch.Tensor, ...]
    ) -> Output:
        other = self._other(attn)
        if other is not None:
            return other.with_dropped(stock, attn, call, present, held)
        index = present.over_batch
        # The mask is one of all keys, and is made for them below.
        projected = self.project(attn, {**self.placed(call, present.places), "attention_mask": None})
        key, value = (
            renewed(rows, index, fresh) for rows, fresh in zip(held, (projected.key, projected.value), strict=True)
        )
        return self.finish(attn, Projected(projected.query, key, value, self.mask(attn, call, key.shape[2])), call)

    def for_queries(
        self, stock: Forward, attn: Any, call: dict[str, Any], present: Present, measure: Measure | None
    ) -> tuple[Output, torch.Tensor | None]:
        if measure is None:
            return stock(attn, **call), None
        return self.measured(stock, attn, call, measure, present.places.shape[1])


FUSED = "FusedAttnProcessor2_0"


def _project_classic(attn: Any, call: dict[str, Any]) -> Projected:
    hidden_states, context = call["hidden_states"], call.get("encoder_hidden_states")
    # It is the processor that knows: PixArt's `unfuse_qkv_projections` leaves the module's flag, and the fused layers.
    fused = speaker_of(attn).__name__ == FUSED
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


CLASSIC = Restated(
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
    processor = processor_of(attn)
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


FLUX = Restated(
    processors=("FluxAttnProcessor",),
    project=_project_flux,
    finish=_finish_flux,
    mask=lambda attn, call, keys: call.get("attention_mask"),
    placed=_placed_flux,
    otherwise=Intercepted(("image_rotary_emb",), whole=("ip_adapter_masks",), product=0),
)
"""`FluxAttention`: joint attention over text and image (text first), rotary embedding, RMS-normed query and key. An
IP-Adapter's processor makes a second product, of the image's queries with the picture that prompts."""
