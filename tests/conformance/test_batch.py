"""Your image is yours: a sample's result does not depend on its batch-mates, nor on its place among them.

Rounding differs a little between batch sizes (a matrix product sums in another order), hence a tolerance; a token
chosen otherwise costs a hundred times more.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import toca

from ..helpers import TINY, TINY_PIPELINES, Inputs, inputs_for, tiny_pixart_pipeline
from .common import STEPS, assert_close, cached_run, caching_method, every_family, method_of


def rows_of(inputs: Inputs, rows: list[int]) -> Inputs:
    """The same generation with these rows of the batch only, in this order."""
    batch = inputs[0]["hidden_states"].shape[0]

    def pick(value: Any) -> Any:
        batched = isinstance(value, Tensor) and value.shape[:1] == (batch,)
        return value[rows] if batched else value

    return [{name: pick(value) for name, value in call.items()} for call in inputs]


@every_family
@caching_method
@pytest.mark.parametrize("rows", [[0], [2], [2, 1]], ids=str)
def test_alone_or_in_company(family: str, name: str, rows: list[int]) -> None:
    transformer, method = TINY[family](), method_of(family, name)
    inputs = inputs_for(family, STEPS, batch_size=3, seed=4)
    together = cached_run(transformer, method, inputs)
    got = cached_run(transformer, method, rows_of(inputs, rows))
    assert_close(got, [outputs[rows] for outputs in together])


@every_family
@caching_method
@pytest.mark.parametrize("sample", [1])
def test_alone_or_in_company_with_batched_guidance(family: str, name: str, sample: int) -> None:
    transformer, method = TINY[family](), method_of(family, name)
    inputs = inputs_for(family, STEPS, batch_size=3, seed=4, cfg=True)
    rows = [sample, sample + 3]
    together = cached_run(transformer, method, inputs, batched_cfg=True)
    got = cached_run(transformer, method, rows_of(inputs, rows), batched_cfg=True)
    assert_close(got, [outputs[rows] for outputs in together])


@every_family
@pytest.mark.parametrize("name", ["preset", "shared", "random"])
def test_alone_or_in_company_in_bfloat16(family: str, name: str) -> None:
    """Half precision decides by fewer bits; equal bits in, equal choice out."""
    transformer, method = TINY[family]().bfloat16(), method_of(family, name)
    inputs = inputs_for(family, STEPS, batch_size=3, seed=4, dtype=torch.bfloat16)
    together = cached_run(transformer, method, rows_of(inputs, [1, 1, 1]))
    assert_close([outputs[:1] for outputs in together], [outputs[2:] for outputs in together], 1e-6)


@every_family
def test_extreme_company_is_harmless(family: str) -> None:
    """Batch-mates a thousand times as large change no score of another sample."""
    transformer, method = TINY[family](), method_of(family, "self")
    inputs = inputs_for(family, STEPS, batch_size=2, seed=4)
    alone = cached_run(transformer, method, rows_of(inputs, [0]))
    loud = [call | {"hidden_states": call["hidden_states"] * _loudness(call)} for call in inputs]
    assert_close([rows[:1] for rows in cached_run(transformer, method, loud)], alone)


def _loudness(call: dict[str, Any]) -> Tensor:
    shape = (2,) + (1,) * (call["hidden_states"].ndim - 1)
    return torch.tensor([1.0, 1000.0]).view(shape)


@every_family
@pytest.mark.parametrize("name", ["preset", "shared"])
def test_stock_pipelines(family: str, name: str) -> None:
    """Two samples in one call of the pipeline, and each in a call of its own."""
    pipe, method = TINY_PIPELINES[family](), method_of(family, name)
    with toca.cached(pipe, method):
        together = _generate(pipe, family, [0, 1])
        alone = [_generate(pipe, family, [sample]) for sample in (0, 1)]
    # Guidance multiplies differences, and so do the steps of the sampler.
    assert_close([together[:1], together[1:]], alone, 1e-3)


PROMPTS = ["a red owl", "the big moon on a tree"]


def _generate(pipe: Any, family: str, samples: list[int], **changes: Any) -> Tensor:
    arguments: dict[str, Any] = {
        "num_inference_steps": 6,
        "generator": [torch.Generator().manual_seed(sample) for sample in samples],
    }
    if family == "dit":
        # This pipeline hands a list of generators to the scheduler only if it has one for each sample of both halves.
        arguments["generator"] = None
        _pin_latents(pipe, samples)
        output = pipe(class_labels=[5 + sample for sample in samples], output_type="pt", **(arguments | changes))
        return torch.as_tensor(output.images)
    arguments |= {"prompt": [PROMPTS[sample] for sample in samples], "output_type": "latent"}
    if family == "flux":
        return pipe(max_sequence_length=8, **(arguments | changes)).images
    arguments["clean_caption"] = False
    if family == "latte":
        # With the mask a single prompt is cut to its words and two are not, which is no doing of a cache.
        return pipe(height=32, width=32, video_length=4, mask_feature=False, **(arguments | changes)).frames
    return pipe(**(arguments | changes)).images


def _pin_latents(pipe: Any, samples: list[int]) -> None:
    """DiT's pipeline draws its latents from the global generator: sample by sample here."""
    import diffusers.pipelines.dit.pipeline_dit as module

    def draw(shape: Any, **_: Any) -> Tensor:
        return torch.cat([torch.randn(1, *shape[1:], generator=torch.Generator().manual_seed(s)) for s in samples])

    module.randn_tensor = draw


@pytest.fixture(autouse=True)
def put_back_the_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers.pipelines.dit.pipeline_dit as module

    monkeypatch.setattr(module, "randn_tensor", module.randn_tensor)


@pytest.mark.parametrize("name", ["preset", "shared"])
def test_equal_noise_without_guidance_is_no_guidance_pair(name: str) -> None:
    """Two prompts from one seed look like the halves of guidance at the first step; they are two images."""
    pipe, method = tiny_pixart_pipeline(), method_of("pixart", name)
    noise = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    arguments = {"num_inference_steps": 6, "guidance_scale": 1.0, "output_type": "latent", "clean_caption": False}
    with toca.cached(pipe, method):
        together = pipe(PROMPTS, latents=noise.repeat(2, 1, 1, 1), **arguments).images
        alone = [pipe(prompt, latents=noise, **arguments).images for prompt in PROMPTS]
    assert_close([together[:1], together[1:]], alone, 1e-3)
