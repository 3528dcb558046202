"""The engine against the slow references in tests/reference: same inputs, compared step by step, in float32.

Tolerance. Both sides do the same float32 arithmetic in a different order (fused against explicit attention, one
gather against a loop over rows), which costs about 1e-6 of the output's largest value, 3e-6 after 28 layers. A single
token chosen wrongly costs 1e-2 or more, as `test_tolerance_tells_variants_apart` shows. So 1e-4 has room on both
sides, provided that no selection is decided by rounding. Scores carry errors of 1e-7 to 2e-6 (measured against the
references in float64), so every case has a seed for which, in each selection, the last token taken beats the first
one left out by at least MARGIN; `test_engine_matches_reference` checks that before it compares anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from torch import Tensor, nn

import toca

from ..helpers import TINY, Inputs, inputs_for, relative_error, run_steps
from ..reference import dit, flux, pixart, schedules
from ..reference.common import Pick

TOLERANCE = 1e-4
MARGIN = 1e-5

TOCA = {"dit": dit.run_toca_dit, "pixart": pixart.run_toca_pixart, "flux": flux.run_toca_flux}
FORA = {"dit": dit.run_fora, "pixart": pixart.run_fora, "flux": flux.run_fora}
PUBLISHED = {
    "toca/dit-ddim50": {"N": 3, "R0": 0.07, "preset": "ddim50"},
    "toca/dit-ddpm250": {"N": 4, "R0": 0.07, "preset": "ddpm250"},
    "toca/pixart": {"N": 3, "R0": 0.3},
    "toca/flux": {"N": 4, "R0": 0.1},
}


@dataclass(frozen=True)
class Case:
    """One comparison: a tiny model, the inputs of one generation and a ToCa preset, perhaps with another N or R0."""

    name: str
    preset: str
    steps: int
    seed: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    batched_cfg: bool | None = None

    @property
    def family(self) -> str:
        return self.preset.removeprefix("toca/").split("-")[0]

    def build(self) -> tuple[nn.Module, Inputs]:
        transformer = TINY[self.family](self.seed, **self.model)
        inputs = inputs_for(self.family, self.steps, seed=self.seed, **self.inputs)
        if not self.model.get("guidance_embeds", True):
            inputs = [call | {"guidance": None} for call in inputs]
        return transformer, inputs

    def method(self) -> Any:
        return dataclasses.replace(toca.preset(self.preset), **self.changes) if self.changes else self.preset

    def reference(self, transformer: nn.Module, inputs: Inputs, trace: list[Pick] | None = None) -> list[Tensor]:
        settings = PUBLISHED[self.preset] | {
            {"interval": "N", "fresh_ratio": "R0"}[name]: value for name, value in self.changes.items()
        }
        if self.family == "pixart":
            settings["batched_cfg"] = bool(self.batched_cfg)
        return TOCA[self.family](transformer, inputs, trace=trace, **settings)


DEEP_FLUX = {"num_layers": 4, "num_single_layers": 6}
TWO = {"batch_size": 2}
CFG = {"batch_size": 2, "cfg": True}
CASES = [
    Case("dit", "toca/dit-ddim50", 50, 2, inputs=TWO),
    Case("dit-28-layers", "toca/dit-ddim50", 50, 17, model={"num_layers": 28}),
    Case("dit-batched-cfg", "toca/dit-ddim50", 50, 2, inputs=CFG, batched_cfg=True),
    Case(
        "dit-ragged-patches", "toca/dit-ddim50", 30, 1, model={"sample_size": 14}, inputs={"height": 14, "width": 14}
    ),
    Case("dit-often-fresh", "toca/dit-ddim50", 40, 2, inputs=TWO, changes={"interval": 5, "fresh_ratio": 0.2}),
    Case("dit-one-layer", "toca/dit-ddim50", 20, model={"num_layers": 1}),
    Case("dit-250-steps", "toca/dit-ddpm250", 250, 37, model={"num_layers": 4}),
    Case("dit-250-few", "toca/dit-ddpm250", 50, 1, inputs=TWO, changes={"interval": 3, "fresh_ratio": 0.3}),
    Case("pixart-separate", "toca/pixart", 20, 504, inputs=TWO, batched_cfg=False),
    Case("pixart-batched-cfg", "toca/pixart", 20, 655, inputs=CFG, batched_cfg=True),
    Case("pixart-no-mask", "toca/pixart", 20, 998, inputs=CFG | {"mask": False}, batched_cfg=True),
    Case("pixart-halves-not-cfg", "toca/pixart", 20, 973, inputs=CFG, batched_cfg=False),
    Case(
        "pixart-28-layers",
        "toca/pixart",
        20,
        146,
        model={"num_layers": 28},
        inputs={"cfg": True, "width": 8},
        batched_cfg=True,
    ),
    Case("pixart-wide", "toca/pixart", 20, 245, inputs=CFG | {"height": 12, "width": 20}, batched_cfg=True),
    Case("pixart-tall", "toca/pixart", 20, 4, inputs={"height": 22, "width": 14}, batched_cfg=False),
    Case(
        "pixart-long-interval",
        "toca/pixart",
        25,
        38,
        inputs=CFG,
        changes={"interval": 20},
        batched_cfg=True,
    ),
    Case(
        "pixart-often-fresh",
        "toca/pixart",
        25,
        295,
        inputs=CFG,
        changes={"interval": 5, "fresh_ratio": 0.7},
        batched_cfg=True,
    ),
    Case(
        "pixart-feed-forward-whole-in-half-the-layers",
        "toca/pixart",
        5,
        1,
        model={"num_layers": 4},
        inputs=CFG,
        changes={"interval": 3, "fresh_ratio": 0.7},
        batched_cfg=True,
    ),
    Case("flux", "toca/flux", 24, 170, model=DEEP_FLUX, inputs=TWO),
    Case(
        "flux-text-fresh",
        "toca/flux",
        24,
        201,
        model=DEEP_FLUX,
        inputs=TWO,
        changes={"interval": 5, "fresh_ratio": 0.5},
    ),
    Case("flux-all-single-fresh", "toca/flux", 12, 2, model=DEEP_FLUX, changes={"interval": 3, "fresh_ratio": 0.9}),
    Case("flux-no-guidance", "toca/flux", 20, 1, model={"guidance_embeds": False}, inputs={"height": 12, "width": 20}),
]


def run_engine(
    transformer: nn.Module, inputs: Inputs, method: Any, batched_cfg: bool | None = None
) -> tuple[list[Tensor], str]:
    """The engine's samples and its steps string; the transformer is handed back clean."""
    toca.enable_cache(transformer, method, num_inference_steps=len(inputs), batched_cfg=batched_cfg)
    try:
        samples = run_steps(transformer, inputs)
        return samples, toca.summary(transformer).steps
    finally:
        toca.disable_cache(transformer)


def assert_same(got: list[Tensor], wanted: list[Tensor], steps: str) -> None:
    errors = [relative_error(a, b) for a, b in zip(got, wanted, strict=True)]
    wrong = [i for i, error in enumerate(errors) if not error < TOLERANCE]
    assert not wrong, f"first differs at step {wrong[0]} of {steps}: {errors[wrong[0]]:.2e}; {len(wrong)} steps differ"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_engine_matches_reference(case: Case) -> None:
    transformer, inputs = case.build()
    trace: list[Pick] = []
    wanted = case.reference(transformer, inputs, trace)
    tightest = min(trace, key=lambda pick: pick.margin)
    assert any(pick.tokens for pick in trace), "nothing was ever recomputed"
    assert tightest.margin > MARGIN, f"rounding could decide {tightest}: give this case another seed"
    got, steps = run_engine(transformer, inputs, case.method(), case.batched_cfg)
    assert_same(got, wanted, steps)


@pytest.mark.parametrize("counts_down", [True, False])
@pytest.mark.parametrize("interval", [1, 2, 3, 5])
@pytest.mark.parametrize("family", FORA)
def test_fora_matches_reference(family: str, interval: int, counts_down: bool) -> None:
    transformer, inputs = TINY[family](1), inputs_for(family, 20, 2, seed=1)
    wanted = FORA[family](transformer, inputs, N=interval, counts_down=counts_down)
    got, steps = run_engine(transformer, inputs, toca.FORA(interval=interval, counts_down=counts_down))
    assert steps == schedules.steps_string(schedules.full_steps_fora(20, interval, counts_down), "r")
    assert_same(got, wanted, steps)


def test_fora_preset_matches_reference_on_28_layers() -> None:
    transformer, inputs = TINY["dit"](2, num_layers=28), inputs_for("dit", 50, 1, seed=2)
    got, steps = run_engine(transformer, inputs, "fora/dit")
    assert_same(got, dit.run_fora(transformer, inputs, N=3), steps)


def test_text_mask_as_a_bias() -> None:
    """PixArt takes its mask as 0 / 1 or as 0 / -10000 with one more dimension: the same run either way."""
    case = next(case for case in CASES if case.name == "pixart-batched-cfg")
    transformer, inputs = case.build()
    wanted = case.reference(transformer, inputs)
    for call in inputs:
        call["encoder_attention_mask"] = ((1 - call["encoder_attention_mask"].float()) * -10000.0)[:, None, :]
    got, steps = run_engine(transformer, inputs, case.method(), case.batched_cfg)
    assert_same(got, wanted, steps)


@pytest.mark.parametrize("name", ["dit", "pixart-batched-cfg", "flux"])
def test_second_generation_matches_reference(name: str) -> None:
    """After a generation that was broken off, after a whole one, and with other inputs than before."""
    case = next(case for case in CASES if case.name == name)
    transformer, inputs = case.build()
    wanted = case.reference(transformer, inputs)
    others = inputs_for(case.family, case.steps, seed=case.seed + 1, **case.inputs)
    toca.enable_cache(transformer, case.method(), num_inference_steps=case.steps, batched_cfg=case.batched_cfg)
    run_steps(transformer, others[:7])
    toca.reset(transformer)
    run_steps(transformer, others)
    got = run_steps(transformer, inputs)
    assert_same(got, wanted, toca.summary(transformer).steps)


def test_named_branches_match_two_reference_runs() -> None:
    """FLUX with a negative prompt: two calls a step, each in its own cache context."""
    case = next(case for case in CASES if case.name == "flux")
    transformer, cond = case.build()
    uncond = inputs_for("flux", case.steps, seed=case.seed + 1, **case.inputs)
    wanted = {"cond": case.reference(transformer, cond), "uncond": case.reference(transformer, uncond)}
    got: dict[str, list[Tensor]] = {"cond": [], "uncond": []}
    toca.enable_cache(transformer, case.method(), num_inference_steps=case.steps)
    for calls in zip(cond, uncond, strict=True):
        for branch, call in zip(got, calls, strict=True):
            with transformer.cache_context(branch):
                got[branch] += run_steps(transformer, [call])
    for branch in got:
        assert_same(got[branch], wanted[branch], toca.summary(transformer).steps)


@pytest.mark.parametrize(
    ("preset", "full", "letter", "wanted"),
    [
        (
            "toca/dit-ddim50",
            schedules.full_steps_dit(50, 3),
            "t",
            "FtttFFtttFtttFtttFtFttFttFttFttFtFtFtFtFtFtFtFtFtF",
        ),
        ("fora/dit", schedules.full_steps_fora(50, 3), "r", "FFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrFrrF"),
        ("toca/pixart", schedules.full_steps_pixart(20, 3), "t", "FtttFtFttFttFttFttFt"),
        ("toca/flux", schedules.full_steps_flux(50, 4), "t", "FFFtttFtttFtttFtttFtttFtttFtttFtttFtttFtttFtttFttt"),
    ],
)
def test_published_schedules(preset: str, full: list[bool], letter: str, wanted: str) -> None:
    """The fixed points of issue 2, section 3, by the reference and by the engine."""
    assert schedules.steps_string(full, letter) == wanted
    family = preset.split("/")[1].split("-")[0]
    small = {"num_single_layers": 1} if family == "flux" else {}
    transformer = TINY[family](num_layers=1, **small)
    _, steps = run_engine(transformer, inputs_for(family, len(full)), preset)
    assert steps == wanted


@pytest.mark.parametrize("interval", range(1, 9))
@pytest.mark.parametrize(
    ("preset", "full_steps"),
    [
        ("toca/dit-ddim50", schedules.full_steps_dit),
        ("toca/pixart", schedules.full_steps_pixart),
        ("toca/flux", schedules.full_steps_flux),
    ],
)
def test_other_schedules(preset: str, full_steps: Callable[[int, int], list[bool]], interval: int) -> None:
    """Every interval and an odd number of steps. With interval 1 every step is full, whatever the rule says."""
    family = preset.split("/")[1].split("-")[0]
    small = {"num_single_layers": 1} if family == "flux" else {}
    method = dataclasses.replace(toca.preset(preset), interval=interval)
    _, steps = run_engine(TINY[family](num_layers=1, **small), inputs_for(family, 37), method)
    assert [letter == "F" for letter in steps] == full_steps(37, interval)


@pytest.mark.parametrize("family", TOCA)
def test_reference_with_every_step_full_is_the_stock_transformer(family: str) -> None:
    transformer, inputs = TINY[family](3), inputs_for(family, 6, 2, seed=3, cfg=True)
    stock = run_steps(transformer, inputs)
    for runs in (TOCA[family](transformer, inputs, N=1, R0=0.1), FORA[family](transformer, inputs, N=1)):
        assert max(relative_error(a, b) for a, b in zip(runs, stock, strict=True)) < 1e-5
    cached = TOCA[family](transformer, inputs, N=3, R0=0.1)
    assert max(relative_error(a, b) for a, b in zip(cached, stock, strict=True)) > 0.01


@pytest.mark.parametrize(
    ("family", "settings", "variant"),
    [
        ("dit", {"N": 3, "R0": 0.07}, {"bonus": (2, 0.0)}),
        ("dit", {"N": 3, "R0": 0.07}, {"R0": 0.08}),
        ("dit", {"N": 3, "R0": 0.07}, {"preset": "ddpm250"}),
        ("pixart", {"N": 3, "R0": 0.3, "batched_cfg": False}, {"batched_cfg": True}),
        ("pixart", {"N": 3, "R0": 0.3, "batched_cfg": True}, {"bonus": (4, 0.0)}),
        ("flux", {"N": 4, "R0": 0.1}, {"R0": 0.11}),
    ],
)
def test_tolerance_tells_variants_apart(family: str, settings: dict[str, Any], variant: dict[str, Any]) -> None:
    """A method that is slightly another one is off by a hundred tolerances or more."""
    transformer, inputs = TINY[family](4), inputs_for(family, 12, 1, seed=4, cfg=True)
    right = TOCA[family](transformer, inputs, **settings)
    wrong = TOCA[family](transformer, inputs, **(settings | variant))
    assert max(relative_error(a, b) for a, b in zip(wrong, right, strict=True)) > 100 * TOLERANCE
