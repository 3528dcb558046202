"""Coast on DiT, PixArt and FLUX, image by image and token by token, on the blocks of RAS.

Every row of the batch is run on its own: only its chosen tokens enter block 0, the keys and values of all tokens lie
in one matrix a layer, and what the blocks added to each token in the full steps is kept in a list.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import common
from .ras import HEADS, STACKS, Keys, _only, _sizes, _whole

Added = list[tuple[int, Tensor]]
"""(step, what the blocks added to the tokens (tokens, C)) of the full steps, the newest last."""


@torch.no_grad()
def run_coast(
    family: str,
    transformer: nn.Module,
    inputs: list[dict[str, Any]],
    *,
    full: list[bool],
    ratio: float,
    paired: bool = False,
    trace: list[tuple[int, int, list[int], float]] | None = None,
) -> list[Tensor]:
    """The output of every call. `trace` gets (step, image, chosen tokens, margin of the choice); where `paired`, an
    image is a row of the first half of the batch and its like in the second."""
    batch, tokens, _, _, numbers = _sizes(family, transformer, inputs[0])
    images = [[row, row + batch // 2] for row in range(batch // 2)] if paired else [[row] for row in range(batch)]
    keys: list[Keys] = [{} for _ in range(batch)]
    added: list[Added] = [[] for _ in range(batch)]
    stale = [[0] * tokens for _ in images]
    outputs = []
    for step, call in enumerate(inputs):
        returned = torch.zeros(batch, tokens, numbers)
        for image, rows in enumerate(images):
            chosen = list(range(tokens))
            if not full[step]:
                scores = [sum(_drift(added[row], t) for row in rows) * (1 + stale[image][t]) for t in chosen]
                chosen, margin = common.take_best(scores, ratio)
                if trace is not None:
                    trace.append((step, image, sorted(chosen), margin))
            stale[image] = [0 if full[step] or t in chosen else n + 1 for t, n in enumerate(stale[image])]
            for row in rows:
                own = _only(call, row, batch)
                entered, left = STACKS[family](transformer, own, chosen, keys[row])
                if full[step]:
                    added[row].append((step, (left - entered)[0]))
                whole = entered + _forecast(added[row], step)
                whole[:, chosen] = left
                returned[row] = HEADS[family](transformer, own, whole)
        outputs.append(_whole(family, returned, transformer, call))
    return outputs


def _drift(added: Added, token: int) -> float:
    """How far a token's sum moved between the last two full steps; after one alone, how large it is."""
    newest = added[-1][1][token]
    return (newest - added[-2][1][token] if len(added) > 1 else newest).norm().item()


def _forecast(added: Added, step: int) -> Tensor:
    """On the straight line through the last two full steps; after one alone, the last."""
    last, newest = added[-1]
    if len(added) == 1:
        return newest
    before, older = added[-2]
    return newest + (newest - older) * (step - last) / (last - before)
