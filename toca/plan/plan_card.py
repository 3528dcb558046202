"""What the card of a plan says."""

from __future__ import annotations

from ..checks import cleaned
from ..sharing.card import Card
from .cost import Cost
from .table import PlanTable


def plan_card(plan: PlanTable, cost: Cost) -> Card:
    """The card of a plan, with what it costs."""
    origin = plan.origin
    facts = {
        "method": cleaned(plan.method, 60),
        "steps": f"`{plan.steps}`, {plan.full_steps} of {plan.num_inference_steps} full",
        "FLOPs": f"{cost.speedup_text} fewer in a generation",
        "kept between steps": f"{cost.cache_bytes / 2**20:.2f} MiB for one sample",
    }
    if origin is not None:
        facts["scheduler"] = cleaned(origin.scheduler.name, 60)
        facts["made from"] = f"{origin.prompts} prompts, beside the full run in {origin.reference_steps} steps"
    held_out = None if origin is None else origin.held_out
    if held_out is not None:
        facts["on prompts that it was not made from"] = f"{held_out} by the clock of the machine that made it"
    about = (
        "What each block of the transformer computes, and what it reuses, in each denoising step. One letter a step: "
        "`F` all computed, `t` some tokens, `y` forecast, `a` blocks left out, `l` run for the next step, `r` all "
        "reused, `m` some of each."
    )
    quality = () if held_out is None else ((f"{held_out.speedup:.2f}x as fast", held_out.psnr),)
    return Card("plan", plan.layout.family, "", about, facts, quality=quality)
