"""Selections as they were said before each had a class of its own: one table of fields, told apart by `score`."""

from __future__ import annotations

from ...checks import check
from .base import Selection as SelectionBase
from .bonuses import best_tokens, spatial_bonus
from .clustered import ByCluster
from .ranked import ByAttention, ByChance
from .scores import SCORES
from .whole_stack import ByPrediction

__all__ = ["SCORES", "Selection", "best_tokens", "spatial_bonus"]


def Selection(
    score: str = "cross_attention",
    interval: int = 1,
    staleness_weight: float = 0.0,
    bonus_patch: int = 0,
    bonus_weight: float = 0.0,
    shared_cfg: bool = False,
    seed: int = 0,
    clusters: int = 0,
    smoothing: float = 0.0,
    starvation: float = 0.0,
) -> SelectionBase:
    """The selection that these fields say; those that do not belong to the score do not count.

    Raises:
        ValueError: If there is no such score, or a value is out of range.
    """
    if score == "cluster":
        return ByCluster(clusters, smoothing, seed)
    if score == "prediction":
        return ByPrediction(starvation)
    if score == "random":
        return ByChance(interval, staleness_weight, bonus_patch, bonus_weight, shared_cfg, seed)
    check(score in SCORES, "score", score, f"must be one of {', '.join(SCORES)}, random, cluster, prediction")
    return ByAttention(interval, staleness_weight, bonus_patch, bonus_weight, shared_cfg, score)
