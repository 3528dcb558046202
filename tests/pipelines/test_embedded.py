"""The models in the repository: they fit, they make what they are asked for, and stock classes load the whole ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from toca.pipelines import checksums
from toca.pipelines.borrowing import borrowed
from toca.pipelines.config import GenerationConfig
from toca.pipelines.generate import generate
from toca.pipelines.loading import load
from toca.pipelines.registry import models

ROOT = Path(__file__).parents[2]
FOLDERS = [Path(entry.source) for entry in models().values() if entry.embedded]
CLIP = ROOT / "pipelines/emoji-clip/emoji-clip.pt"
NAMES = [folder.name for folder in FOLDERS]
WHOLE = [folder for folder in FOLDERS if not borrowed(folder)]  # the others: tests/pipelines/test_borrowing.py


def test_all_weights_together_stay_below_40_mib():
    weights = [path for path in (ROOT / "pipelines").rglob("*") if path.suffix in (".safetensors", ".pt")]
    weights = [path for path in weights if path.name != "reference.safetensors"]
    assert len(weights) >= 3
    assert sum(path.stat().st_size for path in weights) < 40 * 2**20


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_its_folder_is_whole_and_in_half_precision(folder):
    checksums.check(folder)
    for path in folder.rglob("diffusion_pytorch_model.safetensors"):
        with safe_open(path, framework="pt") as file:
            assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118


@pytest.mark.parametrize("folder", WHOLE, ids=[folder.name for folder in WHOLE])
def test_the_class_it_names_loads_it_with_no_code_of_ours(folder):
    index = json.loads((folder / "model_index.json").read_text())
    pipe = getattr(diffusers, index["_class_name"]).from_pretrained(folder)
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    assert {part.dtype for part in parts} == {torch.float32}
    assert not any(path.suffix == ".py" for path in folder.rglob("*"))


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_its_card_shows_and_tells(folder):
    card = (folder / "README.md").read_text()
    for word in ("MIT", "memorise", "Figures"):
        assert word in card
    for sheet in folder.glob("*.png"):
        assert sheet.stat().st_size <= 300_000


def make(name: str, prompt: str) -> np.ndarray:
    """The frames of one sample, uint8, (frames, size, size, 3), as the command line makes it."""
    if name not in NAMES:
        pytest.skip(f"this installation lacks {name}")
    entry = models()[name]
    config = GenerationConfig(prompt, num_inference_steps=entry.steps, guidance_scale=entry.guidance_scale)
    if entry.num_frames:
        config = replace(config, num_frames=entry.num_frames, height=entry.height, width=entry.width)
    elif name == "emoji-flux":
        config = replace(config, height=entry.height, width=entry.width)
    sample = generate(load(name, device="cpu"), config).samples[0]
    return np.stack([np.asarray(frame) for frame in sample.frames])


def darkness(frame: np.ndarray) -> np.ndarray:
    """How far from white each pixel is, (size, size)."""
    return 255.0 - frame.astype(float).mean(-1)


@pytest.mark.parametrize("name", ["emoji", "emoji-flux"])
@pytest.mark.parametrize("prompt", ["a red apple", "a soccer ball", "a key"])
def test_emoji_clip_recognises_what_was_asked_for(name, prompt):
    if not CLIP.is_file():
        pytest.skip("this checkout lacks emoji-clip")
    import clip

    picture = make(name, prompt)[0]
    model, preprocess = clip.load(str(CLIP), device="cpu")
    captions = ["a red apple", "a soccer ball", "a key", "an owl", "a rocket", "a castle", "a tomato", "a cat"]
    scores, _ = model(preprocess(Image.fromarray(picture))[None], clip.tokenize(captions))
    assert captions[int(scores.argmax())] == prompt


def test_clothes_have_the_shape_of_their_class():
    def extent(label: str) -> tuple[int, int]:
        ink = darkness(make("fashion", label)[0]) > 60
        return int(ink.any(1).sum()), int(ink.any(0).sum())

    height, width = extent("trousers")
    assert height > 1.4 * width
    height, width = extent("sneaker")
    assert width > 1.4 * height


@pytest.mark.parametrize("motion", ["sliding", "growing", "bouncing"])
def test_a_video_moves_as_it_was_asked_to(motion):
    ink = np.stack([darkness(frame) for frame in make("emoji-video", f"a red apple {motion}")])
    mass = ink.sum((1, 2))
    rows, columns = np.indices(ink.shape[1:])
    down, right = ((ink * place).sum((1, 2)) / mass for place in (rows, columns))
    if motion == "sliding":
        assert right[-1] - right[0] > 12 and np.ptp(down) < 8
    if motion == "growing":
        assert mass[-1] > 3 * mass[0]
    if motion == "bouncing":
        assert np.ptp(down) > 10 and 2 <= down.argmin() <= 6
