"""`toca.tune`: a budget in, the best plan out."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ..checks import Seed, SomeSteps, check, checked
from ..methods import Method
from ..models import describe, known_family
from ..models.fingerprint import fingerprint
from ..plan.bounds import checked_bounds
from ..plan.front import Front
from ..plan.schedulers import SchedulerMark
from ..registry import named
from .notes import Notes
from .prompts import Parted, parted, prompts_beside
from .refusals import check_enough_steps, check_pipeline, transformer_of
from .rehearsal import Rehearsal
from .rule import with_knob
from .rules import tune_rules
from .saved import keep
from .search import Search

logger = logging.getLogger(__name__)


def tune(
    pipe: Any,
    prompts: Sequence[Any] | None = None,
    *,
    speedup: float | None = None,
    seconds: float | None = None,
    full_steps: int | None = None,
    min_psnr: float | None = None,
    max_cache_bytes: int | None = None,
    num_inference_steps: int | None = None,
    methods: Sequence[Any] = (),
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
    checkpoint: str | PathLike | None = None,
    **call: Any,
) -> Front:
    """Search for the plans that cost least quality, for every budget of time at once.

    A plan computes some steps in full and fills the others: with the model's output, with what the stack of blocks
    adds, with what leaves the last block or with each module's output, as it was or forecast. What each way to fill a
    segment does to the final latents is measured on the model itself, through its own scheduler; the best paths
    through all segments are found exactly (LeMiCa, arXiv 2511.00090; MeanCache, arXiv 2601.19961), then tried and
    moved about in whole runs. Times are those of this machine's clock.

    Args:
        pipe (`DiffusionPipeline`): A stock pipeline, with no cache on.
        prompts (`Sequence`, *optional*): What its call takes first, for one sample each: two or more. One half (at
            most 4) is searched on, the others (at most 8) tell the quality. By default 12 of those that lie with the
            model.
        speedup, seconds, full_steps, min_psnr, max_cache_bytes (*optional*): Bounds that a plan must meet, as for
            `Front.at`: refused at the end if none does. The front holds the plans for all others just as well.
        num_inference_steps (`int`, *optional*): Steps of the full run; the pipeline's default.
        methods (`Sequence`, *optional*): Methods that decide while the model runs, by name or with settings, whose
            thresholds are looked for too.
        seed (`int`, defaults to 0): Of the first sample's noise; the others have the numbers that follow.
        progress (`Callable`, *optional*): Is told the share that is done, about, and what is being done.
        checkpoint (`str` or `PathLike`, *optional*): A file that keeps what has been measured: a search that was
            stopped goes on from there.
        **call: Further arguments of the pipeline's call, such as `guidance_scale`, `height` and `width`.

    The front is kept in the user's folder (`$TOCA_CACHE`), where `toca.enable_cache(pipe, speedup=2)` finds it.

    Returns:
        `Front`: `front.at(speedup=2)`, `front.plan(speedup=2)`, `front.draw("front.png")`, `front.save("front.json")`.

    Raises:
        ValueError: If there are fewer than two prompts or four steps, a bound is out of range or met by nothing, a
            method has no threshold, the pipeline's runs differ from each other, or it has no scheduler whose steps can
            be told.

    Example:
        ```python
        front = toca.tune(pipe, ["an owl", "a red apple", "a lighthouse", "two foxes"])
        toca.enable_cache(pipe, front.plan(speedup=2))
        ```
    """
    asked = {"speedup": speedup, "seconds": seconds, "full_steps": full_steps, "min_psnr": min_psnr}
    bounds = {
        name: value for name, value in {**asked, "max_cache_bytes": max_cache_bytes}.items() if value is not None
    }
    if bounds:
        checked_bounds(bounds)
    steps = checked(num_inference_steps, SomeSteps | None, "num_inference_steps")
    seed = checked(seed, Seed, "seed")
    if steps is not None:
        check_enough_steps(steps)
    check(not isinstance(methods, (str, Method)), "methods", methods, "must be a list of methods")
    online = with_knob([named(method) if isinstance(method, str) else method for method in methods])
    say = progress or _say_nothing
    check_pipeline(pipe)
    check("generator" not in call, "generator", call.get("generator"), "must be left out: `seed` says the noise")
    taken = parted(prompts_beside(pipe) if prompts is None else prompts)
    notes = Notes(checkpoint, _subject(pipe, taken, steps, seed, call))
    seeds = itertools.count(seed)

    def rehearsal(prompts: list[Any]) -> Rehearsal:
        return Rehearsal(pipe, prompts, list(itertools.islice(seeds, len(prompts))), call)

    search = Search(
        rehearsal=rehearsal(taken.searched),
        held_out=rehearsal(taken.held_out),
        num_inference_steps=steps,
        notes=notes,
        progress=say,
        made_with={
            "model": _model_of(pipe),
            "call": {name: _plain(value) for name, value in call.items()},
            # An evaluation leaves them out.
            "prompts": [str(prompt) for prompt in taken.searched],
            "held_out": [str(prompt) for prompt in taken.held_out],
        },
    )
    try:
        front = search.front()
    except KeyboardInterrupt:
        notes.write()
        raise
    _keep(front, pipe)
    if online:
        say(1.0, "thresholds")
        rules = tune_rules(
            pipe,
            online,
            taken.searched,
            taken.held_out,
            num_inference_steps=front.num_inference_steps,
            call=call,
            seed=seed,
            told=lambda name, _: say(1.0, f"thresholds: {name} is found"),
        )
        front = dataclasses.replace(front, rules=rules)
        _keep(front, pipe)
    if bounds:
        front.at(**bounds)
    return front


def _keep(front: Front, pipe: Any) -> None:
    """Keep a front for later; what took minutes is not lost for a folder that cannot be written to."""
    try:
        keep(front, pipe)
    except OSError as error:
        logger.warning("`toca.enable_cache(pipe, speedup=...)` will not find this front: %s", error)


def _model_of(pipe: Any) -> str:
    """A hub's name of the model, or that of its folder: where a folder lies is nobody else's business."""
    name = str(getattr(pipe, "name_or_path", ""))
    return Path(name).name if Path(name).is_dir() else name


def _subject(pipe: Any, taken: Parted, steps: int | None, seed: int, call: dict[str, Any]) -> dict[str, Any]:
    """What a search is of, for its notes."""
    transformer = transformer_of(pipe)
    return {
        "model": str(getattr(pipe, "name_or_path", "")),
        "pipeline": type(pipe).__name__,
        "built": fingerprint(describe(transformer, known_family(transformer))).to_dict(),
        "dtype": str(transformer.dtype),
        "device": transformer.device.type,
        "scheduler": dataclasses.asdict(SchedulerMark.of(pipe.scheduler)),
        "num_inference_steps": steps,
        **{name: [str(prompt) for prompt in prompts] for name, prompts in vars(taken).items()},
        "seed": seed,
        "call": {name: _plain(value) for name, value in call.items()},
    }


def _plain(value: Any) -> Any:
    """An argument of the call as a file has it."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(type(value).__name__)


def _say_nothing(share: float, what: str) -> None:
    """Nobody wants to know."""
