"""What the card of a front says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..checks import cleaned, counted
from ..sharing.card import Card, Table
from .front_parts import Entry, Fewer, Searched, best_of
from .origin import IDENTICAL
from .schedulers import SchedulerMark

MOST_ROWS = 12
"""Plans in the table; the file has all."""


def front_card(
    entries: Sequence[Entry],
    fewer: Sequence[Fewer],
    scheduler: SchedulerMark,
    num_inference_steps: int,
    searched: Searched,
    made_with: Mapping[str, Any],
) -> Card:
    """The card of a front, from its fields."""
    best = _thinned(best_of(entries))
    facts = {
        "scheduler": cleaned(scheduler.name, 60),
        "steps of the full run": str(num_inference_steps),
        "searched on": f"{counted(searched.prompts, 'prompt')}, with {counted(len(searched.seeds), 'seed')}",
        "judged on": f"{counted(searched.held_out, 'prompt')} that the search did not see",
        "plans": str(len(entries)),
    }
    call = made_with.get("call")
    if isinstance(call, Mapping) and call:
        facts["called with"] = ", ".join(
            f"`{cleaned(str(name), 60)}={cleaned(str(v), 60)}`" for name, v in call.items()
        )
    tables = [_plans(best)] + ([_fewer(fewer)] if fewer else [])
    about = (
        "Plans of one model from slow and good to fast and less good: what each step computes, and with what the gaps "
        "are filled. Speed is of the denoising loop, by the clock of the machine that searched; PSNR is of float "
        "pictures, to those of the full run."
    )
    quality = [(f"{entry.speedup:.2f}x as fast", entry.psnr) for entry in best if entry.psnr < IDENTICAL]
    family = entries[0].plan.layout.family
    return Card("front", family, str(made_with.get("model", "")), about, facts, ", speedup=2", tables, quality)


def _thinned(entries: Sequence[Entry]) -> list[Entry]:
    """At most `MOST_ROWS` of them from all over, the first and the last among them."""
    last, most = len(entries) - 1, min(len(entries), MOST_ROWS)
    return [entries[round(i * last / max(1, most - 1))] for i in range(most)]


def _plans(best: Sequence[Entry]) -> Table:
    rows = [
        (f"{e.speedup:.2f}x", e.psnr_text, f"`{e.plan.steps}`", str(e.full_steps), f"{e.cache_bytes / 2**20:.2f}")
        for e in best
    ]
    return Table("The plans:", ("speed-up", "PSNR [95 %]", "steps", "full", "MiB kept"), rows)


def _fewer(fewer: Sequence[Fewer]) -> Table:
    rows = [(str(f.num_inference_steps), f"{f.speedup:.2f}x", f"{f.psnr:.1f} dB") for f in fewer]
    return Table("The full model in fewer steps, for comparison:", ("steps", "speed-up", "PSNR"), rows)
