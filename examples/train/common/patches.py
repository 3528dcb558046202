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


class Watcher:
    """Keeps what each block of a transformer puts out, call after call.

    Args:
        blocks: of a transformer; they may be compiled.
    """

    def __init__(self, blocks: nn.ModuleList):
        self.outputs: list[torch.Tensor] = []
        # Python lists are no business of a compiled graph.
        note = torch.compiler.disable(lambda module, inputs, output: self.outputs.append(output))
        for block in blocks:
            block.register_forward_hook(note)


def distance(fine: list[torch.Tensor], coarse: list[torch.Tensor]) -> torch.Tensor:
    """How far the means of four fine tokens are from the coarse token in their place, block by block, over its spread.

    Args:
        fine, coarse: hidden states of each block, (batch, tokens, width), four times as many tokens in `fine`.
    """
    total = torch.zeros(())
    for ours, theirs in zip(fine, coarse, strict=True):
        side = int(theirs.shape[1] ** 0.5)
        mean = ours.float().unflatten(1, (side, 2, side, 2)).mean((2, 4)).flatten(1, 2)
        total = total.to(mean.device) + (mean - theirs.float()).square().mean() / theirs.float().var()
    return total
