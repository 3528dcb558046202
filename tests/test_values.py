"""Values that make no sense are refused when they are given, by a sentence that names them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from diffusers import PixArtAlphaPipeline

import toca
from toca.methods import METHODS
from toca.models import FAMILIES, describe

from .helpers import TINY

ODD: dict[str, Any] = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "negative": -1,
    "fraction": 2.5,
    "text": "3",
    "None": None,
    "list": [],
    "huge": 10**12,
    "400 digits": 10**400,
    "True": True,
    "object": object(),
}
FIELDS = [(name, field.name) for name, cls in METHODS.items() for field in dataclasses.fields(cls) if field.init]


@pytest.mark.parametrize(("method", "field"), FIELDS, ids=[f"{method}-{field}" for method, field in FIELDS])
def test_an_odd_value_is_refused_by_name_or_makes_a_plan(method: str, field: str) -> None:
    layout = describe(TINY["dit"](), FAMILIES["dit"])
    for value in ODD.values():
        try:
            made = METHODS[method](**{field: value})
        except (ValueError, TypeError, FileNotFoundError) as error:
            text = str(error)
            assert len(text) < 500 and "not supported between" not in text
            named = f"`{field}" in text or "`window" in text
            assert named or field in ("calibration", "router", "front", "when", "which", "fill")
            continue
        try:
            made.plan_layout(layout, 6)
        except ValueError as error:
            assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: toca.ClusCa(clusters=2.5), "clusters"),  # type: ignore[arg-type]
        (lambda: toca.TaylorSeer(order=2.5), "order"),  # type: ignore[arg-type]
        (lambda: toca.TaylorSeer(order=10**6), "order"),
        (lambda: toca.ToCa(fresh_ratio=math.inf), "fresh_ratio"),
        (lambda: toca.ToCa(fresh_ratio=math.nan), "fresh_ratio"),
        (lambda: toca.ToCa(interval="3"), "interval"),  # type: ignore[arg-type]
        (lambda: toca.FORA(interval=True), "interval"),
        (lambda: toca.FORA(interval=10**400), "interval"),
        (lambda: toca.FORA(counts_down=1), "counts_down"),  # type: ignore[arg-type]
        (lambda: toca.TeaCache(coefficients=(1.0, math.nan)), "coefficients"),
        (lambda: toca.PAB(window=(800, 100)), "window"),
        (lambda: toca.RAS(dense_steps=(1, -2)), "dense_steps"),
        (lambda: dataclasses.replace(toca.FORA(), interval=0), "interval"),
    ],
)
def test_the_field_and_the_value_are_named(make: Any, field: str) -> None:
    with pytest.raises(ValueError, match=f"`{field}") as raised:
        make()
    assert len(str(raised.value)) < 200


def test_a_class_is_no_target() -> None:
    with pytest.raises(ValueError, match="`target` must be a pipeline or a transformer, got the class PixArtAlphaPi"):
        toca.enable_cache(PixArtAlphaPipeline, "fora")  # type: ignore[type-var]


def test_a_class_is_no_method() -> None:
    with pytest.raises(TypeError, match="the name of a preset, got the class FORA"):
        toca.enable_cache(TINY["pixart"](), toca.FORA, num_inference_steps=4)  # type: ignore[arg-type]


def test_a_transformer_without_layers_has_nothing_to_cache() -> None:
    with pytest.raises(ValueError, match="This PixArtTransformer2DModel has no layers"):
        toca.FORA().plan(TINY["pixart"](num_layers=0), 4)


def test_numbers_of_numpy_are_numbers() -> None:
    method = toca.ToCa(interval=np.int64(3), fresh_ratio=np.float32(0.5))  # type: ignore[arg-type]
    assert (type(method.interval), type(method.fresh_ratio)) == (int, float)
    assert method == toca.ToCa(interval=3, fresh_ratio=0.5)


@pytest.mark.parametrize("steps", [0, -1, 2.5, math.nan, math.inf, "8", True, 10**12, 10**400])
def test_numbers_of_steps(steps: Any) -> None:
    transformer = TINY["dit"]()
    with pytest.raises(ValueError, match="`num_inference_steps`"):
        toca.FORA().plan(transformer, steps)
    with pytest.raises(ValueError, match="`num_inference_steps`"):
        toca.enable_cache(transformer, toca.FORA(), num_inference_steps=steps)


@pytest.mark.parametrize(
    "size",
    [{"height": math.inf}, {"batch_size": 2.5}, {"num_frames": 10**12}, {"text_tokens": -1}, {"width": "8"},
     {"dtype": "float16"}, {"dtype": 2}, {"batched_cfg": "no"}, {"batched_cfg": math.nan}],
)  # fmt: skip
def test_sizes_of_a_cost(size: dict[str, Any]) -> None:
    plan = toca.FORA().plan(TINY["dit"](), 4)
    with pytest.raises(ValueError, match=f"`{next(iter(size))}`"):
        plan.cost(**size)
