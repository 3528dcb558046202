"""What is drawn while a router learns: captions for PixArt, classes for DiT."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

HELD_OUT = 16
"""Captions that no router sees in training: those that `figures.py` measures with."""


@dataclass(frozen=True)
class Conditions:
    """Arguments of the transformer that say what to draw.

    Args:
        rows (`dict[str, Tensor]`): Each argument with one row a caption or class.
        empty (`dict[str, Tensor]`): The same with one row: nothing asked for.
        constant (`dict`): Arguments that are the same in every call.
    """

    rows: dict[str, Tensor]
    empty: dict[str, Tensor]
    constant: dict[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    def pick(self, index: Tensor, dropped: Tensor | None = None) -> dict[str, Any]:
        """The arguments for these captions; nothing asked for where `dropped` is true."""
        chosen = {name: rows[index.to(rows.device)] for name, rows in self.rows.items()}
        if dropped is not None:
            chosen = {name: self._drop(name, rows, dropped) for name, rows in chosen.items()}
        return chosen | self.constant

    def pick_guided(self, index: Tensor) -> dict[str, Any]:
        """The arguments of both branches of classifier-free guidance, the conditional one first."""
        chosen = {name: rows[index.to(rows.device)] for name, rows in self.rows.items()}
        both = {name: torch.cat([rows, self.empty[name].expand_as(rows)]) for name, rows in chosen.items()}
        return both | self.constant

    def _drop(self, name: str, rows: Tensor, dropped: Tensor) -> Tensor:
        dropped = dropped.to(rows.device).reshape(-1, *[1] * (rows.ndim - 1))
        return torch.where(dropped, self.empty[name], rows)


def split_prompts(prompts: list[str]) -> tuple[list[str], list[str]]:
    """Captions to train with and captions held out, in an order that is always the same."""
    shuffled = random.Random(0).sample(prompts, len(prompts))
    held_out = min(HELD_OUT, len(prompts) // 4)
    return shuffled[held_out:], shuffled[:held_out]


@torch.no_grad()
def conditions_for(pipe: Any, prompts: list[str]) -> Conditions:
    """The conditions of a pipeline: `prompts` for PixArt, every class for DiT.

    Raises:
        ValueError: If the pipeline is neither, or needs prompts and there are none.
    """
    name = type(pipe.transformer).__name__
    if name == "DiTTransformer2DModel":
        return _class_conditions(pipe)
    if name != "PixArtTransformer2DModel" or pipe.transformer.config.use_additional_conditions:
        raise ValueError(f"Routers are trained for DiT and for PixArt-alpha up to 512 pixels, not for this {name}.")
    if not prompts:
        raise ValueError("There are no captions to train with: give a file with one a line as --prompts.")
    return _caption_conditions(pipe, prompts)


def _class_conditions(pipe: Any) -> Conditions:
    classes = pipe.transformer.config.num_embeds_ada_norm
    labels = torch.arange(classes + 1, device=pipe.transformer.device)
    return Conditions({"class_labels": labels[:-1]}, {"class_labels": labels[-1:]}, {})


def _caption_conditions(pipe: Any, prompts: list[str]) -> Conditions:
    states, mask, *_ = pipe.encode_prompt([*prompts, ""], do_classifier_free_guidance=False, clean_caption=False)
    longest = int(mask.sum(1).max())  # what all captions leave masked only costs time
    both = {"encoder_hidden_states": states[:, :longest], "encoder_attention_mask": mask[:, :longest]}
    return Conditions(
        {name: value[:-1] for name, value in both.items()},
        {name: value[-1:] for name, value in both.items()},
        {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}},
    )
