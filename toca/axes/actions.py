"""The actions a plan is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..checks import check
from .spans import Span

KINDS = ("compute", "partial", "reuse", "forecast", "skip", "late")
COMPUTING = ("compute", "late")
"""Kinds by which a site computes all of its tokens."""


@dataclass(frozen=True)
class Action:
    """What a site does in a step.

    Args:
        kind (`str`): `"compute"`, `"partial"` (some tokens), `"reuse"`, `"forecast"`, `"skip"` (its block is not
            run at all, for a span of blocks is filled in its place), or `"late"` (it computes, for the steps to come:
            the span of its block is filled in this one).
        fresh_ratio (`float`): Share of tokens recomputed: 1 for compute and late, 0 for all others but partial.
        forecasts (`bool`): Whether the tokens that are not computed are forecast rather than reused.

    Raises:
        ValueError: If a value is none of these.
    """

    kind: str
    fresh_ratio: float
    forecasts: bool = False

    def __post_init__(self) -> None:
        check(self.kind in KINDS, "kind", self.kind, f"must be one of {', '.join(KINDS)}")
        share = type(self.fresh_ratio) in (int, float) and 0 <= self.fresh_ratio <= 1
        check(share, "fresh_ratio", self.fresh_ratio, "must be between 0 and 1")
        check(isinstance(self.forecasts, bool), "forecasts", self.forecasts, "must be True or False")

    @property
    def picks_tokens(self) -> bool:
        """Whether some tokens are computed and others not, so that they must be told apart."""
        return self.kind == "partial" and self.fresh_ratio > 0


COMPUTE = Action("compute", 1.0)
REUSE = Action("reuse", 0.0)
FORECAST = Action("forecast", 0.0, True)
SKIP = Action("skip", 0.0)
LATE = Action("late", 1.0)


def partial(fresh_ratio: float, forecasts: bool = False) -> Action:
    """Recompute a share of the tokens, clamped to [0, 1]. All of them is compute; none stays token-wise in name.

    Raises:
        ValueError: If the share is no number.
    """
    check(fresh_ratio == fresh_ratio, "fresh_ratio", fresh_ratio, "must be a number")
    return COMPUTE if fresh_ratio >= 1 else Action("partial", max(0.0, float(fresh_ratio)), forecasts)


def tokens_of(action: Action, tokens: int) -> int:
    """Tokens of `tokens` that the action computes: the floor of the fresh ratio's share (ToCa, section 3.3)."""
    return tokens if action.kind == "compute" else int(action.fresh_ratio * tokens)


def step_letter(row: Sequence[Action], spans: Sequence[Span] = ()) -> str:
    """What a step does, in a letter.

    F: every site computes; t: some tokens; y: something is forecast; a: a span of blocks, or the whole stack, is left
    out and its cached effect reused; l: a span runs late; r: every site reused; m: some sites computed and the rest
    reused.
    """
    kinds = {action.kind for action in row}
    if "partial" in kinds:
        return "t"
    if "forecast" in kinds or any(span.forecasts for span in spans):
        return "y"
    if spans:
        return "l" if "late" in kinds else "a"
    if kinds == {"compute"}:
        return "F"
    return "r" if kinds == {"reuse"} else "m"
