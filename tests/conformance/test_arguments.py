"""Every argument of every transformer x every method: the right picture, or the call runs in full and says why."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
from collections import namedtuple
from typing import Any

import diffusers
import pytest
import torch
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor, FluxIPAdapterAttnProcessor
from torch import Tensor, nn

import toca
from toca.engine.arguments import own_copy, some_rows, unclear
from toca.models import FAMILIES as REGISTERED

from ..calibrated import calibrated
from ..helpers import FAMILIES, TINY, Inputs, inputs_for, randomize, run_steps, tiny_flux
from .common import assert_close, assert_equal, cached_run, fits_scheduler, runs_on
from .test_batch import rows_of
from .test_gates import CASES, lively

STEPS = 6
VALUES: dict[str, dict[str, Any]] = {
    "blockdance": {"blocks": 2, "start": 0.2, "warmup_steps": 1, "cooldown_steps": 1},
    "asyncdiff": {"simulate": True},
    "delta-dit": {"blocks": 2, "switch": 3},
    "dbcache": {"first_blocks": 1, "warmup_steps": 1, "threshold": 0.3},
    "easycache": {"warmup_steps": 2},
    "tgate": {"gate_step": 3},
    "lemica": {"full_steps": (0, 1, 4), "num_inference_steps": STEPS},
    "meancache": {"full_steps": (0, 1, 4), "num_inference_steps": STEPS, "look_back": (1, 2, 3)},
    "budcache": {"budget": 3},
    "clusca": {"interval": 3, "clusters": 4},
    "toca": {"fresh_ratio": 0.3},
    "duca": {"fresh_ratio": 0.3},
}


CALIBRATED = ("smoothcache", "magcache", "scalingcache")


@functools.cache
def methods_of(family: str) -> tuple[str, ...]:
    """Names of the methods that run on a family; routers and fronts are of one model, and fill as others do."""
    fitting = [name for name in toca.methods() if runs_on(family, name) and name not in ("learned", "tuned")]
    return tuple(name for name in fitting if fits_scheduler(toca.methods()[name](), family))


def method_named(family: str, name: str, steps: int = STEPS) -> Any:
    """A method with values that suit the tiny models."""
    if name in CALIBRATED:
        return calibrated(family, name, steps)
    values = VALUES.get(name, {})
    return toca.methods()[name](**values | ({"num_inference_steps": steps} if "num_inference_steps" in values else {}))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("toca") and r.levelno == logging.WARNING]


# --- what a family knows of its transformer's arguments --------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_argument_of_the_installed_transformer_is_known(family: str) -> None:
    """A later diffusers may have more: whoever supports it says here what they do to a plan. (Of many other families
    some arguments are left out on purpose: calls that have one run in full.)"""
    spec = REGISTERED[family]
    parameters = list(inspect.signature(getattr(diffusers, spec.transformer).forward).parameters)[1:]
    assert set(parameters) <= {*spec.batched, *spec.whole, *spec.free, *spec.only}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["fora", "fbcache"])
def test_an_argument_that_nobody_has_looked_at(family: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Given with a value, the call runs in full, with one warning; not given, or at its default, the plan holds."""
    model, inputs = TINY[family](), inputs_for(family, STEPS)
    method = method_named(family, name)
    wanted = cached_run(model, method, inputs)

    class Later(type(model)):  # type: ignore[misc]
        def forward(self, *args: Any, louder: float = 1.0, skip_layers: Any = None, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            output.sample.mul_(louder)
            return output

    names = list(inspect.signature(type(model).forward).parameters.values())[:-1]
    extra = list(inspect.signature(Later.forward).parameters.values())[2:4]
    Later.forward.__signature__ = inspect.Signature([*names, *extra])
    model.__class__ = Later
    assert_equal(cached_run(model, method, [call | {"louder": 1.0, "skip_layers": None} for call in inputs]), wanted)
    assert not warnings(caplog)
    louder = [call | {"louder": 2.0} for call in inputs]
    with toca.cached(model, method, num_inference_steps=STEPS):
        assert_equal(run_steps(model, louder), [2 * output for output in run_steps_stock(model, inputs)])
        assert toca.summary(model).bypassed > 0
    assert len(warnings(caplog)) == 1 and "`louder=2.0`" in warnings(caplog)[0]


def run_steps_stock(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    with torch.no_grad():
        return [type(model).forward(model, **call).sample.clone() for call in inputs]


@pytest.mark.parametrize("name", methods_of("latte"))
def test_latte_without_temporal_attention(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """All steps, and some of them: what ran before and after is not mixed up with what the argument changed."""
    model, method = TINY["latte"](), method_named("latte", name)
    inputs = [call | {"enable_temporal_attentions": False} for call in inputs_for("latte", STEPS)]
    stock = run_steps(model, inputs)
    assert_equal(cached_run(model, method, inputs), stock)
    assert len(warnings(caplog)) == 1 and "`enable_temporal_attentions=False`" in warnings(caplog)[0]
    mixed = [call | {"enable_temporal_attentions": step not in (2, 3)} for step, call in enumerate(inputs)]
    stock = run_steps(model, mixed)
    got = cached_run(model, method, mixed)
    # The step after is computed: what was kept before is too old.
    assert_close([got[i] for i in (0, 2, 3, 4)], [stock[i] for i in (0, 2, 3, 4)], 1e-4)


# --- arguments with a row a sample -----------------------------------------------------------------------------------


class Scaled(FluxAttnProcessor):
    """A processor of the user's own, told by an argument of any form how much of the attention counts."""

    def __call__(self, attn: Any, hidden_states: Any, *args: Any, strength: Any = None, **kwargs: Any) -> Any:
        while not isinstance(strength, Tensor):
            strength = next(iter(strength.values())) if isinstance(strength, dict) else strength[0]
        scale = strength.unflatten(0, (hidden_states.shape[0], -1)).mean(dim=1)[:, None, None]
        outputs = super().__call__(attn, hidden_states, *args, **kwargs)
        return tuple(scale * part for part in outputs) if isinstance(outputs, tuple) else scale * outputs

    parameters = list(inspect.signature(FluxAttnProcessor.__call__).parameters.values())
    __call__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*parameters, inspect.Parameter("strength", inspect.Parameter.KEYWORD_ONLY, default=None)]
    )


ByRow = type("FluxAttnProcessor", (Scaled,), {})
"""The same under a name that the family knows to treat each row by itself."""
Named = namedtuple("Named", ["tensor", "note"])
FORMS = {
    "tensor": lambda strength: strength,
    "list": lambda strength: [strength],
    "dict": lambda strength: {"deep": (strength, 7)},
    "named": lambda strength: Named(strength, None),
}


def flux_with(processor: type) -> nn.Module:
    model = tiny_flux()
    for module in model.modules():
        if hasattr(module, "set_processor"):
            module.set_processor(processor())
    return model


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["fbcache", "teacache", "easycache"])
def test_an_argument_found_by_its_shape(name: str, form: str, caplog: pytest.LogCaptureFixture) -> None:
    """Images of a batch that decide differently get their own rows of what is deep in an argument."""
    model, method = flux_with(ByRow), CASES[name].of("flux")
    strength = torch.tensor([1.0, 0.9, 1.1])
    inputs = [call | {"joint_attention_kwargs": {"strength": FORMS[form](strength)}} for call in lively("flux", 3)]
    together = cached_run(model, method, inputs)
    for row in range(3):
        alone = rows_of(inputs, [row])
        for call in alone:
            call["joint_attention_kwargs"] = {"strength": FORMS[form](strength[row : row + 1])}
        with toca.cached(model, method, num_inference_steps=len(alone)):
            got = run_steps(model, alone)
            assert "F" != set(toca.summary(model).steps)
        assert_close(got, [outputs[row : row + 1] for outputs in together])
    assert not warnings(caplog)


def test_an_argument_that_cannot_be_told(caplog: pytest.LogCaptureFixture) -> None:
    """Twice as many rows as the batch: frames, or something that all share? The batch stays whole, and says so."""
    model, method = flux_with(ByRow), CASES["fbcache"].of("flux")
    inputs = [call | {"joint_attention_kwargs": {"strength": torch.ones(6)}} for call in lively("flux", 3)]
    with toca.cached(model, method, num_inference_steps=len(inputs)):
        got = run_steps(model, inputs)
        assert "m" not in toca.summary(model).steps
    whole = dataclasses.replace(method, per_sample=False)
    assert_equal(got, cached_run(model, whole, inputs))
    assert len(warnings(caplog)) == 1 and "`joint_attention_kwargs`" in warnings(caplog)[0]


@pytest.mark.parametrize("name", ["fbcache", "easycache"])
def test_an_unknown_processor_keeps_the_batch_whole(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Perturbed-attention guidance cuts the batch in three: no part of it may run by itself."""
    model, method = flux_with(Scaled), CASES[name].of("flux")
    inputs = [call | {"joint_attention_kwargs": {"strength": torch.ones(3)}} for call in lively("flux", 3)]
    with toca.cached(model, method, num_inference_steps=len(inputs)):
        run_steps(model, inputs)
        assert "m" not in toca.summary(model).steps
    assert len(warnings(caplog)) == 1 and "Scaled" in warnings(caplog)[0]


def flux_with_ip_adapter() -> nn.Module:
    """What loading an IP-Adapter does: other processors in the dual blocks, and a projection of the image."""
    from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection

    model = tiny_flux()
    with torch.random.fork_rng(devices=[]):
        for block in model.transformer_blocks:
            block.attn.set_processor(
                FluxIPAdapterAttnProcessor(hidden_size=32, cross_attention_dim=16, num_tokens=[4])
            )
        projection = ImageProjection(image_embed_dim=12, cross_attention_dim=16, num_image_text_embeds=4)
        model.encoder_hid_proj = MultiIPAdapterImageProjection([projection])
    return randomize(model)


IMAGES = torch.randn(3, 1, 12, generator=torch.Generator().manual_seed(5))


def with_images(inputs: Inputs, rows: slice) -> Inputs:
    return [call | {"joint_attention_kwargs": {"ip_adapter_image_embeds": [IMAGES[rows]]}} for call in inputs]


@pytest.mark.parametrize("name", ["fbcache", "teacache", "dicache", "easycache", "speca"])
def test_ip_adapter(name: str) -> None:
    """The model takes the embeddings out of the caller's dictionary in every call, and every image has its own."""
    model, method, inputs = flux_with_ip_adapter(), CASES[name].of("flux"), lively("flux", 3)
    stock = run_steps(model, with_images(inputs, slice(None)))
    together = cached_run(model, method, with_images(inputs, slice(None)))
    assert_close(together[:1], stock[:1])
    for row in range(3):
        alone = cached_run(model, method, with_images(rows_of(inputs, [row]), slice(row, row + 1)))
        assert_close(alone, [outputs[row : row + 1] for outputs in together], 1e-4)


def test_rows_of_arguments() -> None:
    latte, pixart, flux = REGISTERED["latte"], REGISTERED["pixart"], REGISTERED["flux"]
    mask = torch.arange(6.0).view(6, 1)
    rows = torch.tensor([2])
    assert some_rows({"encoder_attention_mask": mask}, latte, rows, 3)["encoder_attention_mask"].tolist() == [[4], [5]]
    ids = torch.zeros(3, 3)
    assert some_rows({"txt_ids": ids}, flux, rows, 3)["txt_ids"] is ids
    nested = {"added_cond_kwargs": {"resolution": torch.eye(3)}}
    assert some_rows(nested, pixart, rows, 3)["added_cond_kwargs"]["resolution"].tolist() == [[0, 0, 1]]
    assert unclear({"joint_attention_kwargs": {"x": [torch.zeros(6, 2)]}}, flux, 3) == "joint_attention_kwargs"
    assert unclear({"joint_attention_kwargs": {"ip_hidden_states": [torch.zeros(6, 2)]}}, flux, 3) is None
    assert unclear({"joint_attention_kwargs": {"x": torch.zeros(3, 2), "y": torch.zeros(1)}}, flux, 3) is None
    kept = {"a": [{"b": 1}]}
    copy = own_copy(kept)
    assert copy == kept and copy["a"][0] is not kept["a"][0]


# --- every optional argument x every method --------------------------------------------------------------------------


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(8))


KEEP = torch.tensor([[1] * 8, [1] * 5 + [0] * 3, [1] * 2 + [0] * 6])
OPTIONS: dict[str, dict[str, Any]] = {
    "dit": {"attention": lambda rows: {"cross_attention_kwargs": {}}, "tuple": lambda rows: {"return_dict": False}},
    "pixart": {
        "masks": lambda rows: {
            "attention_mask": (noise(3, 64)[rows] > -1).long(),
            "encoder_attention_mask": (1 - KEEP[rows].float())[:, None] * -10000.0,
        },
        "attention": lambda rows: {"cross_attention_kwargs": {}, "encoder_attention_mask": None},
    },
    "flux": {
        "controlnet": lambda rows: {
            "controlnet_block_samples": [noise(3, 64, 32)[rows]],
            "controlnet_single_block_samples": (noise(3, 64, 32)[rows], noise(3, 64, 32)[rows]),
        },
        "repeated": lambda rows: {
            "controlnet_block_samples": [noise(3, 64, 32)[rows], 2 * noise(3, 64, 32)[rows]],
            "controlnet_blocks_repeat": True,
        },
        "attention": lambda rows: {"joint_attention_kwargs": {"scale": 1.0}, "guidance": 4 + noise(3)[rows]},
        "mask": lambda rows: {"joint_attention_kwargs": {"attention_mask": noise(3, 1, 1, 72)[rows] > -1}},
    },
    "latte": {
        "mask": lambda rows: {
            "encoder_attention_mask": ((1 - KEEP[rows].float()) * -10000.0).repeat_interleave(4, dim=0)[:, None]
        },
        "temporal": lambda rows: {"enable_temporal_attentions": True, "return_dict": True},
    },
}
COMBINATIONS = [
    (family, option, name) for family, options in OPTIONS.items() for option in options for name in methods_of(family)
]
COVERED = COMBINATIONS[::5]


def check_option(family: str, option: str, name: str) -> None:
    """The first step is the stock one, and each of three images with its own values is the one that it is alone."""
    model, inputs = TINY[family](), lively(family, 3)[:STEPS]
    threshold = CASES[name].of(family).threshold if name in CASES else None
    method = method_named(family, name)
    method = method if threshold is None else dataclasses.replace(method, threshold=threshold)
    results = []
    for rows in ([0, 1, 2], [2], [1]):
        given = [call | OPTIONS[family][option](rows) for call in rows_of(inputs, rows)]
        with toca.cached(model, method, num_inference_steps=STEPS), torch.no_grad():
            results.append([model(**call)[0] for call in given])
            assert toca.summary(model).bypassed == 0
        if len(rows) == 3:
            with torch.no_grad():
                assert torch.equal(results[0][0], model(**given[0])[0])
    assert_close(results[1] + results[2], [out[2:] for out in results[0]] + [out[1:2] for out in results[0]], 1e-4)


@pytest.mark.parametrize(("family", "option", "name"), COVERED)
def test_options(family: str, option: str, name: str) -> None:
    check_option(family, option, name)


@pytest.mark.matrix
@pytest.mark.parametrize(("family", "option", "name"), [case for case in COMBINATIONS if case not in COVERED])
def test_all_options(family: str, option: str, name: str) -> None:
    check_option(family, option, name)
