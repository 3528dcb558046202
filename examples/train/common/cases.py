"""What each pipeline is asked for when it is judged, and how its stock class is called."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import emoji_data, emoji_parts, fashion_data, motion, subjects, vae
from .judge import Judge, convolutional_judge, nearest

SHOWN = (
    "red apple", "owl", "pizza", "rocket", "penguin", "guitar", "sunflower", "hot beverage", "snowman", "panda",
    "birthday cake", "robot", "ghost", "cactus", "octopus", "hamburger", "bicycle", "butterfly", "crown", "castle",
    "rainbow", "tiger", "elephant", "dolphin", "lobster", "strawberry", "pineapple", "avocado", "croissant",
    "sailboat", "helicopter", "locomotive", "tractor", "full moon", "volcano", "palm tree", "rose", "mushroom",
    "maple leaf", "teddy bear", "soccer ball", "trophy", "balloon", "camera", "laptop", "light bulb", "key",
    "hammer", "umbrella", "dragon", "unicorn", "fox", "frog", "lion", "cat", "dog", "shark", "turtle", "watermelon",
    "taco", "doughnut", "cupcake", "red heart", "star",
)  # fmt: skip
"""64 emoji for sheets of samples."""


@dataclass
class Case:
    """One pipeline's examination.

    Args:
        prompts: what is asked, 64 of them first, which make the sheet.
        arguments: of the stock pipeline's call.
        held_out: for each prompt whether training lacked its combination of words.
        judge: from `Judge` and the samples, uint8, to figures.
        columns (`int`), scale (`float`): of the sheet.
        key (`str`): the argument that takes the prompts.
    """

    prompts: list[Any]
    arguments: dict[str, Any]
    held_out: list[bool]
    judge: Callable[[Judge, np.ndarray], dict[str, float]]
    columns: int = 8
    scale: float = 1.25
    key: str = "prompt"
    captions: list[str] = field(default_factory=list)


def article(label: str) -> str:
    """A label with the article that English wants."""
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def styled(data: emoji_data.Emoji, labels: tuple[str, ...]) -> tuple[list[tuple[int, int]], list[str]]:
    """64 emoji, a style each in turn, held-out drawings first where there are some; then every held-out drawing."""
    held = data.held_out()
    place = {entry.label: i for i, entry in enumerate(data.entries)}
    pairs = []
    for turn, label in enumerate(labels):
        i = place[label]
        pairs.append((i, int(held[i].argmax()) if held[i].any() else turn % len(emoji_data.STYLES)))
    common = [place[label] for label in subjects.COMMON]
    rest = [(i, j) for i in common for j in range(held.shape[1]) if held[i, j] and (i, j) not in pairs]
    return pairs + rest, [prompt(data, *pair) for pair in pairs + rest]


def prompt(data: emoji_data.Emoji, i: int, j: int) -> str:
    """How people ask for a drawing."""
    return emoji_parts.said(article(data.entries[i].label), list(emoji_data.STYLES)[j])


def text_to_image(folder: Path, arguments: dict[str, Any], labels: tuple[str, ...] | None) -> Case:
    """`emoji` and `emoji-flux`. `labels` are the emoji that the pipeline knows; all of them, if not given."""
    data = emoji_data.load(folder / "emoji.npz")
    data = data.only(labels) if labels else data
    pairs, prompts = styled(data, SHOWN)
    more = [(i, 0) for i in range(0, len(data.entries), max(1, len(data.entries) // 128))]
    pairs, prompts = pairs + more, prompts + [prompt(data, i, 0) for i, _ in more]
    held = data.held_out()

    def judge(by: Judge, images: np.ndarray) -> dict[str, float]:
        captions = [article(entry.label) for entry in data.entries]
        asked = np.stack([data.images[pair] for pair in pairs])
        figures = by.captions(images, asked, [i for i, _ in pairs], captions)
        every = data.images.reshape(-1, *data.images.shape[2:])
        return figures | nearest(images, [i * data.images.shape[1] + j for i, j in pairs], every)

    short = [text.split(" ", 1)[1].removesuffix(" style") for text in prompts]
    return Case(prompts, arguments, [bool(held[pair]) for pair in pairs], judge, captions=short)


def emoji(folder: Path) -> Case:
    return text_to_image(
        folder, {"guidance_scale": 4.0, "use_resolution_binning": False, "clean_caption": False}, None
    )


def emoji_flux(folder: Path) -> Case:
    size = {"height": 64, "width": 64, "max_sequence_length": 16}
    return text_to_image(folder, size, subjects.COMMON)


def emoji_video(folder: Path) -> Case:
    data = emoji_data.load(folder / "emoji.npz").only(subjects.MOVING)
    every = [(i, name) for i in range(len(data.entries)) for name in motion.MOTIONS]
    held = {pair: motion.held_out(data.entries[pair[0]].label, pair[1]) for pair in every}
    count = len(motion.MOTIONS)
    # Each emoji with two motions, the held-out ones among them, makes 64; the other motions follow.
    turns = [[every[count * i + (i + k) % count] for k in range(count)] for i in range(len(data.entries))]
    first = [pair for turn in turns for pair in sorted(turn, key=lambda pair: not held[pair])[:2]]
    pairs = first + [pair for pair in every if pair not in first]
    prompts = [f"{article(data.entries[i].label)} {name}" for i, name in pairs]

    def judge(by: Judge, images: np.ndarray) -> dict[str, float]:
        pictures = vae.to_pixels(data.images[:, 0])
        real = np.stack([vae.to_images(motion.animate(pictures[i], name)) for i, name in every])
        wanted = [every.index(pair) for pair in pairs]
        captions = [article(entry.label) for entry in data.entries]
        return by.captions(images, real[wanted], [i for i, _ in pairs], captions) | nearest(images, wanted, real)

    arguments = {"guidance_scale": 2.0, "height": 64, "width": 64, "video_length": 8, "clean_caption": False}
    return Case(prompts, arguments, [held[pair] for pair in pairs], judge, columns=4, scale=0.6, captions=prompts)


def fashion(folder: Path) -> Case:
    data = fashion_data.load(folder / "fashion.npz")
    classes = [i % 10 for i in range(64)] + [i % 10 for i in range(136)]

    def judge(by: Judge, images: np.ndarray) -> dict[str, float]:
        real = fashion_data.in_colour(data["images"][:12000]), data["labels"][:12000]
        held_out = fashion_data.in_colour(data["held_out_images"][:2000]), data["held_out_labels"][:2000]
        parts = (real, held_out, (images, classes))
        return by.classes(*parts) | convolutional_judge(*parts)

    names = [fashion_data.CLASSES[i] for i in classes]
    return Case(classes, {"guidance_scale": 2.0}, [False] * len(classes), judge, scale=2.0, key="class_labels",
                captions=names)  # fmt: skip


CASES = {"emoji": emoji, "emoji-flux": emoji_flux, "emoji-video": emoji_video, "fashion": fashion}
