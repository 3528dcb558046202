"""Which tokens: scores, the staleness bonus, the spatial bonus, and the choice of the highest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from zlib import crc32

import torch
import torch.nn.functional as F

from ..checks import MOST_CLUSTERS, NonNegative, PatchSide, Seed, Share, SomeSteps, Within, check, check_fields
from ..kernels.scores import attention_entropy, column_mass, value_scarcity


@dataclass(frozen=True)
class Score:
    """A way to rate tokens.

    Args:
        source (`str` or `None`): Module whose attention is measured; `None` for scores that need no measurement.
        measure (`Callable` or `None`): `projected -> statistic (rows, tokens)`, where `projected` holds query, key,
            value and mask.
        rate (`Callable` or `None`): statistic -> score, both (..., tokens).
        merge (`Callable` or `None`): The statistics of two guidance halves (..., 2, rows, tokens) -> that of their
            mean map (..., rows, tokens).
        otherwise (`str` or `None`): The score of blocks that have no such module.
        reads_map (`bool`): Whether measuring takes a query-key product of its own.
        reads_stack (`bool`): Whether the hidden states that leave the last block are looked at.
        whole_stack (`bool`): Whether one choice of tokens goes through all blocks.
    """

    source: str | None = None
    measure: Callable | None = None
    rate: Callable | None = None
    merge: Callable | None = None
    otherwise: str | None = None
    reads_map: bool = False
    reads_stack: bool = False
    whole_stack: bool = False


def _normalised(statistic: torch.Tensor) -> torch.Tensor:
    return F.normalize(statistic, p=2, dim=-1)


def _mean_of_halves(statistic: torch.Tensor) -> torch.Tensor:
    return statistic.mean(dim=-3)


def _entropy_of_mean(entropy: torch.Tensor) -> torch.Tensor:
    """The two halves attend to different texts, so the entropy of 0.5 P_cond + 0.5 P_uncond is this (to 1e-7)."""
    return entropy.mean(dim=-3) + math.log(2)


SCORES: dict[str, Score] = {
    "self_attention": Score(
        source="self_attn",
        measure=lambda projected: column_mass(projected.query, projected.key, projected.mask),
        rate=_normalised,
        merge=_mean_of_halves,
        reads_map=True,
    ),
    "cross_attention": Score(
        source="cross_attn",
        measure=lambda projected: attention_entropy(projected.query, projected.key, projected.mask),
        rate=lambda entropy: _normalised(1 + entropy),
        merge=_entropy_of_mean,
        otherwise="self_attention",
        reads_map=True,
    ),
    "value_norm": Score(
        source="self_attn",
        measure=lambda projected: value_scarcity(projected.value),
        rate=_normalised,
        merge=_mean_of_halves,
    ),
    "random": Score(),
    "cluster": Score(reads_stack=True),
    "prediction": Score(whole_stack=True),
}
"""s1 and s2 of ToCa, DuCa's value norm, chance, chance within each of ClusCa's clusters, and RAS's spread of the
prediction."""


@dataclass(frozen=True)
class Selection:
    """How a partial action picks its tokens: the highest of
    `(score + staleness_weight * n / interval) * (1 + bonus_weight if best of its patch)`.

    Args:
        score (`str`, defaults to `"cross_attention"`): One of `SCORES`.
        interval (`int`, defaults to 1): N of the staleness bonus.
        staleness_weight (`float`, defaults to 0.0): Weight of n / N, n the steps since a token was recomputed (s3).
        bonus_patch (`int`, defaults to 0): Side g of the patches of the spatial bonus, in tokens (s4); 0 is off.
        bonus_weight (`float`, defaults to 0.0): beta of the spatial bonus.
        shared_cfg (`bool`, defaults to `False`): Whether the two guidance halves of a batch share one selection.
        seed (`int`, defaults to 0): Of the random score, and of the choice within a cluster.
        clusters (`int`, defaults to 0): K of the score `"cluster"`: one token of each is computed, whatever the share.
        smoothing (`float`, defaults to 0.0): gamma: how far the other tokens of a cluster are moved towards the one
            that is computed.
        starvation (`float`, defaults to 0.0): kappa of the score `"prediction"`: a token that has been dropped d times
            counts exp(kappa d) times as much.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    score: str = "cross_attention"
    interval: SomeSteps = 1
    staleness_weight: NonNegative = 0.0
    bonus_patch: PatchSide = 0
    bonus_weight: NonNegative = 0.0
    shared_cfg: bool = False
    seed: Seed = 0
    clusters: Annotated[int, Within(0, MOST_CLUSTERS)] = 0
    smoothing: Share = 0.0
    starvation: NonNegative = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        check(self.score in SCORES, "score", self.score, f"must be one of {', '.join(SCORES)}")
        least = 1 if self.reads_stack else 0
        check(self.clusters >= least, "clusters", self.clusters, f"must be at least {least} for {self.score!r}")

    @property
    def reads_map(self) -> bool:
        """Whether measuring takes a query-key product of its own."""
        return SCORES[self.score].reads_map

    @property
    def whole_stack(self) -> bool:
        """Whether one choice of tokens goes through all blocks, the others being dropped before the first."""
        return SCORES[self.score].whole_stack

    @property
    def reads_stack(self) -> bool:
        """Whether the choice looks at the hidden states that leave the last block."""
        return SCORES[self.score].reads_stack

    def score_for(self, modules: tuple[str, ...]) -> Score:
        """The score in a block with these modules."""
        score = SCORES[self.score]
        if score.source is None or score.source in modules or score.otherwise is None:
            return score
        return SCORES[score.otherwise]

    def random_score(self, tokens: int, key: tuple[int, ...]) -> torch.Tensor:
        """Uniform scores (tokens,) on CPU, the same for every sample: no sample depends on its batch-mates."""
        generator = torch.Generator().manual_seed(crc32(repr((self.seed, tokens, *key)).encode()))
        return torch.rand(tokens, generator=generator)

    def starved_score(self, prediction: torch.Tensor, drops: torch.Tensor) -> torch.Tensor:
        """Spread of the prediction over its channels x exp(starvation x drops) (RAS, section 3), as a logarithm, for
        the exponential soon overflows and the order is the same.

        Args:
            prediction (`torch.Tensor`): (rows, tokens, channels, pixels of a token).
            drops (`torch.Tensor`): (rows, tokens): how often each token has been dropped.

        Returns:
            `torch.Tensor`: (rows, tokens), float32.
        """
        spread = prediction.float().std(dim=2, correction=0).mean(dim=2)
        return spread.log() + self.starvation * drops

    def final_score(
        self, score: torch.Tensor, staleness: torch.Tensor, grid: tuple[int, int] | None, first_image_token: int
    ) -> torch.Tensor:
        """Add s3, multiply by s4.

        Args:
            score (`torch.Tensor`): (..., tokens), float32.
            staleness (`torch.Tensor`): (..., tokens): steps since each token was recomputed, before this step.
            grid (`tuple[int, int]` or `None`): Rows and columns of the image tokens; `None` switches s4 off, as for
                text and for the frames of one position.
            first_image_token (`int`): Text tokens before the image tokens; they get no spatial bonus.
        """
        if self.staleness_weight:
            score = score + self.staleness_weight * staleness / self.interval
        if grid is None or not self.bonus_patch or not self.bonus_weight:
            return score
        text, image = score[..., :first_image_token], score[..., first_image_token:]
        return torch.cat([text, spatial_bonus(image, grid, self.bonus_patch, self.bonus_weight)], dim=-1)


def spatial_bonus(score: torch.Tensor, grid: tuple[int, int], patch: int, weight: float) -> torch.Tensor:
    """Multiply the best token of each patch x patch square of the grid by 1 + weight (ToCa, section 3.3: s4).

    Args:
        score (`torch.Tensor`): (..., rows * columns).
        grid (`tuple[int, int]`): Rows and columns. Where `patch` does not divide them, the squares at the lower and
            right border are smaller.
        patch (`int`): Side of a square, in tokens.
        weight (`float`): beta.
    """
    rows, columns = grid
    padding = (0, -columns % patch, 0, -rows % patch)
    padded = F.pad(score.reshape(-1, rows, columns), padding, value=float("-inf"))
    squares = padded.unflatten(2, (-1, patch)).unflatten(1, (-1, patch)).transpose(2, 3)
    flat = squares.flatten(3)
    factor = torch.ones_like(flat).scatter_(-1, flat.argmax(dim=-1, keepdim=True), 1 + weight)
    factor = factor.view(squares.shape).transpose(2, 3).flatten(3).flatten(1, 2)
    return score * factor[:, :rows, :columns].reshape(score.shape)


def best_tokens(score: torch.Tensor, count: int) -> torch.Tensor:
    """Indices (..., count) of the highest scores, best first."""
    return score.topk(count, dim=-1).indices
