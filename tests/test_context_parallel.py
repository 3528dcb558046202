"""Two processes on a CPU share the tokens of a model, by diffusers' context parallelism, with a cache on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import pytest
import torch
import torch.distributed as dist
from torch import nn

import toca
from toca.axes.selections.ranked import Ranked
from toca.axes.selections.ranked_group import RankedGroup
from toca.engine.ranks import Ranks, why_uneven
from toca.hooks.watch import Watch
from toca.models import CallShape, known_family
from toca.models.shape import CallKey

from .helpers import Inputs, inputs_for, tiny_flux
from .left_behind import left_behind
from .processes import forked, in_processes
from .zoo import EVERY

STEPS = 8
RANKS = 2
Model = tuple[nn.Module, Inputs]


@dataclass(frozen=True)
class InTurn(Ranked):
    """Every fourth token, the next ones in the next step: the same ones whoever has them."""

    name: ClassVar[str] = "in-turn-over-ranks"

    def score(self, group: RankedGroup, step: int) -> torch.Tensor:
        turn = ((torch.arange(group.tokens) + step) % 4).float()
        return turn.expand(len(group.sites), group.chosen_rows, -1)


@dataclass(frozen=True)
class Patchwork(toca.Method):
    """A quarter of the tokens of each feed-forward, in turn."""

    name: ClassVar[str] = "patchwork-over-ranks"

    def computes(self, site: toca.Site, step: int, sampling: toca.Sampling) -> bool:
        return step < 2

    def share(self, site: toca.Site, step: int, sampling: toca.Sampling) -> float | None:
        return 0.25 if site.module in ("ff", "mlp") else None

    def selection(self) -> toca.Selection:
        return InTurn()


@dataclass(frozen=True)
class Quarrel(toca.Gate):
    """Opens in odd steps, as far as the first process is concerned; the other one never wants to."""

    name: ClassVar[str] = "quarrel"

    def opens(self, now: toca.Observation) -> torch.Tensor:
        return torch.full((now.input.shape[0],), dist.get_rank() == 0 and now.step % 2 == 1)

    def observe(self, now: toca.Observation, computed: bool) -> None:
        return None

    def bytes_kept(self, sizes: Any) -> int:
        return 0


@dataclass(frozen=True)
class Quarrelling(toca.Method):
    name: ClassVar[str] = "quarrelling"

    def computes(self, site: toca.Site, step: int, sampling: toca.Sampling) -> bool:
        return step < 1

    def gate(self) -> toca.Gate:
        return Quarrel()


METHODS: dict[str, Callable[[], toca.Method]] = {
    "whole modules": lambda: toca.FORA(interval=2),
    "forecasts": toca.TaylorSeer,
    "the first block decides": lambda: toca.FBCache(threshold=0.6),
    "the modulated input decides": lambda: toca.TeaCache(threshold=0.6),
    "verified": toca.SpeCa,
    "a span from the first block on": lambda: toca.DeltaDiT(blocks=1),
    "tokens": Patchwork,
}
REFUSED: dict[str, Callable[[], toca.Method]] = {
    "measured": toca.ToCa,
    "dropped": toca.RAS,
    "mixed": toca.FreqCa,
    "shared out otherwise": toca.AsyncDiff,
}


def flux() -> Model:
    """Its tokens are shared out around the model, image and text; two images, which decide for themselves."""
    return tiny_flux(), inputs_for("flux", STEPS, batch_size=2)


def wan() -> Model:
    """Its tokens are shared out within the first block, and the text is not."""
    entry = EVERY["WanTransformer3DModel"]
    return entry.make(), entry.generation()


MODELS = (flux, wan)


def run(transformer: nn.Module, inputs: Inputs) -> list[torch.Tensor]:
    """Tuples are what diffusers' context parallelism can take apart."""
    with torch.no_grad():
        return [transformer(**{**call, "return_dict": False})[0] for call in inputs]


def share_out(transformer: Any) -> None:
    transformer.enable_parallelism(config=diffusers.ContextParallelConfig(ulysses_degree=RANKS))


def off_by(got: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    return max((g - w).abs().max().item() for g, w in zip(got, wanted, strict=True))


def told_by_all(value: Any) -> list[Any]:
    told: list[Any] = [None] * RANKS
    dist.all_gather_object(told, value)
    return told


def check(make: Callable[[], Model], method: toca.Method, cache_first: bool) -> None:
    """The outputs, decisions and costs of one process, in half of its memory."""
    transformer, inputs = make()
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        wanted, alone = run(transformer, inputs), toca.summary(transformer)
    steps: tuple[Callable[[], Any], ...] = (
        lambda: share_out(transformer),
        lambda: toca.enable_cache(transformer, method, num_inference_steps=STEPS),
    )
    for step in reversed(steps) if cache_first else steps:
        step()
    chosen: list[int] = []
    with Watch(transformer, lambda site, tokens: None if tokens is None else chosen.append(tokens.shape[-1])):
        got = run(transformer, inputs)
    shared = toca.summary(transformer)
    assert off_by(got, wanted) < 1e-5
    assert (shared.steps, shared.bypassed, shared.flops) == (alone.steps, 0, alone.flops)
    assert shared.flops < shared.flops_full and shared.cache_bytes < alone.cache_bytes
    assert len({tuple(each) for each in told_by_all(chosen)}) == 1
    assert bool(chosen) == isinstance(method, Patchwork)
    assert left_behind(transformer)
    toca.disable_cache(transformer)
    assert not left_behind(transformer)
    if isinstance(method, toca.FORA):
        assert off_by(run(transformer, inputs), run(make()[0], inputs)) < 1e-5


def check_refused(method: toca.Method) -> None:
    """When it is enabled; or, where parallelism comes later, when the next generation begins."""
    transformer, inputs = flux()
    share_out(transformer)
    with pytest.raises(ValueError, match="Context parallelism is on, and the plan"):
        toca.enable_cache(transformer, method, num_inference_steps=STEPS)
    assert not left_behind(transformer)
    transformer, inputs = flux()
    toca.enable_cache(transformer, method, num_inference_steps=STEPS)
    run(transformer, inputs)
    share_out(transformer)
    with pytest.raises(ValueError, match="Context parallelism is on, and the plan"):
        run(transformer, inputs)


def check_shares_of_modules() -> None:
    """A model that gives each feed-forward a share of the tokens by itself."""
    transformer: Any = wan()[0]
    plan = {"blocks.*.ffn": transformer._cp_plan["blocks.0"]}
    transformer.enable_parallelism(config=diffusers.ContextParallelConfig(ulysses_degree=RANKS), cp_plan=plan)
    with pytest.raises(ValueError, match="anew in each block"):
        toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
    assert not left_behind(transformer)


def check_settled() -> None:
    """One process that ran blocks which the other left out would wait for it until the end of time."""
    transformer, inputs = flux()
    share_out(transformer)
    with toca.cached(transformer, Quarrelling(), num_inference_steps=STEPS):
        run(transformer, inputs)
        assert told_by_all(toca.summary(transformer).steps) == ["FFrFrFrF"] * RANKS


def check_uneven() -> None:
    """Tokens that cannot be shared out evenly, or that nobody knows who has: such calls run in full."""
    transformer, _ = flux()
    share_out(transformer)
    ranks = Ranks.of(transformer, known_family(transformer))
    assert ranks is not None
    even = CallShape(1, 64, (8, 8), text_tokens=8, others=(("times", 1),))
    assert ranks.shape(even) == CallShape(1, 32, None, text_tokens=4, others=(("times", 1),))
    for other in ({"tokens": 63}, {"text_tokens": 7}, {"others": (("times", 64),)}, {"others": (("audio", 8),)}):
        shape = replace(even, **other)
        key = CallKey(ranks.shape(shape), torch.float32, torch.device("cpu"), around=shape)
        assert "run in full" in (why_uneven(key) or "")


def one_process(rank: int) -> None:
    # diffusers asks for the number of accelerators, and a CPU is none.
    torch.accelerator.device_count = lambda: 1  # type: ignore[assignment]
    diffusers.utils.logging.set_verbosity_error()
    for make in MODELS:
        for place, method in enumerate(METHODS.values()):
            check(make, method(), cache_first=bool(place % 2) == (make is flux))
    for method in REFUSED.values():
        check_refused(method())
    check_shares_of_modules()
    check_settled()
    check_uneven()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="diffusers would put the processes on accelerators")
@pytest.mark.skipif(not hasattr(diffusers, "ContextParallelConfig"), reason="a diffusers without context parallelism")
@forked
@pytest.mark.filterwarnings("ignore")
def test_two_processes(tmp_path: Path) -> None:
    in_processes(RANKS, one_process, tmp_path, "cpu:gloo")


@dataclass
class Weights:
    """What diffusers notes of tensor parallelism, which no CPU can have."""

    tensor_parallel_config: Any
    context_parallel_config: None = None


def test_weights_that_are_shared_out() -> None:
    transformer, inputs = flux()
    vars(transformer)["_parallel_config"] = Weights(object())
    with pytest.raises(ValueError, match="Tensor parallelism is on"):
        toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
    del transformer._parallel_config
    toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
    vars(transformer)["_parallel_config"] = Weights(object())
    with pytest.raises(ValueError, match="Tensor parallelism is on"):
        run(transformer, inputs)
