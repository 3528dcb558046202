"""Methods: validated, frozen, known by name, and easily added to."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from typing import Any, ClassVar, get_origin

import pytest
import torch

import toca
from toca.axes.sampling import Sampling
from toca.axes.selections import Selection
from toca.axes.selections.ranked import ByAttention
from toca.axes.selections.scores import SCORES
from toca.engine.install import engine_of
from toca.methods import Method
from toca.models import Site

from .helpers import TINY, inputs_for, run_steps, tiny_pixart

STEPS = 8
WRONG: list[tuple[type, dict[str, Any], str]] = [
    (toca.ToCa, {"interval": 0}, "`interval`.*0"),
    (toca.ToCa, {"interval": -2}, "`interval`.*-2"),
    (toca.ToCa, {"fresh_ratio": -0.1}, "`fresh_ratio`.*-0.1"),
    (toca.ToCa, {"fresh_ratio": float("nan")}, "`fresh_ratio`.*nan"),
    (toca.ToCa, {"score": "beauty"}, "`score`.*self_attention.*beauty"),
    (toca.ToCa, {"score": "beauty"}, "`score`.*beauty"),
    (toca.ToCa, {"staleness_weight": -1.0}, "`staleness_weight`.*-1.0"),
    (toca.ToCa, {"bonus_patch": -1}, "`bonus_patch`.*-1"),
    (toca.ToCa, {"bonus_weight": -0.5}, "`bonus_weight`.*-0.5"),
    (toca.ToCa, {"layer_scale": 0}, "`layer_scale`.*0"),
    (toca.ToCa, {"module_factor": {"nose": 1.0}}, "`module_factor`.*nose"),
    (toca.ToCa, {"module_factor": {"ff": -1.0}}, "`module_factor.*ff.*-1.0"),
    (toca.ToCa, {"module_interval": {"nose": 2}}, "`module_interval`.*nose"),
    (toca.ToCa, {"module_interval": {"ff": 0}}, "`module_interval.*ff.*0"),
    (toca.ToCa, {"interval_factor": (0.0, 1.0)}, "`interval_factor`"),
    (toca.ToCa, {"interval_factor": (1.0, -1.0)}, "`interval_factor`"),
    (toca.ToCa, {"interval_window": (0.2, 0.4, 0)}, "`interval_window`.*0"),
    (toca.ToCa, {"interval_window": (0.4, 0.2, 2)}, "`interval_window`.*0.4"),
    (toca.ToCa, {"warmup_steps": 0}, "`warmup_steps`.*0"),
    (toca.ToCa, {"phase": -1}, "`phase`.*-1"),
    (toca.FORA, {"interval": 0}, "`interval`.*0"),
    (toca.RandomTokens, {"interval": 0}, "`interval`.*0"),
    (toca.RandomTokens, {"fresh_ratio": 1.5}, "`fresh_ratio`.*1.5"),
    (toca.RandomTokens, {"fresh_ratio": -0.5}, "`fresh_ratio`.*-0.5"),
    (ByAttention, {"rated_by": "beauty"}, "`rated_by`.*beauty"),
    (ByAttention, {"interval": 0}, "`interval`.*0"),
]


@pytest.mark.parametrize(("cls", "values", "message"), WRONG, ids=[f"{c.__name__}-{v}" for c, v, _ in WRONG])
def test_wrong_values_are_named(cls: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**values)


@pytest.mark.parametrize("cls", toca.methods().values())
def test_unknown_fields(cls: type) -> None:
    with pytest.raises(TypeError, match="colour"):
        cls(colour=3)


@pytest.mark.parametrize("cls", toca.methods().values())
def test_methods_are_frozen_values(cls: type) -> None:
    method = cls()
    assert dataclasses.is_dataclass(method) and method == cls() and method == dataclasses.replace(method)
    for field in dataclasses.fields(method):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(method, field.name, 1)


@pytest.mark.parametrize("cls", toca.methods().values())
def test_every_field_is_documented(cls: type) -> None:
    documents = " ".join(base.__doc__ or "" for base in cls.__mro__ if issubclass(base, Method))
    for field in dataclasses.fields(cls):
        assert f"{field.name} (`" in documents, field.name
    assert cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(")
    assert cls.title or cls in (toca.NoCache, toca.RandomTokens, toca.Tuned)


def test_every_method_file_is_listed() -> None:
    classes = set()
    for info in pkgutil.iter_modules(toca.methods.__globals__["__path__"]):
        module = importlib.import_module(f"toca.methods.{info.name}")
        classes |= {cls for cls in vars(module).values() if isinstance(cls, type) and get_origin(cls) is None}
    methods = {cls for cls in classes if issubclass(cls, Method) and not inspect.isabstract(cls)}
    assert methods == set(toca.methods().values())
    assert methods <= {getattr(toca, name) for name in toca.__all__}
    assert all(cls.name == name for name, cls in toca.methods().items())


def test_names() -> None:
    wanted = {"toca/dit-ddim50", "toca/dit-ddpm250", "toca/pixart", "toca/opensora", "toca/flux", "fora/dit"}
    assert wanted <= set(toca.presets())
    assert {name.split("/")[0] for name in toca.presets()} <= set(toca.methods())
    assert all(toca.preset(name) == method for name, method in toca.presets().items())
    with pytest.raises(ValueError, match="toca/none.*toca/pixart"):
        toca.preset("toca/none")


def test_a_cache_is_switched_on_by_the_names_of_the_command_line() -> None:
    for name, method in {"fora": toca.FORA(), "toca/pixart": toca.preset("toca/pixart")}.items():
        with toca.cached(tiny_pixart(), name, num_inference_steps=4) as transformer:
            assert engine_of(transformer).plans.method == method
    with pytest.raises(ValueError, match="'forra': did you mean fora") as error:
        toca.enable_cache(tiny_pixart(), "forra", num_inference_steps=4)
    assert len(str(error.value)) < 200


def test_listings_are_copies() -> None:
    toca.presets().clear()
    toca.methods().clear()
    assert toca.presets() and toca.methods()


def test_presets_cannot_be_changed_by_the_back_door() -> None:
    """A frozen method with a dictionary inside is not frozen; the published settings are out of reach."""
    toca.preset("toca/pixart").module_factor["ff"] = 0.0  # type: ignore[index]
    toca.presets()["toca/pixart"].module_factor["ff"] = 0.0  # type: ignore[attr-defined]
    assert toca.preset("toca/pixart").module_factor["ff"] == 1.6
    given = {"ff": 1.0}
    method = toca.ToCa(module_factor=given)
    given["ff"] = 0.0
    assert method.module_factor == {"ff": 1.0}


@pytest.mark.parametrize("steps", [6, 10])
@pytest.mark.parametrize("name", ["toca/dit-ddim50", "toca/pixart", "toca/flux", "duca/dit", "duca/pixart"])
def test_presets_that_choose_tokens_run_whatever_the_steps(name: str, steps: int) -> None:
    """With few steps some layers' sites are never token-wise, others always."""
    family = name.partition("/")[2].split("-")[0]
    transformer, inputs = TINY[family](), inputs_for(family, steps, 2, cfg=True)
    with toca.cached(transformer, name, num_inference_steps=steps, batched_cfg=True):
        samples = run_steps(transformer, inputs)
    assert all(sample.isfinite().all() for sample in samples)


def test_public_names() -> None:
    for name in toca.__all__:
        assert getattr(toca, name).__doc__
    wanted = "cached disable_cache enable_cache reset summary presets preset methods ToCa FORA NoCache RandomTokens"
    wanted += " Plan"
    assert set(wanted.split()) <= set(toca.__all__)


@dataclass(frozen=True)
class EveryOtherLayer(Method):
    """A method of the test's own: odd layers reuse, even ones refresh some tokens of their feed-forwards."""

    fresh_ratio: float = 0.5
    name: ClassVar[str] = "every-other-layer"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step % 4 == 0

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        return self.fresh_ratio if site.layer % 2 == 0 and site.module == "ff" else None

    def selection(self) -> Selection:
        return ByAttention(rated_by="value_norm", staleness_weight=0.1, interval=4)


@pytest.mark.parametrize("family", TINY)
def test_a_new_method_needs_nothing_but_itself(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    stock, method = run_steps(transformer, inputs), EveryOtherLayer()
    plan = method.plan(transformer, STEPS)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        got = run_steps(transformer, inputs)
        summary = toca.summary(transformer)
    assert summary.method == "every-other-layer" and summary.steps == plan.steps == "FtttFttt"
    assert torch.allclose(got[0], stock[0], atol=1e-4) and not torch.allclose(got[1], stock[1], atol=1e-2)
    recomputed = {(site.layer, site.module): site.tokens_recomputed for site in summary.trace[1].sites}
    assert recomputed[0, "ff"] > 0 and not any(n for (layer, m), n in recomputed.items() if layer % 2 or m != "ff")


@pytest.mark.parametrize("score", [name for name, score in SCORES.items() if score.source is not None])
@pytest.mark.parametrize("family", TINY)
def test_every_score_matters(family: str, score: str) -> None:
    """Each score picks other tokens than the others and than chance."""
    transformer, inputs = TINY[family](), inputs_for(family, 4)
    picks = {}
    for name in toca.ToCa.scores:
        with toca.cached(transformer, toca.ToCa(interval=4, score=name, bonus_patch=0), num_inference_steps=4):
            picks[name] = run_steps(transformer, inputs)[1]
    # Without cross-attention its entropy falls back to self-attention's mass.
    same = {"self_attention", "cross_attention"} if family in ("dit", "flux") else set()
    for other in set(picks) - {score}:
        assert torch.equal(picks[score], picks[other]) == ({score, other} == same)


@pytest.mark.parametrize("family", TINY)
def test_seed_matters(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, 4)
    outputs = []
    for seed in (0, 1, 0):
        with toca.cached(transformer, toca.RandomTokens(seed=seed, interval=4), num_inference_steps=4):
            outputs.append(run_steps(transformer, inputs)[1])
    assert torch.equal(outputs[0], outputs[2]) and not torch.equal(outputs[0], outputs[1])
