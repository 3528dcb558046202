"""What cannot be cached is refused by the name of the class that was found, and with the reason where it is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

import toca
from toca.models import FAMILIES
from toca.models.outside import OUTSIDE


def stand_in(name: str) -> nn.Module:
    """A module of a class of that name: what is refused is not run."""
    return type(name, (nn.Linear,), {})(1, 1)


def pipeline(name: str, **components: Any) -> Any:
    return type(name, (SimpleNamespace,), {})(components=components, scheduler=None)


def refused(target: Any) -> str:
    with pytest.raises(ValueError) as error:
        toca.enable_cache(target, "fora")
    return str(error.value)


def test_a_u_net_is_named() -> None:
    pipe = pipeline("StableDiffusionXLPipeline", text_encoder=nn.Linear(9, 9), unet=stand_in("UNet2DConditionModel"))
    said = refused(pipe)
    assert said.startswith("StableDiffusionXLPipeline has a UNet2DConditionModel, which is a convolutional U-Net")
    assert "DeepCache" in said and "`toca models --families`" in said


def test_a_real_one_is_too() -> None:
    unet = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(4, 4), layers_per_block=1, norm_num_groups=2,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    pipe = diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler())
    assert refused(pipe).startswith("DDPMPipeline has a UNet2DModel, which is a convolutional U-Net")
    assert refused(unet).startswith("UNet2DModel is a convolutional U-Net")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("UVit2DModel", "masked tokens"),
        ("PriorTransformer", "81 tokens"),
        ("MiniMaxMusic3RVQDepthDecoder", "is autoregressive"),
        ("Transformer2DModel", "is a part of U-Nets"),
        ("RFD4ProteinaTransformer", "proteins"),
    ],
)
def test_the_reason_is_told(name: str, word: str) -> None:
    assert word in refused(pipeline("SomePipeline", transformer=stand_in(name)))
    assert f"{name} " in refused(stand_in(name)) and word in refused(stand_in(name))


def test_a_subclass_is_refused_for_the_same_reason() -> None:
    mine = type("MyPrior", (type(stand_in("PriorTransformer")),), {})(1, 1)
    assert refused(mine).startswith("MyPrior makes an embedding from 81 tokens")


def test_what_makes_token_after_token_is_known_by_what_it_can() -> None:
    class Imagined(nn.Linear):
        def prepare_inputs_for_generation(self) -> None: ...

    assert "Imagined, which is autoregressive" in refused(pipeline("APipeline", transformer=Imagined(1, 1)))


def test_an_unknown_class_is_named_with_the_nearest() -> None:
    said = refused(pipeline("FluxishPipeline", transformer=stand_in("FluxTransformer2DModule")))
    assert "FluxishPipeline has a FluxTransformer2DModule, which is of no family" in said
    assert "FluxTransformer2DModel is the nearest" in said and "toca.register" in said
    assert "Linear is of no family that is known: toca.register" in refused(nn.Linear(1, 1))


def test_the_largest_stands_in_for_a_denoiser_without_a_known_name() -> None:
    pipe = pipeline("OddPipeline", vae=nn.Linear(2, 2), dit=stand_in("UNet1DModel"), tiny=nn.Identity())
    pipe.components["dit"].register_parameter("more", nn.Parameter(torch.zeros(99)))
    assert "OddPipeline has a UNet1DModel" in refused(pipe)


def test_a_pipeline_without_models_has_nothing_to_cache() -> None:
    assert refused(pipeline("EmptyPipeline")).startswith("EmptyPipeline has no transformer, so there is nothing")


def test_a_compiled_module_is_named_as_it_is() -> None:
    assert refused(torch.compile(stand_in("UNet1DModel"))).startswith("UNet1DModel is a convolutional U-Net")


def test_nothing_is_both_known_and_outside() -> None:
    assert not {spec.transformer for spec in FAMILIES.values()} & set(OUTSIDE)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_reason_follows_the_class(name: str) -> None:
    assert OUTSIDE[name].split()[0] in ("is", "makes", "fills") and not OUTSIDE[name].endswith(".")
