"""Plans that say what they were made from, and fronts made by hand, of the tiny models and pipelines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import toca
from toca.plan import Plan
from toca.plan.origin import HeldOut, Origin
from toca.plan.schedulers import SchedulerMark

from .helpers import TINY

STEPS = 6
HELD_OUT = HeldOut(prompts=8, psnr=52.1, psnr_low=51.0, psnr_high=53.2, speedup=2.03)


def timesteps_of(scheduler: Any, steps: int = STEPS) -> tuple[float, ...]:
    """Of a scheduler of its own, so that the pipeline's stays as it is."""
    own = type(scheduler).from_config(scheduler.config)
    own.set_timesteps(steps)
    return tuple(float(timestep) for timestep in own.timesteps)


def origin_of(scheduler: Any, steps: int = STEPS, **fields: Any) -> Origin:
    """Where a plan comes from that was made with a scheduler."""
    said: dict[str, Any] = {
        "scheduler": SchedulerMark.of(scheduler),
        "timesteps": timesteps_of(scheduler, steps),
        "reference_steps": STEPS,
        "prompts": 12,
        "prompts_sha256": "ab" * 32,
        "seeds": (0,),
        "held_out": HELD_OUT,
        "version": "0.1.0",
    }
    return Origin(**said | fields)


def tuned_plan(family: str, scheduler: Any, steps: int = STEPS, interval: int = 2, transformer: Any = None) -> Plan:
    """A plan of every second step that says it was made with a scheduler."""

    model = TINY[family]() if transformer is None else transformer
    return replace(toca.FORA(interval=interval).plan(model, steps), origin=origin_of(scheduler, steps))
