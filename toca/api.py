"""Switching a cache on and off, and reading what it did."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from os import PathLike
from typing import Any, TypeVar

import torch
from torch import nn

from .checks import Count, SomeSteps, checked
from .engine.callers import IN_SCOPE, Caller
from .engine.engine import Engine
from .engine.holding import Holding
from .engine.install import engine_of, install, remove
from .engine.other_caches import other_cache, refuse_other_cache
from .engine.summary import Summary, summarize
from .kernels.narrow import cache_dtype_of
from .methods import Method
from .methods.called import called
from .methods.presets import DEFAULT, default_for, foreign_to
from .models import Layout, family_of, known_family, no_family
from .models.fingerprint import fingerprint
from .plan import Plan
from .plan.kept import cache_device_of
from .plan.table import PlanTable
from .tuning.budget import method_for

logger = logging.getLogger(__name__)

Target = TypeVar("Target")


def enable_cache(
    target: Target,
    method: Method | Plan | str | PathLike | None = None,
    *,
    speedup: float | None = None,
    num_inference_steps: int | None = None,
    batched_cfg: bool | None = None,
    cache_dtype: torch.dtype | str | None = None,
    cache_device: torch.device | str | None = None,
    max_cache_bytes: int | None = None,
) -> Target:
    """Accelerate a pipeline or a transformer.

    A cache is a transformer's: pipelines that share one (`from_pipe`) share its cache, and a transformer that is taken
    out of its pipeline keeps it. A copy (`copy.deepcopy`, `pickle`, `save_pretrained`) is the model without a cache.
    Processors and modules may be exchanged while it is on: the next generation takes them up.

    Args:
        target (`DiffusionPipeline` or `nn.Module`): A stock diffusers pipeline, or its transformer. A pipeline with
            two transformers gets both.
        method (`Method`, `Plan`, `str` or `PathLike`, *optional*): A method, the name of one or of a preset (see
            `toca.methods` and `toca.presets`), or a plan. Where none or only `"toca"` is named it is ToCa, as
            published for the model's family; the summary says which setting that is. A calibration or a router that
            lies in the pipeline's folder is taken where one is named or needed. A preset of another family than the
            model's warns. A name that is no method's or preset's is that of a folder, else of a repository of the
            hub, with a plan, front, calibration or router that `save_pretrained` or `push_to_hub` wrote.
        speedup (`float`, *optional*): How many times as fast as the full run, at least, by the clock. The best plan of
            that speed is taken from the front that `toca.tune` made for this model, scheduler and number of steps,
            or that lies with the weights. With the name of a method that has a threshold: that method, with the
            threshold that the front has for it.
        num_inference_steps (`int`, *optional*): Number of calls in a generation, for a bare transformer (required
            there unless `method` is a plan). A pipeline's scheduler knows it; with a `speedup` it tells which front
            is meant where there are several.
        batched_cfg (`bool`, *optional*): Whether the two halves of a batch are the classifier-free-guidance branches
            of the same samples. Found out from a pipeline; a bare transformer means `False` unless told.
        cache_dtype (`torch.dtype` or `str`, *optional*): What features are kept in between steps: `"bf16"`, `"fp16"`,
            or `"fp8"`, eight bits (float8_e4m3fn) with a scale for each token. By default the dtype that the model
            computes in.
        cache_device (`torch.device` or `str`, *optional*): Where features are kept: `"cpu"` for the machine's memory,
            from which what a block needs is copied while the one before runs. By default the device that computes.
        max_cache_bytes (`int`, *optional*): Bytes that the cache of a transformer may take on the device that
            computes, all branches of guidance together; with `cache_device="cpu"` that is what is under way, and what
            is no feature. Where no `cache_dtype` is given it is the widest with which it fits. Sizes are known when a
            generation starts: if nothing fits, its first step raises `ValueError` with the numbers.

    Returns:
        `target`, with the cache on. Outputs are cached and reused only where gradients are disabled.

    Raises:
        ValueError: If the model is not of a supported family, a cache is already on (this library's or another's), a
            bare transformer comes without a step count, or the plan does not fit the model; for a `speedup` also if
            there is no front, which says what makes one, or nothing in it is so fast. Nothing is changed then.
        ConnectionError: If `method` is a repository of the hub, and the hub cannot be reached.
        RuntimeError: If another thread or task is within `toca.cached` on this model.

    Example:
        ```python
        toca.enable_cache(pipe)
        image = pipe("an owl standing on a telephone wire").images[0]
        print(toca.summary(pipe))
        ```
    """
    keeping = cache_dtype, cache_device, max_cache_bytes
    _put_on(target, method, speedup, num_inference_steps, batched_cfg, *keeping, scope=None)
    return target


def _put_on(
    target: Any,
    method: Method | Plan | str | PathLike | None,
    speedup: float | None,
    num_inference_steps: int | None,
    batched_cfg: bool | None,
    cache_dtype: torch.dtype | str | None,
    cache_device: torch.device | str | None,
    max_cache_bytes: int | None,
    scope: Caller | None,
) -> None:
    """What `enable_cache` does, and `cached` for as long as somebody is within its `scope`."""
    if isinstance(target, type):
        raise ValueError(f"`target` must be a pipeline or a transformer, got the class {target.__name__}.")
    num_inference_steps = checked(num_inference_steps, SomeSteps | None, "num_inference_steps")
    kept_in, kept_on = cache_dtype_of(cache_dtype), cache_device_of(cache_device)
    max_cache_bytes = checked(max_cache_bytes, Count | None, "max_cache_bytes")
    chosen = ""
    if speedup is not None:
        method, chosen = method_for(target, method, speedup, num_inference_steps)
    named_by = DEFAULT if method is None else method if isinstance(method, (str, PathLike)) else None
    if named_by is not None:
        method, chosen = called(named_by)
    method = _with_own_files(method, target, named_by is not None)
    if not isinstance(method, (Method, Plan)):
        given = f"the class {method.__name__}" if isinstance(method, type) else type(method).__name__
        raise TypeError(f"`method` must be a method, a plan or the name of a preset, got {given}.")
    batched_cfg = checked(batched_cfg, bool | None, "batched_cfg")
    pipeline = None if isinstance(target, nn.Module) else target
    done: list[nn.Module] = []
    transformers = _transformers(target)
    for note in _foreign(named_by, transformers):
        logger.warning(note)
    with _SWITCHING:
        try:
            for transformer in transformers:
                choice = default_for(known_family(transformer)) if named_by == DEFAULT else None
                own = method if choice is None else choice.method
                holding, turns = Holding(kept_in, max_cache_bytes, kept_on), len(transformers) > 1
                _enable_one(transformer, own, pipeline, num_inference_steps, batched_cfg, turns, holding, scope)
                done.append(transformer)
                _engine(transformer).chosen = chosen if choice is None else choice.about
        except BaseException:
            for transformer in done:
                remove(transformer)
            raise


_SWITCHING = threading.RLock()
"""Whoever looks whether a cache is on, and puts one on or takes it off, is alone with it."""


def _with_own_files(method: Any, target: Any, was_named: bool) -> Any:
    """The method with the calibration or router that lies in the folder of the pipeline. An object that can do
    without is what its maker wrote down."""
    folder = getattr(target, "name_or_path", None)
    takes_file = isinstance(method, Method) and (was_named or method.needs_file)
    return method.beside(folder) if takes_file and folder and not isinstance(target, nn.Module) else method


def _foreign(name: str | PathLike | None, transformers: list[nn.Module]) -> list[str]:
    """What to say where a preset was named that was made for another family."""
    specs = (family_of(transformer) for transformer in transformers)
    notes = (foreign_to(name, spec.name) for spec in specs if isinstance(name, str) and spec is not None)
    return [note for note in dict.fromkeys(notes) if note is not None]


def _enable_one(
    transformer: nn.Module,
    method: Method | Plan,
    pipeline: Any,
    num_inference_steps: int | None,
    batched_cfg: bool | None,
    takes_turns: bool,
    holding: Holding,
    scope: Caller | None,
) -> None:
    there = engine_of(transformer)
    if there is not None:
        if there.is_in_anothers_scope(Caller.current()):
            raise RuntimeError(IN_SCOPE)
        raise ValueError(
            "A toca cache is already on (a transformer has one, whichever pipeline it was put on through); call "
            "toca.disable_cache(target) first."
        )
    refuse_other_cache(transformer, "is already on")
    spec = known_family(transformer)
    counts_calls = getattr(pipeline, "scheduler", None) is None
    if counts_calls and num_inference_steps is None:
        num_inference_steps = getattr(method, "num_inference_steps", None)
        if num_inference_steps is None:
            raise ValueError("Without a scheduler the number of steps is unknown: pass `num_inference_steps`.")
    counted = num_inference_steps if counts_calls else None
    engine = Engine(transformer, spec, method, pipeline, counted, batched_cfg, takes_turns, holding)
    engine.scope = scope
    plan = engine.plans.plan_for(num_inference_steps or getattr(method, "num_inference_steps", None) or PROBE_STEPS)
    _check_model(plan, engine.layout)
    engine.plans.check_scheduler(engine.clock.scheduler)
    install(transformer, engine, plan)


def _check_model(plan: PlanTable, layout: Layout) -> None:
    """Refuse a plan of another model: by its sites, and where it was made from runs of a model by all that tells
    models apart."""
    if plan.layout.sites != layout.sites:
        raise ValueError(
            f"The plan is for a {plan.layout.family} model with {len(plan.layout.sites)} sites, and not for this "
            f"{layout.family} model with {len(layout.sites)} sites. Make a plan for this transformer."
        )
    difference = "" if plan.origin is None else fingerprint(plan.layout).difference(fingerprint(layout))
    if difference:
        raise ValueError(f"The plan was made {difference}. Make a plan for this transformer.")


PROBE_STEPS = 50
"""Before a pipeline runs its number of steps is unknown; a plan of this length shows what a method needs."""


def disable_cache(target: Target) -> Target:
    """Take the cache off, through whichever pipeline it was put on; the target is bitwise what it was. Does nothing
    where no cache is on. A call of the model that another thread has under way is waited for.

    Returns:
        `target`

    Raises:
        RuntimeError: If another thread or task is within `toca.cached`, whose cache it is.
    """
    _take_off(target, Caller.current())
    return target


def _take_off(target: Any, scope: Caller, leaves: bool = False) -> None:
    """What `disable_cache` does, and whoever leaves the `scope` of `cached`: it may do so in another thread than it
    came in, and leaves alone what somebody else has put on since."""
    for transformer in _transformers(target):
        engine = engine_of(transformer)
        if engine is None:
            continue
        if engine.is_in_anothers_scope(scope):
            if leaves:
                continue
            raise RuntimeError(IN_SCOPE)
        engine.ownership.close()
        with _SWITCHING:
            if engine_of(transformer) is engine:
                remove(transformer)


@contextlib.contextmanager
def cached(
    target: Target,
    method: Method | Plan | str | PathLike | None = None,
    *,
    speedup: float | None = None,
    num_inference_steps: int | None = None,
    batched_cfg: bool | None = None,
    cache_dtype: torch.dtype | str | None = None,
    cache_device: torch.device | str | None = None,
    max_cache_bytes: int | None = None,
) -> Iterator[Target]:
    """`enable_cache` for the length of a `with` block. However the block ends no cache is on then, also where another
    one was put on inside. Within another `cached` of the same target it is refused, and the outer one goes on.

    While one thread, or asyncio task, is within the block, the model is its own: another one that enters, or calls
    `enable_cache` or `disable_cache`, gets a `RuntimeError`. A server with settings for each request has one lock
    around the block and the calls in it, and lets requests without a cache in by `toca.NoCache()`.

    Raises:
        RuntimeError: If another thread or task is within `cached` of this model.
        ValueError: As `enable_cache`.
    """
    scope = Caller.current()
    keeping = cache_dtype, cache_device, max_cache_bytes
    _put_on(target, method, speedup, num_inference_steps, batched_cfg, *keeping, scope=scope)
    try:
        yield target
    finally:
        _take_off(target, scope, leaves=True)


def reset(target: Any) -> None:
    """Forget what is cached; the next call starts a generation.

    Raises:
        ValueError: If no cache is on.
    """
    for engine in _engines(target):
        engine.reset()


def summary(target: Any) -> Summary:
    """What the last generation did, or what the running one has done so far.

    Raises:
        ValueError: If no cache is on.
    """
    engines = _engines(target)
    method = engines[0].plans.method
    name = method.label if isinstance(method, Method) else method.method
    records = [(engine.record, list(engine.branches.values())) for engine in engines]
    return summarize(name, records, engines[0].chosen)


def plan_of(transformer: nn.Module) -> PlanTable | None:
    """The plan of the generation that runs or ran last; `None` before the first.

    Raises:
        ValueError: If no cache is on.
    """
    (engine,) = _engines(transformer)
    return engine.record.plan


def cache_on(transformer: nn.Module) -> str | None:
    """Whose cache is on a transformer, for a message; `None` where none is."""
    if engine_of(transformer) is not None:
        return "A toca cache"
    other = other_cache(transformer)
    return None if other is None else other.name


def _engines(target: Any) -> list[Engine]:
    return [_engine(transformer) for transformer in _transformers(target)]


def _engine(transformer: nn.Module) -> Engine:
    engine = engine_of(transformer)
    if engine is None:
        raise ValueError("No toca cache is on; call toca.enable_cache(target, method) first.")
    return engine


def _transformers(target: Any) -> list[nn.Module]:
    """The supported transformers of a target.

    Raises:
        ValueError: If there is none; it names the class that was found, and the reason.
    """
    if isinstance(target, nn.Module):
        candidates = [getattr(target, "_orig_mod", target)]
    else:
        components = getattr(target, "components", {})
        candidates = [getattr(c, "_orig_mod", c) for c in components.values() if isinstance(c, nn.Module)]
    found = list(dict.fromkeys(module for module in candidates if family_of(module) is not None))
    if not found:
        raise no_family(getattr(target, "_orig_mod", target))
    return found
