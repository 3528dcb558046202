"""From a model of 2 x 2 patches to one of single latents: four times the tokens, the same blocks.

Training starts on few tokens, where a step costs a fifth, and ends on many.
"""

import torch
from torch import nn


@torch.no_grad()
def refine(coarse: nn.Module, fine: nn.Module, output: str) -> nn.Module:
    """Copies a trained model with patch size 2 into one with patch size 1.

    Where the four latents of a patch are alike, a token of the fine model starts with what its patch was given and
    predicts what its patch predicted on average.

    Args:
        coarse, fine: the same model but for the patch size.
        output (`str`): the name of the linear layer that makes the patches.
    """
    weights = coarse.state_dict()
    weights["pos_embed.proj.weight"] = weights["pos_embed.proj.weight"].sum((2, 3), keepdim=True)
    for name in (f"{output}.weight", f"{output}.bias"):
        weights[name] = weights[name].unflatten(0, (4, -1)).mean(0)
    fine.load_state_dict(weights)
    return fine


@torch.no_grad()
def share_positions(coarse: nn.Module, fine: nn.Module) -> None:
    """Gives each token of the coarse model the mean position of the four tokens that will follow it."""
    positions = fine.pos_embed.pos_embed  # (1, tokens, width)
    side = int(positions.shape[1] ** 0.5)
    grid = positions.unflatten(1, (side // 2, 2, side // 2, 2))
    coarse.pos_embed.pos_embed = grid.mean((2, 4)).flatten(1, 2)
