"""What the card of a calibration says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checks import cleaned
from ..sharing.card import Card


def calibration_card(
    method: str, family: str, num_inference_steps: int, scheduler: str, made_with: Mapping[str, Any]
) -> Card:
    """The card of a calibration, from its fields."""
    facts = {"method": cleaned(method, 60), "steps": str(num_inference_steps)}
    if scheduler:
        facts["scheduler"] = cleaned(scheduler, 60)
    prompts = made_with.get("prompts")
    if isinstance(prompts, (list, tuple)):
        facts["prompts"] = str(len(prompts))
    for name in ("guidance_scale", "height", "width"):
        if name in made_with:
            facts[name.replace("_", " ")] = cleaned(str(made_with[name]), 60)
    about = (
        f"What {cleaned(method, 60)} must know of a model before it can cache it, measured in runs of the full model. "
        "The picture shows it, and what the method makes of it by default."
    )
    return Card("calibration", family, str(made_with.get("model", "")), about, facts)
