"""What a cached call costs beside the model's arithmetic stays where it is, and nothing in it waits for the device.

The ceilings are what was counted, and a little: two operators, or two per cent of the model's, and a tenth of the
calls. A change that lifts a count over one says why it is worth it. They were counted with the newest releases; others
make more or fewer operators of the same line, of the model's and of ours alike, and there the ceilings are wider.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import NamedTuple

import pytest
import torch
from packaging.version import Version
from torch import nn

import toca
from toca.pipelines.tested_versions import pins

from .conformance.common import METHODS, STEPS, method_of
from .counting import OF_UNKNOWN_SHAPE, Counts, Readings, counted, one_prompt
from .helpers import TINY, TINY_PIPELINES, inputs_for, pipeline_arguments

CLOCK = "_local_scalar_dense"
"""The clock of a bare model reads its timestep, once a call."""
ASKED = "tolist"
"""What a gate says of all images, read once a step; and the grid of FLUX's tokens, once a generation."""


class Ceiling(NamedTuple):
    """The most that steps may take; `None` where the generation has no such step.

    Args:
        full (`tuple[int, int]`): In full steps operators beyond those of the model without a cache, and calls of
            toca's functions.
        other (`tuple[int, int]`): In others operators, in per cent of those of the model without a cache (which
            releases of torch and diffusers change), and calls of toca's functions.
    """

    full: tuple[int, int] | None
    other: tuple[int, int] | None


FLUX = {
    "preset": Ceiling((112, 450), (65, 570)),
    "shared": Ceiling((112, 450), (76, 610)),
    "value": Ceiling((57, 430), (70, 610)),
    "self": Ceiling((112, 450), (77, 610)),
    "fora": Ceiling((4, 330), (41, 260)),
    "random": Ceiling((4, 350), (66, 540)),
    "duca": Ceiling((7, 380), (76, 600)),
    "forecast": Ceiling((70, 500), (44, 380)),
    "forecast-blocks": Ceiling((40, 350), (25, 370)),
    "forecast-output": Ceiling((8, 210), (3, 160)),
    "gate": Ceiling(None, (50, 440)),
    "gate-input": Ceiling((19, 370), (33, 450)),
    "gate-model": Ceiling((30, 290), (7, 290)),
    "composed": Ceiling((46, 610), (67, 710)),
    "none": Ceiling((4, 170), None),
    "clusca": Ceiling((329, 600), (65, 660)),
    "ras": Ceiling((55, 320), (124, 660)),
    "coast": Ceiling((61, 370), (123, 660)),
    "pab": Ceiling((4, 210), (51, 230)),
    "tgate": Ceiling((4, 210), (51, 230)),
    "delta-dit": Ceiling((6, 200), (91, 230)),
    "blockdance": Ceiling((4, 200), (80, 190)),
    "deepcache": Ceiling((6, 180), (56, 230)),
    "smoothcache": Ceiling((4, 340), (41, 260)),
    "magcache": Ceiling((5, 210), (22, 250)),
    "fastercache": Ceiling((25, 340), (52, 270)),
    "lemica": Ceiling((5, 200), (22, 240)),
    "meancache": Ceiling((27, 320), (7, 350)),
    "budcache": Ceiling((5, 200), (22, 240)),
    "scm": Ceiling((5, 210), (22, 220)),
    "asyncdiff": Ceiling(None, (101, 240)),
    "hicache": Ceiling((37, 490), (43, 390)),
    "scalingcache": Ceiling((37, 480), (43, 430)),
    "freqca": Ceiling((11, 270), (26, 290)),
    "foca": Ceiling((23, 200), (23, 250)),
    "spectrum": Ceiling((10, 210), (23, 260)),
    "hyca": Ceiling((25, 200), (60, 330)),
    "dmd": Ceiling((30, 220), (34, 250)),
    "seacache": Ceiling((70, 380), (40, 450)),
    "dbcache": Ceiling((21, 330), (50, 440)),
    "dicache": Ceiling((26, 380), (56, 470)),
    "adacache": Ceiling((44, 490), (43, 400)),
    "rfc": Ceiling((60, 570), (89, 770)),
    "speca": Ceiling((150, 540), (47, 590)),
    "tuned": Ceiling((4, 340), (41, 260)),
    "learned": Ceiling(None, (83, 350)),
}
PIXART = {
    "preset": Ceiling((69, 350), (174, 570)),
    "shared": Ceiling((69, 350), (175, 590)),
    "value": Ceiling((15, 340), (109, 490)),
    "self": Ceiling((48, 350), (125, 490)),
    "random": Ceiling((4, 290), (104, 450)),
    "duca": Ceiling((6, 300), (122, 490)),
    "composed": Ceiling((31, 480), (106, 570)),
    "clusca": Ceiling((299, 490), (68, 490)),
    "ras": Ceiling((14, 280), (135, 520)),
    "coast": Ceiling((20, 340), (130, 550)),
    "fora": Ceiling((4, 300), (39, 230)),
    "dbcache": Ceiling((21, 340), (60, 450)),
}
"""Where cross-attention is partial too, and tells which tokens of the feed-forward are."""
CELLS = [*(("flux", name) for name in FLUX), *(("pixart", name) for name in PIXART)]
every_cell = pytest.mark.parametrize(("family", "name"), CELLS)

COUNTED = {"flux": 704, "pixart": 307}
"""Operators of a call without a cache, with the releases that the ceilings were counted with."""
ELSEWHERE = 1.05
"""By how much they are wider with others, beside what these make of the model itself."""

LOOKS = {
    "gate": (ASKED,),
    "gate-input": (ASKED,),
    "gate-model": (ASKED,),
    "seacache": (ASKED,),
    "dbcache": (ASKED,),
    "dicache": (ASKED,),
    "adacache": (ASKED,),
    "rfc": (ASKED,),
    # Whether a draft is due to be verified is asked by itself.
    "speca": (ASKED, "_local_scalar_dense"),
    # Eigenvalues of a matrix that is not symmetric are found on the CPU.
    "dmd": ("toca::dmd_weights",),
}
"""What waits for the device in a step, beside the clock; nothing for methods that are not here."""
ONCE = {"shared": (ASKED,), "self": (ASKED,), "duca": (ASKED,)}
"""The same in the first step that chooses tokens."""


class Measured(NamedTuple):
    """What was counted in a generation: its steps after the first, by their letters; and a call without a cache.
    `wider` is the factor of the ceilings on operators: 1 with the releases that they were counted with."""

    steps: str
    calls: list[Counts]
    stock: Counts
    wider: float

    def most(self, full: bool) -> tuple[int, int] | None:
        """The most operators and calls of toca's functions, of full steps or of all others."""
        calls = [call for step, call in zip(self.steps, self.calls, strict=True) if (step == "F") == full]
        return (max(c.operators for c in calls), max(c.python for c in calls)) if calls else None


@cache
def model_of(family: str) -> tuple[nn.Module, Counts]:
    transformer = TINY[family]()
    return transformer, counted(transformer, inputs_for(family, 1, batch_size=2))[0]


@cache
def measured(family: str, name: str) -> Measured:
    transformer, stock = model_of(family)
    with toca.cached(transformer, method_of(family, name), num_inference_steps=STEPS):
        calls = counted(transformer, one_prompt(inputs_for(family, STEPS, batch_size=2)))
        steps = toca.summary(transformer).steps
    return Measured(steps[1:], calls[1:], stock, wider(stock.operators, COUNTED[family]))


def wider(stock: int, then: int) -> float:
    """The factor of the ceilings where a call without a cache has so many operators, and had so many then."""
    return 1.0 if stock == then else ELSEWHERE * max(stock / then, then / stock)


def test_every_method_has_a_ceiling() -> None:
    assert set(FLUX) == set(METHODS)


@pytest.mark.parametrize("family", COUNTED)
def test_the_ceilings_are_those_of_the_newest_releases(family: str) -> None:
    """A release that is new in `tested/newest.txt` and counts otherwise wants them counted anew."""
    newest = pins("newest")
    here = {name: Version(version(name)).public for name in ("torch", "diffusers")}
    if any(here[name] != newest[name] for name in here):
        pytest.skip(f"the ceilings were counted with torch {newest['torch']} and diffusers {newest['diffusers']}")
    assert model_of(family)[1].operators == COUNTED[family]


@every_cell
def test_full_steps_are_hardly_more_than_the_model(family: str, name: str) -> None:
    ceiling, got = (FLUX if family == "flux" else PIXART)[name].full, measured(family, name)
    most = got.most(full=True)
    assert (most is None) == (ceiling is None)
    if most is not None and ceiling is not None:
        assert most[0] - got.stock.operators <= ceiling[0] * got.wider
        assert most[1] <= ceiling[1]


@every_cell
def test_other_steps_take_no_more_than_they_did(family: str, name: str) -> None:
    ceiling, got = (FLUX if family == "flux" else PIXART)[name].other, measured(family, name)
    most = got.most(full=False)
    assert (most is None) == (ceiling is None)
    if most is not None and ceiling is not None:
        assert 100 * most[0] <= ceiling[0] * got.stock.operators * got.wider
        assert most[1] <= ceiling[1]


@every_cell
def test_no_step_waits_for_the_device(family: str, name: str) -> None:
    allowed = sorted((CLOCK, *LOOKS.get(name, ())))
    once = sorted((*allowed, *ONCE.get(name, ())))
    beyond = [call.looks for call in measured(family, name).calls if not within(call.looks, allowed)]
    assert all(within(looks, once) for looks in beyond), beyond
    assert len(beyond) <= 1


@every_cell
def test_no_shape_depends_on_the_data(family: str, name: str) -> None:
    looks = {look for call in measured(family, name).calls for look in call.looks}
    assert not looks & set(OF_UNKNOWN_SHAPE)
    assert not any(look.startswith("index") for look in looks)


def within(looks: tuple[str, ...], allowed: list[str]) -> bool:
    """Whether there are no more looks of any kind than are allowed."""
    return all(looks.count(look) <= allowed.count(look) for look in looks)


def test_sites_that_do_nothing_run_no_operator() -> None:
    """A plan that keeps nothing adds the clock's reading of the timestep, and not a call for any block."""
    five = measured("flux", "none")
    deep, calls = counts_of_depth("none")
    assert [call.operators - deep.operators for call in calls] == [2] * len(calls)
    # At the end of the last step the books are closed.
    assert [call.python for call in calls[:-1]] == [call.python for call in five.calls[:-1]]


@pytest.mark.parametrize("name", ["forecast-output", "lemica", "scm"])
def test_blocks_that_are_left_out_run_no_operator(name: str) -> None:
    """A filled step of a model with more blocks runs the operators that it runs with few."""
    few = measured("flux", name)
    _, calls = counts_of_depth(name)
    place = next(i for i, step in enumerate(few.steps) if step in "ay")
    assert calls[place].operators == few.calls[place].operators


def counts_of_depth(name: str) -> tuple[Counts, list[Counts]]:
    """Of a model of 12 blocks: a call without a cache, and the steps of a generation but the first."""
    transformer = TINY["flux"](num_layers=4, num_single_layers=8)
    stock = counted(transformer, inputs_for("flux", 1, batch_size=2))[0]
    with toca.cached(transformer, method_of("flux", name), num_inference_steps=STEPS):
        calls = counted(transformer, one_prompt(inputs_for("flux", STEPS, batch_size=2)))
    return stock, calls[1:]


def test_a_look_is_seen() -> None:
    """The watch sees what a method might do."""

    class Looking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.sum().item(), x.tolist(), bool(x.any()), torch.equal(x, x)
            return x[x > 0] + x.nonzero().shape[0]

    (counts,) = counted(Looking(), [{"x": torch.ones(2)}])
    assert sorted(counts.looks) == sorted(
        ["_local_scalar_dense", "_local_scalar_dense", "tolist", "equal", "index.Tensor", "nonzero"]
    )


@pytest.mark.parametrize("family", ["dit", "pixart", "latte"])
def test_a_pipelines_schedule_is_read_once_a_generation(family: str) -> None:
    """Where the loop's timesteps are numbers of the schedule's own tensor, no step reads them."""
    readings = [readings_of_pipeline(family, steps) for steps in (4, 8)]
    assert readings[0] == readings[1]


def readings_of_pipeline(family: str, steps: int) -> list[str]:
    pipe = TINY_PIPELINES[family]()
    with toca.cached(pipe, toca.FORA(interval=2)), Readings() as readings:
        pipe(**pipeline_arguments(family, steps))
        assert len(toca.summary(pipe).steps) == steps
    return readings.looks
