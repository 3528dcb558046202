"""The actions a plan is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """What a site does in a step.

    Args:
        kind (`str`): `"compute"`, `"partial"` (some tokens) or `"reuse"`.
        fresh_ratio (`float`): Share of tokens recomputed: 1 for compute, 0 for reuse.
    """

    kind: str
    fresh_ratio: float

    @property
    def picks_tokens(self) -> bool:
        """Whether some tokens are computed and others not, so that they must be told apart."""
        return self.kind == "partial" and self.fresh_ratio > 0


COMPUTE = Action("compute", 1.0)
REUSE = Action("reuse", 0.0)


def partial(fresh_ratio: float) -> Action:
    """Recompute a share of the tokens, clamped to [0, 1]. All of them is compute; none stays token-wise in name."""
    return COMPUTE if fresh_ratio >= 1 else Action("partial", max(0.0, float(fresh_ratio)))


def tokens_of(action: Action, tokens: int) -> int:
    """Tokens of `tokens` that the action computes: the floor of the fresh ratio's share (ToCa, section 3.3)."""
    return tokens if action.kind == "compute" else int(action.fresh_ratio * tokens)


def step_letter(row: tuple[Action, ...]) -> str:
    """F: every site computes, t: some tokens, r: every site reused, m: some sites computed and the rest reused."""
    kinds = {action.kind for action in row}
    if kinds == {"compute"}:
        return "F"
    if "partial" in kinds:
        return "t"
    return "r" if kinds == {"reuse"} else "m"
