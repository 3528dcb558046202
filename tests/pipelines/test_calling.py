"""The plain call of a loaded pipeline: the right picture, and in everything else the stock pipeline."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import toca
from toca.pipelines.arguments import call_defaults
from toca.pipelines.calling import fill_defaults
from toca.pipelines.generate import generate
from toca.pipelines.loading import load
from toca.pipelines.registry import find_model, models
from toca.pipelines.request import Request, prepare

CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "emoji": ({"prompt": "a red apple"}, {"prompt": "a red apple"}),
    "emoji-flux": ({"prompt": "an owl, noto style"}, {"prompt": "an owl, noto style"}),
    "emoji-video": ({"prompt": "a red apple bouncing"}, {"prompt": "a red apple bouncing"}),
    "fashion": ({"class_labels": [7]}, {"class_label": "sneaker"}),
}
"""For each embedded model a plain call, and the same as options of `toca generate`."""


def frames(output: Any) -> list[np.ndarray]:
    pictures = output.frames[0] if hasattr(output, "frames") else output.images
    return [np.asarray(picture) for picture in pictures]


@pytest.mark.parametrize("name", CALLS)
def test_the_plain_call_makes_the_picture_of_the_command_line(name):
    if name not in models():
        pytest.skip(f"this installation lacks {name}")
    call, options = CALLS[name]
    job = prepare(Request(model=name, device="cpu", seed=3, **options))
    made = generate(job.pipe, job.config).samples[0].frames
    pictures = frames(load(name, device="cpu")(**call, generator=torch.Generator().manual_seed(3)))
    assert len(pictures) == (job.config.num_frames or 1)
    for picture, other in zip(pictures, made, strict=True):
        assert np.array_equal(picture, np.asarray(other))


def test_what_the_caller_gives_wins():
    pipe = load("fashion", device="cpu")
    calls = []
    pipe.transformer.register_forward_pre_hook(lambda *_: calls.append(1))
    by_name, by_number = (
        frames(pipe(labels, 1.0, torch.Generator().manual_seed(0), 3)) for labels in ("sneaker", [7])
    )
    assert np.array_equal(by_name[0], by_number[0])
    assert len(calls) == 6
    assert len(frames(pipe(class_labels=["bag", 7], num_inference_steps=2))) == 2
    with pytest.raises(ValueError, match="has no class 'snaeker'.*sneaker"):
        pipe(class_labels="snaeker")


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_inference_steps", 0), ("num_inference_steps", 2.5), ("num_inference_steps", "3"),
     ("num_inference_steps", 10**12), ("height", 64.0), ("width", 10**9), ("height", -64), ("guidance_scale", "x"),
     ("guidance_scale", math.nan), ("guidance_scale", math.inf), ("num_images_per_prompt", 0)],
)  # fmt: skip
def test_numbers_that_make_no_picture_are_named(folders, name, value):
    pipe = load(folders["pixart"], device="cpu")
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*, got {value!r}"):
        pipe("a red owl", **{name: value})


def test_a_loaded_pipeline_is_a_stock_pipeline(folders, tmp_path):
    pipe = load(folders["pixart"], device="cpu")
    stock = diffusers.PixArtAlphaPipeline
    assert isinstance(pipe, stock) and type(pipe).__name__ == "PixArtAlphaPipeline"
    assert type(pipe).__module__ == stock.__module__
    assert inspect.signature(pipe.__call__) == inspect.signature(stock.from_pipe(pipe).__call__)
    assert set(pipe.components) == set(stock.from_pipe(pipe).components)
    other = diffusers.PixArtSigmaPipeline.from_pipe(pipe)
    assert type(other) is diffusers.PixArtSigmaPipeline and other.transformer is pipe.transformer
    pipe.save_pretrained(tmp_path / "saved")
    assert type(diffusers.DiffusionPipeline.from_pretrained(tmp_path / "saved")) is stock
    assert type(load(tmp_path / "saved", device="cpu")) is type(pipe)
    with toca.cached(pipe, toca.FORA(interval=2)):
        pipe("a red owl", num_inference_steps=4, output_type="np")
        assert toca.summary(pipe).steps == "FFrF"


def test_a_loaded_pipeline_can_be_copied_and_sent_to_another_process(dit):
    pipe = fill_defaults(dit)
    for other in (copy.deepcopy(pipe), pickle.loads(pickle.dumps(pipe))):
        assert type(other) is type(pipe)
        assert other.labels == pipe.labels
        assert other(class_labels="goldfish", num_inference_steps=2, output_type="np").images.shape[0] == 1


def test_only_arguments_that_a_pipeline_takes_are_filled_in(pixart, latte, dit):
    plain = {"use_resolution_binning": False, "clean_caption": False}
    assert call_defaults(pixart) == plain
    assert call_defaults(dit) == {}
    latte.register_to_config(_name_or_path=find_model("emoji-video").source)
    wanted = {"num_inference_steps": 20, "guidance_scale": 2.0, "height": 64, "width": 64, "video_length": 8}
    assert call_defaults(latte) == {**wanted, "clean_caption": False}
