"""The example of a family from outside diffusers: it runs, costs what it says, and gains what the papers report."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import toca
from toca.eval.counting.flops import FlopMeter
from toca.models.shape import laid_out

from .conformance.common import GENERIC, assert_close
from .helpers import Inputs, randomize
from .registries import as_it_was

PATH = Path(__file__).parents[1] / "examples" / "third_party_family.py"
STEPS = 6
# ToCa on Open-Sora 1.2 at 480p, and what it is compared with there.
REPORTED = {
    "toca/opensora": (2.28, 2.38),
    "pab/opensora": (1.24, 1.28),
    "duca/opensora": (2.48, 2.54),
    "fora": (1.86, 1.88),
}


@pytest.fixture(scope="module", autouse=True)
def example() -> Iterator[Any]:
    with as_it_was(), pytest.MonkeyPatch.context() as patch:
        spec = importlib.util.spec_from_file_location("third_party_family", PATH)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def model(example: Any) -> Any:
    return randomize(example.STDiT3(example.SMALL._replace(depth=2, latents=(3, 8, 8), text_tokens=8)))


def calls(model: Any, moves: bool = True, dtype: torch.dtype = torch.float32) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    sizes = model.config.sizes
    latents, drift = (torch.randn(2, 4, *sizes.latents, generator=generator) for _ in range(2))
    text = torch.randn(2, sizes.text_tokens, sizes.text_width, generator=generator)
    # Equal to the model, which takes them in single precision, where nothing is to move.
    times = [900.0 - (100.0 if moves else 1e-9) * step for step in range(STEPS)]
    return [
        {
            "x": (latents + 0.1 * step * moves * drift).to(dtype),
            "timestep": torch.full((2,), time, dtype=torch.float64),
            "y": text.to(dtype),
        }
        for step, time in enumerate(times)
    ]


def run(model: Any, inputs: Inputs, method: Any = None, **options: Any) -> tuple[list[torch.Tensor], Any]:
    if method is not None:
        toca.enable_cache(model, method, num_inference_steps=len(inputs), **options)
    with torch.no_grad():
        outputs = [model(**call)[0] for call in inputs]
    summary = None if method is None else toca.summary(model)
    toca.disable_cache(model)
    return outputs, summary


@pytest.mark.parametrize("name", REPORTED)
def test_at_the_real_sizes_it_gains_what_is_reported(example: Any, name: str) -> None:
    least, most = REPORTED[name]
    assert least <= example.predicted_speedup(name) <= most
    assert set(example.PUBLISHED) == set(REPORTED)


def test_it_runs(example: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(example, "SMALL", example.SMALL._replace(depth=1, latents=(2, 4, 8), text_tokens=4))
    example.main(["--device", "cpu"])
    said = capsys.readouterr().out
    assert all(name in said for name in REPORTED) and "2.37x" in said and "FFFtttFttt" in said


METHODS = {
    **{name: GENERIC[name] for name in ("value", "self", "fora", "random", "forecast", "forecast-blocks", "gate")},
    "gate-input": GENERIC["gate-input"],
    "toca": toca.ToCa(interval=3, fresh_ratio=0.3),
    "clusca": toca.ClusCa(interval=3, clusters=4, warmup_steps=1),
    "duca": toca.DuCa(interval=4, fresh_ratio=0.3),
    "delta-dit": toca.DeltaDiT(blocks=2, switch=3),
}


@pytest.mark.parametrize("name", METHODS)
def test_where_nothing_moves_a_cache_changes_nothing(model: Any, name: str) -> None:
    """Rows of frames and of places meet rows of whole videos: what is put back into the wrong place would show."""
    inputs = calls(model, moves=False)
    (wanted, _), (got, summary) = run(model, inputs), run(model, inputs, METHODS[name])
    assert summary.flops < summary.flops_full
    assert_close(got, wanted, 1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_it_costs_what_the_plan_says(model: Any, name: str) -> None:
    inputs = calls(model)
    with FlopMeter() as meter:
        _, summary = run(model, inputs, METHODS[name])
    cost = METHODS[name].plan(model, STEPS).cost(batch_size=2)
    assert meter.total == summary.flops and cost.flops_full == summary.flops_full
    if not cost.decides_online:
        assert (cost.flops, cost.cache_bytes) == (summary.flops, summary.cache_bytes)


def test_value_norms_of_frames_and_places_are_those_of_the_videos_tokens(example: Any, model: Any) -> None:
    """The score of each token is that of its own frame, or place: a permutation of tokens would choose others."""
    layout = METHODS["value"].plan(model, STEPS).layout
    shape = layout.default_shape
    rows = {site.module: site.rows for site in layout.sites if site.layer == 1}
    assert rows == {"self_attn": "position", "cross_attn": "sample", "ff": "sample"}
    numbers = torch.arange(shape.frames * shape.tokens).view(1, shape.frames, shape.tokens)
    by_place = numbers.transpose(1, 2).flatten(0, 1)[..., None]
    assert laid_out(by_place, shape, "position", "sample").flatten().tolist() == numbers.flatten().tolist()
    assert laid_out(numbers.flatten(0, 1)[..., None], shape, "frame", "sample").flatten().tolist() == list(
        range(numbers.numel())
    )
    again = laid_out(laid_out(by_place, shape, "position", "frame"), shape, "frame", "position")
    assert torch.equal(again, by_place)


def test_its_own_settings_are_its_default(model: Any) -> None:
    _, summary = run(model, calls(model), "toca")
    assert summary.chosen == "toca, the preset toca/opensora"


def test_tokens_are_not_dropped_from_it(model: Any) -> None:
    with pytest.raises(ValueError, match=r"opensora models \(STDiT3\): its blocks attend within frames and positions"):
        toca.enable_cache(model, "ras", num_inference_steps=STEPS)
