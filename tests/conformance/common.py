"""Methods, runs and stand-ins that the tests of the promises share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

import toca
from toca.methods.calibrated import Calibrated
from toca.registry import field_types

from ..calibrated import calibrated, routed
from ..fronts import tuned
from ..helpers import FAMILIES, Inputs, relative_error, run_steps

STEPS = 8
PRESETS = {"dit": "toca/dit-ddim50", "pixart": "toca/pixart", "flux": "toca/flux", "latte": "toca/opensora"}
GENERIC: dict[str, Any] = {
    "shared": toca.ToCa(interval=3, fresh_ratio=0.4, shared_cfg=True),
    "value": toca.ToCa(interval=4, fresh_ratio=0.25, score="value_norm", bonus_patch=0),
    "self": toca.ToCa(interval=3, fresh_ratio=0.3, score="self_attention", bonus_patch=3),
    "fora": toca.FORA(interval=3),
    "random": toca.RandomTokens(interval=3, fresh_ratio=0.3),
    "duca": toca.DuCa(interval=4, fresh_ratio=0.3, score="random"),
    "forecast": toca.TaylorSeer(interval=3, order=2, spacing="divided"),
    "forecast-blocks": toca.TaylorSeer(interval=3, order=1, scope="block"),
    "forecast-output": toca.TaylorSeer(interval=3, order=1, scope="lite"),
    # Gates that let every step be filled that they may; what they decide is tested in test_gates.py.
    "gate": toca.FBCache(threshold=1e9),
    "gate-input": toca.TeaCache(threshold=1e9),
    "gate-model": toca.EasyCache(threshold=1e9, warmup_steps=2),
    "composed": toca.CacheMethod(
        when=toca.FORA(interval=4), which=toca.RandomTokens(fresh_ratio=0.3), fill=toca.TaylorSeer(order=1)
    ),
    "none": toca.NoCache(),
}
# What the others of the registry are run with: on models of a few blocks, in a few steps, their defaults skip nothing.
# A method that is not here is run as it is, and a gate with a `threshold` lets every step pass.
SMALL: dict[str, dict[str, Any]] = {
    "clusca": {"interval": 3, "clusters": 8, "warmup_steps": 1},
    "adacache": {"codebook": ((1.0, 100),), "cooldown_steps": 1},
    "coast": {"interval": 3, "warmup_steps": 2},
    # In one process; over several it is tested in test_asyncdiff.py.
    "asyncdiff": {"simulate": True},
    "blockdance": {"blocks": 1, "start": 0.2, "warmup_steps": 2, "cooldown_steps": 1},
    "dbcache": {"first_blocks": 1, "warmup_steps": 2},
    "delta-dit": {"blocks": 1, "switch": 4},
    # From the fifth step on there are snapshots enough.
    "dmd": {"interval": 3, "warmup_steps": 5},
    "fastercache": {"first_call": 3},
    "freqca": {"interval": 3, "warmup_steps": 2},
    "hicache": {"interval": 3, "order": 1},
    # Its router's scores are drawn between 0 and 1.
    "learned": {"threshold": 0.6},
    "lemica": {"full_steps": (0, 1, 4, 6), "num_inference_steps": STEPS},
    "magcache": {"threshold": 0.6},
    "meancache": {"full_steps": (0, 1, 3, 6), "num_inference_steps": STEPS, "look_back": (1, 2, 3, 1)},
    "budcache": {"budget": 4},
    # Bare transformers have no scheduler that tells timesteps.
    "pab": {"window": (-1.0, 1001.0)},
    "ras": {"warmup_steps": 2, "dense_steps": (5,)},
    "scalingcache": {"warmup_steps": 2, "threshold": 2.5},
    "smoothcache": {"alpha": 0.8},
    # Drafts that are not verified cost what the plan says; those that are, are tested in test_gates.py.
    "speca": {"min_drafts": 6, "max_drafts": 100, "warmup_steps": 2},
    # Its regression with much of a ridge draws to 0, and does not continue what stands still.
    "spectrum": {"degree": 1, "ridge": 1e-6},
    # What it makes of guidance is tested in test_static_methods.py.
    "tgate": {"gate_step": 6, "warm_up": 1, "fi_interval": 2, "drop_guidance": False},
}
_GENERIC_TYPES = {type(method) for method in GENERIC.values()}
REGISTERED = tuple(name for name, cls in toca.methods().items() if cls not in _GENERIC_TYPES)
METHODS = ("preset", *GENERIC, *REGISTERED)
CACHING = tuple(name for name in METHODS if name != "none")


def _of_one_length(name: str) -> bool:
    """Whether a method belongs to one number of steps: those with a file of a model, or a list of full steps."""
    cls = toca.methods().get(name)
    return name in REGISTERED and cls is not None and bool(cls.files or "num_inference_steps" in field_types(cls))


ANY_LENGTH = tuple(name for name in CACHING if not _of_one_length(name))

every_family = pytest.mark.parametrize("family", FAMILIES)
every_method = pytest.mark.parametrize("name", METHODS)
caching_method = pytest.mark.parametrize("name", CACHING)
method_of_any_length = pytest.mark.parametrize("name", ANY_LENGTH)
both_dtypes = pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16), ids=("float32", "bfloat16"))


def method_of(family: str, name: str) -> Any:
    """A method object: the family's published setting, one of GENERIC, or one of the registry."""
    if name == "preset":
        return toca.preset(PRESETS.get(family, "toca/dit-ddim50"))
    return GENERIC[name] if name in GENERIC else registered(family, name)


def runs_on(family: str, name: str) -> bool:
    """Whether a method of the registry, by its name, runs on the models of a family."""
    return toca.methods()[name]().runs_on(toca.models.FAMILIES[family])


def fits_scheduler(method: Any, family: str) -> bool:
    """Whether a method runs with the scheduler that the family's pipeline comes with."""
    try:
        method.check_scheduler(scheduler_for(family))
    except ValueError:
        return False
    return True


def registered(family: str, name: str) -> Any:
    """A method of the registry with its settings for small models, and with the file that it needs."""
    cls = toca.methods()[name]
    if not runs_on(family, name):
        pytest.skip(f"{name} does not run on {family} models")
    fields = dict(SMALL.get(name, {}))
    if "threshold" in field_types(cls) and not cls.files:
        fields.setdefault("threshold", 1e9)
    if issubclass(cls, Calibrated):
        return calibrated(family, name, STEPS, **fields)
    if issubclass(cls, toca.LearnedRouter):
        return routed(family, STEPS, scheduler_for(family), **fields)
    if issubclass(cls, toca.Tuned):
        return tuned(family, STEPS, scheduler_for(family), **fields)
    if not fits_scheduler(cls(**fields), family):
        pytest.skip(f"{name} does not run with the schedulers of {family} pipelines")
    return cls(**fields)


def cached_run(transformer: nn.Module, method: Any, inputs: Inputs, **options: Any) -> list[Tensor]:
    """One generation of a bare transformer with the cache on; the transformer is handed back clean."""
    with toca.cached(transformer, method, num_inference_steps=len(inputs), **options):
        return run_steps(transformer, inputs)


def assert_equal(got: list[Tensor], wanted: list[Tensor]) -> None:
    """Bitwise, step by step."""
    assert len(got) == len(wanted)
    wrong = [i for i, (a, b) in enumerate(zip(got, wanted, strict=True)) if not torch.equal(a, b)]
    assert not wrong, f"steps {wrong} differ, the first by {relative_error(got[wrong[0]], wanted[wrong[0]]):.1e}"


def assert_close(got: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-5) -> None:
    """Step by step, relative to each step's largest value."""
    errors = [relative_error(a, b) for a, b in zip(got, wanted, strict=True)]
    assert max(errors) < tolerance, f"relative errors by step: {[f'{error:.1e}' for error in errors]}"


def differ(got: list[Tensor], wanted: list[Tensor]) -> bool:
    """Whether any step differs: what makes sure that a comparison had something to find."""
    return any(not torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


class PipelineLike:
    """The least of a pipeline: a scheduler, and components that hold one or two transformers."""

    def __init__(self, scheduler: Any, *transformers: nn.Module):
        self.scheduler = scheduler
        self.transformers = transformers

    @property
    def components(self) -> dict[str, Any]:
        transformers = {f"transformer_{i}": module for i, module in enumerate(self.transformers)}
        return transformers | {"scheduler": self.scheduler}

    def steps(self, num_inference_steps: int, first: int = 0) -> Iterator[tuple[int, Tensor]]:
        """Yield (position, timestep); the scheduler is stepped after each, as the loop of every pipeline does."""
        self.scheduler.set_timesteps(num_inference_steps)
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(first)
        latents = torch.zeros(1, 4, 2, 2)
        for position in range(first, num_inference_steps):
            timestep = self.scheduler.timesteps[position]
            yield position, timestep
            latents = self.scheduler.step(torch.ones_like(latents), timestep, latents, return_dict=False)[0]


def scheduler_for(family: str) -> Any:
    """The kind the family's pipeline comes with."""
    makers: dict[str, Callable[[], Any]] = {
        "flux": FlowMatchEulerDiscreteScheduler,
        "pixart": DPMSolverMultistepScheduler,
    }
    return makers.get(family, DDIMScheduler)()


def at(call: dict[str, Any], timestep: Tensor) -> dict[str, Any]:
    """A call's arguments at the scheduler's timestep; FLUX is told thousandths."""
    wanted = call["timestep"]
    value = timestep / 1000 if "guidance" in call else timestep
    return call | {"timestep": value.expand(wanted.shape).to(wanted.dtype)}
