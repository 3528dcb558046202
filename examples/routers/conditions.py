"""What is drawn while a router learns: captions, or the classes of a class-conditional model.

Nothing here knows a model. The stock pipeline is called with the captions and stopped at its first call of the
transformer; what it has made of them by then, and how it has set its scheduler, is what a generation goes on from.
"""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from toca.models import FamilySpec, known_family
from toca.pipelines.arguments import call_defaults

HELD_OUT = 16
"""Captions that no router sees in training, nor when one is chosen: those that `figures.py` measures with."""
CHOICE = 8
"""Captions that no router sees in training: those that `choose.py` chooses with."""
AT_ONCE = 32


@dataclass(frozen=True)
class Conditions:
    """Arguments of the transformer that say what to draw.

    Args:
        rows (`dict[str, Tensor]`): Each argument with one row a caption or class.
        empty (`dict[str, Tensor]`): The same with one row: nothing asked for. Empty for a model without guidance.
        constant (`dict`): Arguments that are the same in every call.
    """

    rows: dict[str, Tensor]
    empty: dict[str, Tensor]
    constant: dict[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    @property
    def guided(self) -> bool:
        """Whether a call has a row without a caption for each one with."""
        return bool(self.empty)

    def pick(self, index: Tensor, dropped: Tensor | None = None) -> dict[str, Any]:
        """The arguments for these captions; nothing asked for where `dropped` is true, if the model can do so."""
        chosen = {name: rows[index.to(rows.device)] for name, rows in self.rows.items()}
        if dropped is not None and self.guided:
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


@dataclass(frozen=True)
class FirstCall:
    """A pipeline's first call of its transformer in a generation.

    Args:
        arguments (`dict`): Of the transformer, by name.
        latents (`Tensor`): Among them, as the scheduler hands them on, one row a sample.
        scheduler: A copy of the pipeline's, as it has set it.
    """

    arguments: dict[str, Any]
    latents: Tensor
    scheduler: Any


@dataclass(frozen=True)
class Beginning:
    """Where generations begin: `conditions`, and of one of them `latents` (1, ...) and `scheduler`."""

    conditions: Conditions
    latents: Tensor
    scheduler: Any


class _Reached(Exception):
    """The pipeline has come to its transformer."""


def split_prompts(prompts: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Captions to train with, to choose with and to measure with, in an order that is always the same."""
    shuffled = random.Random(0).sample(prompts, len(prompts))
    measured = min(HELD_OUT, len(prompts) // 4)
    chosen = measured + min(CHOICE, len(prompts) // 8)
    return shuffled[chosen:], shuffled[measured:chosen], shuffled[:measured]


@torch.no_grad()
def beginning_of(pipe: Any, prompts: list[str], settings: Mapping[str, Any]) -> Beginning:
    """What a pipeline makes of captions; of every class it was trained on for a class-conditional one.

    Args:
        pipe: A stock pipeline.
        prompts (`list[str]`): The captions.
        settings (`dict`): The other arguments of its call.

    Raises:
        ValueError: If it needs captions and there are none, or calls the transformer in a way that is not known here.
    """
    asked = what_to_draw(pipe, prompts)
    if not asked:
        raise ValueError("There are no captions to train with: give a file with one a line as --prompts.")
    parts = [asked[i : i + AT_ONCE] for i in range(0, len(asked), AT_ONCE)]
    calls = [first_call(pipe, part, settings) for part in track(parts, "reading captions")]
    spec = known_family(pipe.transformer)
    made = [_conditions(pipe, spec, call, len(part)) for call, part in zip(calls, parts, strict=True)]
    rows = {name: torch.cat([one.rows[name] for one in made]) for name in made[0].rows}
    conditions = _without_padding(Conditions(rows, made[0].empty, made[0].constant))
    return Beginning(conditions, calls[0].latents[:1], calls[0].scheduler)


def what_to_draw(pipe: Any, prompts: list[str]) -> Sequence[Any]:
    """`prompts`; for a class-conditional pipeline the numbers of its classes, of its whole table if it names none."""
    if "class_labels" not in inspect.signature(type(pipe).__call__).parameters:
        return prompts
    return sorted(set(pipe.labels.values())) or range(pipe.transformer.config.num_embeds_ada_norm)


def settings_of_call(
    pipe: Any, num_inference_steps: int, guidance_scale: float, size: int | None = None
) -> dict[str, Any]:
    """The arguments of a pipeline's call beside what to draw; pictures of `size` x `size` pixels, or of the size that
    suits the model."""
    given = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
    given |= {} if size is None else {"height": size, "width": size}
    return {**call_defaults(pipe), **given}


def asking_for(pipe: Any, asked: Sequence[Any]) -> dict[str, Any]:
    """What to draw, as an argument of the pipeline's call."""
    labelled = "class_labels" in inspect.signature(type(pipe).__call__).parameters
    return {"class_labels" if labelled else "prompt": list(asked)}


def first_call(pipe: Any, asked: Sequence[Any], settings: Mapping[str, Any], **more: Any) -> FirstCall:
    """Have a pipeline begin a generation, up to its transformer."""
    spec, found = known_family(pipe.transformer), []
    names = tuple(inspect.signature(type(pipe.transformer).forward).parameters)[1:]

    def reached(_: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        arguments = {**dict(zip(names[: len(args)], args, strict=True)), **kwargs}
        latents = arguments[spec.latents][: len(asked)]
        found.append(FirstCall(arguments, latents, copy.deepcopy(pipe.scheduler)))
        raise _Reached

    hook = pipe.transformer.register_forward_pre_hook(reached, with_kwargs=True)
    try:
        pipe(**asking_for(pipe, asked), **settings, **more)
    except _Reached:
        return found[0]
    finally:
        hook.remove()
    raise ValueError(f"{type(pipe).__name__} does not call its transformer.")


def _conditions(pipe: Any, spec: FamilySpec, call: FirstCall, count: int) -> Conditions:
    """The arguments of a first call, those with a row a sample apart from the others."""
    batch = len(call.arguments[spec.latents])
    branches = batch // count
    if batch != branches * count or branches > 2 or (branches == 1 and _guides(pipe)):
        raise ValueError(
            f"{type(pipe).__name__} calls its transformer once for each branch of guidance: routers are trained for "
            "pipelines that call it once a step."
        )
    rows, constant = {}, {}
    for name, value in call.arguments.items():
        if name in (spec.latents, spec.timestep):
            continue
        if name in spec.batched and isinstance(value, Tensor) and len(value) == batch:
            rows[name] = value
        elif _holds_tensors(value) and name not in spec.whole:
            raise ValueError(f"Routers cannot be trained with `{name}`, which this {type(pipe).__name__} passes on.")
        else:
            constant[name] = value
    if branches == 1:
        return Conditions(rows, {}, constant)
    first, second = ({name: part.chunk(2)[i] for name, part in rows.items()} for i in range(2))
    wanted, empty = (second, first) if spec.conditional_half else (first, second)
    return Conditions(wanted, {name: part[:1] for name, part in empty.items()}, constant)


def _guides(pipe: Any) -> bool:
    return bool(getattr(pipe, "do_classifier_free_guidance", False))


def _holds_tensors(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else (value,)
    return any(isinstance(part, Tensor) for part in parts)


def _without_padding(conditions: Conditions) -> Conditions:
    """The same without the tokens of text that are masked in every caption: they only cost time."""
    hidden, masked = "encoder_hidden_states", "encoder_attention_mask"
    mask = conditions.rows.get(masked)
    if mask is None or mask.ndim != 2:
        return conditions
    both = torch.cat([mask, conditions.empty.get(masked, mask[:0])])
    seen = (both > 0).any(0).nonzero().flatten()
    rows, empty = (
        {name: part[:, seen] if name in (hidden, masked) else part for name, part in parts.items()}
        for parts in (conditions.rows, conditions.empty)
    )
    return Conditions(rows, empty, conditions.constant)
