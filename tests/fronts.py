"""Plans that say what they were made from, and fronts made by hand, of the tiny models and pipelines."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import toca
from toca.plan import Plan
from toca.plan.front import Front
from toca.plan.front_parts import Entry, Fewer, Rule, Searched
from toca.plan.origin import HeldOut, Origin
from toca.plan.schedulers import SchedulerMark

from .calibrated import folder
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


def entry_of(plan: Plan, speedup: float, psnr: float, **fields: Any) -> Entry:
    """A plan of a front whose full run takes a second."""
    said: dict[str, Any] = {
        "seconds": 1 / speedup,
        "psnr_low": psnr - 1,
        "psnr_high": psnr + 1,
        "cache_bytes": 1000 * plan.full_steps,
        "measured": True,
    }
    return Entry(plan=plan, speedup=speedup, psnr=psnr, **said | fields)


def front_of(model: Any, scheduler: Any, steps: int = STEPS, **fields: Any) -> Front:
    """A front of a transformer, or of a family's tiny one, made by hand: the full run, every second and third step of
    it, hardly any, and one of fewer steps."""
    model = TINY[model]() if isinstance(model, str) else model
    fewer = steps - 2
    plans = {interval: toca.FORA(interval=interval).plan(model, steps) for interval in (1, 2, 3, 6)}
    entries = (
        entry_of(plans[1], 1.0, math.inf, psnr_low=math.inf, psnr_high=math.inf),
        entry_of(plans[2], 1.6, 60.0),
        entry_of(plans[3], 2.1, 55.0, measured=False),
        entry_of(plans[6], 3.4, 45.0),
        # Both slower and worse than another one.
        entry_of(toca.FORA(interval=2).plan(model, fewer), 2.05, 50.0, cache_bytes=500),
    )
    said: dict[str, Any] = {
        "scheduler": SchedulerMark.of(scheduler),
        "num_inference_steps": steps,
        "full_seconds": 1.0,
        "entries": entries,
        "searched": Searched.of(["a red owl", "a green cat"], (0,), held_out=8),
        "schedules": tuple(timesteps_of(scheduler, each) for each in (steps, fewer)),
        "fewer": (Fewer(4, 1.5, 50.0), Fewer(3, 2.0, 44.0), Fewer(2, 3.0, 30.0)),
        "rules": (Rule("teacache", "threshold", {}, ((0.1, 1.5, 50.0), (0.3, 2.2, 47.0), (0.9, 3.0, 35.0))),),
        "made_with": {"model_calls": 600, "seconds": 75.5, "model": "tiny"},
        "versions": {"toca": "0.1.0"},
    }
    return Front(**said | fields)


def tuned(family: str, steps: int, scheduler: Any, **fields: Any) -> Any:
    """The method with a front of a family's tiny model, for a number of steps and a scheduler, whose timesteps it does
    not know: bare transformers have none."""
    return toca.Tuned(front=_saved(family, steps, type(scheduler)), **fields)


@functools.cache
def _saved(family: str, steps: int, scheduler: type) -> str:
    path = Path(folder().name) / f"{family}-{scheduler.__name__}-{steps}-front.json"
    front_of(family, scheduler(), steps, schedules=()).save(path)
    return str(path)
