"""Recording a calibration: a stock pipeline runs, uncached, and a method's gauge looks on."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from ..calibration.file import Calibration
from ..calibration.gauges import MeasuredCall
from ..files.versions import version
from ..methods.calibrated import Calibrated
from ..models import FamilySpec, describe, family_of, no_family
from ..models.fingerprint import fingerprint
from ..plan.schedulers import SchedulerMark
from .branch_names import NOTHING
from .clock import make_clock
from .install import engine_of
from .other_caches import other_cache
from .tick import Tick
from .timesteps import Reading

PACKAGES = ("toca", "torch", "diffusers")


class Recorder:
    """Measures what a calibrated method needs to know of a model, in a `with` block in which the model runs as usual.

    Args:
        target (`DiffusionPipeline` or `nn.Module`): A stock pipeline, or a bare transformer.
        method: A method that is calibrated, as it is by default or with fields that say what to measure.
        num_inference_steps (`int`, *optional*): Calls in a generation, for a bare transformer.

    Raises:
        ValueError: If the model is of no supported family, or a cache is on.

    Example:
        ```python
        with Recorder(pipe, SmoothCache()) as recorder:
            for prompt in prompts:
                pipe(prompt, num_inference_steps=20)
        recorder.calibration().save("smoothcache.json")
        toca.enable_cache(pipe, SmoothCache("smoothcache.json"))
        ```
    """

    def __init__(self, target: Any, method: Calibrated, num_inference_steps: int | None = None):
        bare = isinstance(target, nn.Module)
        transformer = target if bare else getattr(target, "transformer", target)
        self.transformer: nn.Module = getattr(transformer, "_orig_mod", transformer)
        spec = family_of(self.transformer) if isinstance(self.transformer, nn.Module) else None
        if spec is None:
            raise no_family(target)
        if engine_of(self.transformer) is not None or other_cache(self.transformer) is not None:
            raise ValueError("A cache is on, and only the uncached model can be calibrated: take it off first.")
        if bare and num_inference_steps is None:
            raise ValueError("A bare transformer does not know its number of steps: pass `num_inference_steps`.")
        self.spec: FamilySpec = spec
        self.method, self.gauge = method, method.gauge()
        self.pipeline = None if bare else target
        self.clock = make_clock(self.pipeline, num_inference_steps, False, Reading.of(self.spec))
        self._argument_names = tuple(inspect.signature(type(self.transformer).forward).parameters)[1:]
        self._schedule: tuple[int, tuple[float, ...]] | None = None
        self._last: Tick | None = None
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Recorder:
        try:
            self._hooks.append(self.transformer.register_forward_pre_hook(self._before_call, with_kwargs=True))
            # One by one: should a later one fail, those before it are known.
            for hook in self.gauge.attach(self.transformer, self.spec):
                self._hooks.append(hook)
        except BaseException:
            self._remove_hooks()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self._remove_hooks()
        self.gauge.forget()

    def _remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _before_call(self, transformer: nn.Module, args: tuple, kwargs: dict) -> None:
        call = dict(zip(self._argument_names, args, strict=False)) | kwargs
        latents = self.spec.latents_of(call)
        if latents is None:
            raise ValueError("The samples of a call differ in size: calibrate with pictures of one size.")
        tick = self.clock.tick(NOTHING, call.get(self.spec.timestep), latents)
        shape = self.spec.call_shape(transformer, call)
        if tick.new_generation:
            self._start_generation(tick)
        self._last = tick
        self.gauge.call = MeasuredCall(tick.branch, tick.step, shape)

    def _start_generation(self, tick: Tick) -> None:
        self._check_ended()
        if tick.num_inference_steps < self.gauge.fewest_steps:
            raise ValueError(
                f"Calibrating for {self.method.name} takes {self.gauge.fewest_steps} steps or more, got "
                f"{tick.num_inference_steps}."
            )
        self.gauge.forget()
        schedule = tick.num_inference_steps, self.clock.timesteps_of_generation()
        if self._schedule not in (None, schedule):
            raise ValueError(
                f"A calibration is of one schedule: a generation of {self._schedule[0]} steps was followed by one of "
                f"{schedule[0]} steps with other timesteps."
            )
        self._schedule = schedule

    def _check_ended(self) -> None:
        if self._last is not None and self._last.step < self._last.num_inference_steps - 1:
            steps = self._last.num_inference_steps
            raise ValueError(f"A generation ended in step {self._last.step + 1} of {steps}: run it to its end.")

    def calibration(self, **made_with: Any) -> Calibration:
        """What was measured.

        Args:
            **made_with: What it was made of (prompts, guidance scale, size), to be noted in the file.

        Raises:
            ValueError: If no generation has run to its end, or the model gave no finite numbers.
        """
        if self._schedule is None:
            raise ValueError("Nothing has run yet: generate something in the recorder's `with` block.")
        self._check_ended()
        steps, timesteps = self._schedule
        scheduler = getattr(self.pipeline, "scheduler", None)
        return Calibration(
            method=self.method.name,
            model=fingerprint(describe(self.transformer, self.spec)),
            num_inference_steps=steps,
            curves=self.gauge.curves(steps),
            timesteps=timesteps,
            scheduler=None if scheduler is None else SchedulerMark.of(scheduler),
            made_with=made_with,
            versions={name: version(name) for name in PACKAGES},
        )
