"""A user's program, for the type checker only: every public name of toca with the type that users rely on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

import toca

if TYPE_CHECKING:
    from typing_extensions import assert_type


def switching(transformer: nn.Linear, pipeline: list[int]) -> None:
    assert_type(toca.enable_cache(transformer, "toca/pixart"), nn.Linear)
    assert_type(toca.enable_cache(pipeline, toca.FORA(), num_inference_steps=20, batched_cfg=True), list[int])
    assert_type(toca.disable_cache(transformer), nn.Linear)
    with toca.cached(transformer, toca.ToCa(interval=3, fresh_ratio=0.3)) as target:
        assert_type(target, nn.Linear)
    toca.reset(pipeline)


def reading(pipeline: Any) -> None:
    summary = toca.summary(pipeline)
    assert_type(summary, toca.Summary)
    assert_type(summary.steps, str)
    assert_type(summary.full_steps, int)
    assert_type(summary.tokens_recomputed, float)
    assert_type(summary.flops, int)
    assert_type(summary.flops_full, int)
    assert_type(summary.flops_speedup, float)
    assert_type(summary.cache_bytes, int)


def planning(transformer: nn.Module, path: Path) -> None:
    for method in (toca.ToCa(), toca.FORA(), toca.RandomTokens(), toca.NoCache()):
        assert_type(method.plan(transformer, 20), toca.Plan)
    plan = toca.preset("toca/pixart").plan(transformer, 20)
    plan.save(path)
    plan.draw(str(path))
    assert_type(toca.Plan.load(path), toca.Plan)
    assert_type(plan.steps, str)
    cost = plan.cost(batch_size=2, height=32, width=32)
    assert_type(cost.flops_speedup, float)
    assert_type(cost.cache_bytes, int)


def sharing(plan: toca.Plan, path: Path) -> None:
    assert_type(toca.Plan.from_pretrained("emoji", speedup=2), toca.Plan)
    assert_type(toca.Front.from_pretrained(path, revision="main"), toca.Front)
    assert_type(toca.Calibration.from_pretrained("owner/name", method="teacache"), toca.Calibration)
    assert_type(toca.Router.from_pretrained("owner/name", local_files_only=True), toca.Router)
    assert_type(plan.save_pretrained(path, base_model="owner/model"), str | None)
    assert_type(plan.push_to_hub("owner/name", private=True), str)
    toca.enable_cache([20], path, speedup=2)


def listing() -> None:
    assert_type(list(toca.presets()), list[str])
    assert_type(list(toca.methods()), list[str])


@toca.register
@dataclass(frozen=True)
class Often(toca.Method):
    every: int = 2

    name: ClassVar[str] = "often"

    def computes(self, site: toca.Site, step: int, sampling: toca.Sampling) -> bool:
        return step % self.every == 0 or site.layer == sampling.layers - 1

    def gate(self) -> toca.Gate | None:
        return None

    def selection(self) -> toca.Selection | None:
        return None

    def filling(self) -> toca.Fill | None:
        return None


def adding(family: toca.FamilySpec) -> None:
    assert_type(toca.register(Often), type[Often])
    assert_type(toca.register(family), toca.FamilySpec)
    assert_type(Often(every=3).label, str)
