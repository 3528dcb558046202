"""Numbers that are not finite, in one step, never stop a method from computing again."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

import toca

from ..helpers import FAMILIES, TINY, Inputs, run_steps
from .common import assert_close, assert_equal, cached_run
from .test_arguments import method_named, methods_of, warnings
from .test_gates import CASES, STEPS, every_gate, letters_of, lively

BROKEN = 3
"""The step in which numbers break."""
VALUES = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def broken(inputs: Inputs, value: float, row: int | None = None) -> Inputs:
    """The same generation, but for one number of an image's latents (of every image's) in one step."""
    latents = inputs[BROKEN]["hidden_states"].clone()
    latents[slice(None) if row is None else row].flatten(1 if row is None else 0)[..., 5] = value
    return [*inputs[:BROKEN], inputs[BROKEN] | {"hidden_states": latents}, *inputs[BROKEN + 1 :]]


@pytest.mark.parametrize("value", VALUES)
@every_gate
def test_a_gate_computes_again(name: str, value: str, caplog: pytest.LogCaptureFixture) -> None:
    """However much it lets pass: what it cannot judge it computes, and what was kept of it is not used."""
    model, method = TINY["pixart"](), CASES[name].of("pixart", threshold=1e9)
    inputs = broken(lively("pixart", 1), VALUES[value])
    stock = run_steps(model, inputs)
    with toca.cached(model, method, num_inference_steps=STEPS):
        got, steps = run_steps(model, inputs), toca.summary(model).steps
    assert steps[BROKEN + 1] == "F", steps
    assert_close(got[BROKEN + 1 : BROKEN + 2], stock[BROKEN + 1 : BROKEN + 2])
    assert all(output.isfinite().all() for output in got[BROKEN + 1 :]), steps
    # And then goes on as before.
    assert set(steps[BROKEN + 2 :]) != {"F"}
    assert len(warnings(caplog)) == 1 and "not finite" in warnings(caplog)[0]


@every_gate
def test_features_that_break_in_a_step_that_computes(name: str) -> None:
    """The latents are sound, and so is what the gate looks at: a layer overflows in one step that computes."""
    model, method = TINY["dit"](), CASES[name].of("dit", threshold=1e9)
    inputs, calls = lively("dit", 1), []

    def overflow(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        calls.append(0)
        return output * float("inf") if len(calls) == 1 else output

    hook = model.transformer_blocks[2].ff.net[2].register_forward_hook(overflow)
    with toca.cached(model, method, num_inference_steps=STEPS):
        got, steps = run_steps(model, inputs), toca.summary(model).steps
    hook.remove()
    assert not got[0].isfinite().all() and all(output.isfinite().all() for output in got[1:])
    assert steps[1] == "F" and set(steps[2:]) != {"F"}


@pytest.mark.parametrize("family", ["dit", "flux"])
@every_gate
def test_batch_mates_of_a_broken_image(name: str, family: str) -> None:
    """Neither their decisions nor their pictures are touched."""
    model, method, inputs = TINY[family](), CASES[name].of(family), lively(family, 3)
    runs = []
    for given in (inputs, broken(inputs, float("nan"), row=1)):
        with toca.cached(model, method, num_inference_steps=STEPS):
            runs.append((run_steps(model, given), letters_of(toca.summary(model), 3)))
    (sound, letters), (got, others) = runs
    assert [letters[0], letters[2]] == [others[0], others[2]]
    for row in (0, 2):
        assert_close([output[row] for output in got], [output[row] for output in sound])


@pytest.mark.parametrize("name", methods_of("dit"))
def test_every_method_recovers(name: str) -> None:
    """A step in which everything computes makes all that is kept anew; a forecast stands still until it knows more."""
    model, inputs = TINY["dit"](), lively("dit", 2)
    method: Any = method_named("dit", name, STEPS)
    given = broken(inputs, float("nan"), row=1)
    with toca.cached(model, method, num_inference_steps=STEPS):
        got, steps = run_steps(model, given), toca.summary(model).steps_of(1)
    again = steps.find("F", BROKEN + 1)
    assert again == -1 or all(output[1].isfinite().all() for output in got[again:]), steps
    assert_close([output[0] for output in got], [output[0] for output in cached_run(model, method, inputs)])


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_let_pass_after_a_broken_step(family: str) -> None:
    """TeaCache at threshold 0 computed never again."""
    model, inputs = TINY[family](), broken(lively(family, 1), float("nan"))
    method = toca.TeaCache(threshold=0.0)
    with toca.cached(model, method, num_inference_steps=STEPS):
        got = run_steps(model, inputs)
        assert toca.summary(model).steps == "F" * STEPS
    stock = run_steps(model, inputs)
    assert_equal(got[:BROKEN] + got[BROKEN + 1 :], stock[:BROKEN] + stock[BROKEN + 1 :])
