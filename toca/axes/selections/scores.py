"""How tokens are rated by attention: s1 and s2 of ToCa, and DuCa's value norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ...kernels.scores import attention_entropy, column_mass, value_scarcity
from ...models.dialect import Projected


@dataclass(frozen=True)
class AttentionScore:
    """A way to rate tokens by attention.

    Args:
        source (`str`): Module whose attention is measured.
        measure (`Callable`): `projected -> statistic (rows, tokens)`, where `projected` holds query, key, value and
            mask.
        rate (`Callable`): statistic -> score, both (..., tokens).
        merge (`Callable`): The statistics of two guidance halves (..., 2, rows, tokens) -> that of their mean map
            (..., rows, tokens).
        otherwise (`str` or `None`): The score of blocks that have no such module.
        reads_map (`bool`): Whether measuring takes a query-key product of its own.
    """

    source: str
    measure: Callable[[Projected], torch.Tensor]
    rate: Callable[[torch.Tensor], torch.Tensor]
    merge: Callable[[torch.Tensor], torch.Tensor]
    otherwise: str | None = None
    reads_map: bool = False


def _normalised(statistic: torch.Tensor) -> torch.Tensor:
    return F.normalize(statistic, p=2, dim=-1)


def _mean_of_halves(statistic: torch.Tensor) -> torch.Tensor:
    return statistic.mean(dim=-3)


def _entropy_of_mean(entropy: torch.Tensor) -> torch.Tensor:
    """The two halves attend to different texts, so the entropy of 0.5 P_cond + 0.5 P_uncond is this (to 1e-7)."""
    return entropy.mean(dim=-3) + math.log(2)


SCORES: dict[str, AttentionScore] = {
    "self_attention": AttentionScore(
        source="self_attn",
        measure=lambda projected: column_mass(projected.query, projected.key, projected.mask),
        rate=_normalised,
        merge=_mean_of_halves,
        reads_map=True,
    ),
    "cross_attention": AttentionScore(
        source="cross_attn",
        measure=lambda projected: attention_entropy(projected.query, projected.key, projected.mask),
        rate=lambda entropy: _normalised(1 + entropy),
        merge=_entropy_of_mean,
        otherwise="self_attention",
        reads_map=True,
    ),
    "value_norm": AttentionScore(
        source="self_attn",
        measure=lambda projected: value_scarcity(projected.value),
        rate=_normalised,
        merge=_mean_of_halves,
    ),
}
