"""A card: the README.md of a folder or repository, with what the hub wants to know of it at its head."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ..checks import cleaned
from ..files.reading import parse_yaml
from .sources import is_hub_id

LIBRARY = "toca"
RULE = "---"
_HEAD = re.compile(r"\A\s*---[ ]*\r?\n(.*?)^---[ ]*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """Figures of a card.

    Args:
        about (`str`): What they are.
        head (`Sequence[str]`): The columns.
        rows (`Sequence[Sequence[str]]`): The cells, a row each.
    """

    about: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Card:
    """What is said of something that is shared.

    Args:
        kind (`str`): What it is: plan, front, calibration, router.
        family (`str`): Of models.
        model (`str`): What its maker called the model; empty where that is not known.
        about (`str`): A paragraph.
        facts (`Mapping[str, str]`): What it was made from and for, by name.
        use (`str`): Further arguments of `toca.enable_cache`, as Python.
        tables (`Sequence[Table]`, *optional*): Figures.
        quality (`Sequence[tuple[str, float]]`, *optional*): PSNR in decibels on held-out prompts, each with what for.
    """

    kind: str
    family: str
    model: str
    about: str
    facts: Mapping[str, str]
    use: str = ""
    tables: Sequence[Table] = ()
    quality: Sequence[tuple[str, float]] = ()


def card_text(card: Card, where: str, base_model: str | None, picture: str | None, there: str = "") -> str | None:
    """The text of a README.md.

    Args:
        card (`Card`): What is said.
        where (`str`): The folder or repository.
        base_model (`str`, *optional*): The hub's name of the model; what the card says by default.
        picture (`str`, *optional*): The file of the drawing.
        there (`str`, *optional*): The README.md that is there already. Of a card of ours, or one without a text, the
            metadata are kept that we do not write.

    Returns:
        `str` or `None`: `None` where the one that is there is somebody else's, and stays.
    """
    head, body = _parted(there)
    if body.strip() and head.get("library_name") != LIBRARY:
        return None
    model = card.model if base_model is None else base_model
    metadata = _merged(head, _metadata(card, where, model))
    said = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return f"{RULE}\n{said}{RULE}\n\n{_body(card, where, model, picture)}"


def _merged(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata that somebody has added to a card stay; figures of an earlier one do not."""
    kept = {key: value for key, value in theirs.items() if key != "model-index"}
    tags = kept.get("tags")
    return {**kept, **ours, "tags": list(dict.fromkeys([*ours["tags"], *(tags if isinstance(tags, list) else [])]))}


def _metadata(card: Card, where: str, model: str) -> dict[str, Any]:
    """What the hub reads; a model that is none of the hub's it would refuse."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="other",
            task_name="caching of a diffusion transformer",
            dataset_type="prompts",
            dataset_name="held-out prompts",
            metric_type="psnr",
            metric_name=f"PSNR to the full run in dB, {what}",
            metric_value=round(psnr, 2),
        )
        for what, psnr in card.quality
    ]
    data = ModelCardData(
        library_name=LIBRARY,
        base_model=model if is_hub_id(model) else None,
        tags=[LIBRARY, f"{LIBRARY}-{card.kind}", "diffusion", "caching", card.family],
        model_name=_name(where) if results else None,
        eval_results=results or None,
    )
    return data.to_dict()


def _body(card: Card, where: str, model: str, picture: str | None) -> str:
    name = cleaned(model) or f"a {card.family} model"
    parts = [f"# A {card.kind} of {name} for toca", card.about]
    if picture is not None:
        parts.append(f"![{card.kind} of {name}]({picture})")
    parts.append("\n".join(f"- **{what}**: {said}" for what, said in card.facts.items()))
    parts += [f"{table.about}\n\n{_table(table)}" for table in card.tables]
    parts.append(f"## Use\n\n```python\n{_use(card, where, model)}\n```")
    parts.append(
        "It fits one model, and where it was made from runs of one, one scheduler and its steps; for any other toca "
        "refuses it and says why. It is data: nothing in this repository is run."
    )
    return "\n\n".join(parts) + "\n"


def _use(card: Card, where: str, model: str) -> str:
    lines = ["import toca", "from diffusers import DiffusionPipeline", ""]
    if not is_hub_id(model):
        lines[1] = "from toca.pipelines import load"
    loader = "DiffusionPipeline.from_pretrained" if is_hub_id(model) else "load"
    loaded = f"{loader}({json.dumps(cleaned(model) or 'MODEL')})"
    return "\n".join([*lines, f"pipe = {loaded}", f"toca.enable_cache(pipe, {json.dumps(where)}{card.use})"])


def _table(table: Table) -> str:
    rows = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


def _name(where: str) -> str:
    return where.rstrip("/").rpartition("/")[2]


def _parted(text: str) -> tuple[dict[str, Any], str]:
    """The metadata of a README.md, and what follows them; all of it is text where they cannot be read."""
    found = _HEAD.match(text)
    if found is None:
        return {}, text
    try:
        head = parse_yaml(found[1])
    except ValueError:
        return {}, text
    return (head, text[found.end() :]) if isinstance(head, dict) else ({}, text)
