"""Does a prompt give its picture? Measured through the stock pipeline, on the saved folder."""

from pathlib import Path

import numpy as np
import torch
from diffusers import PixArtAlphaPipeline
from PIL import Image, ImageDraw

from .data import Entry
from .wording import ALIASES

STEPS, GUIDANCE = 20, 4.0
SHOWN = [
    "a red apple", "an owl", "a slice of pizza", "a rocket", "a penguin", "a guitar", "a sunflower",
    "a glossy red apple", "a cup of coffee", "a fire truck", "a blue heart", "a snowman", "a panda", "a birthday cake",
    "a robot", "a ghost", "a cactus", "an octopus", "a hamburger", "a bicycle", "a butterfly", "a crown", "a castle",
    "a rainbow", "a tiger", "an elephant", "a dolphin", "a lobster", "strawberry", "a pineapple", "an avocado",
    "a croissant", "a sailboat", "a helicopter", "a steam train", "a yellow taxi", "a tractor", "a planet",
    "a full moon", "a volcano", "a palm tree", "a red rose", "a mushroom", "a maple leaf", "a teddy bear",
    "a soccer ball", "a trophy", "a balloon", "a camera", "a laptop", "a light bulb", "a key", "a hammer",
    "an umbrella", "a backpack", "a top hat", "an astronaut", "a wizard", "a dragon", "a unicorn",
    "a smiling face with sunglasses", "a laughing face", "a thinking face", "thumbs up",
]  # fmt: skip


@torch.no_grad()
def generate(pipe: PixArtAlphaPipeline, prompts: list[str], seed: int = 0, batch: int = 128) -> np.ndarray:
    """One picture a prompt, (prompts, size, size, 3) in 0..1; each prompt's noise depends on its place alone."""
    pictures = []
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        noise = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        pictures.append(
            pipe(
                part, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=noise, output_type="np",
                use_resolution_binning=False, clean_caption=False,
            ).images
        )  # fmt: skip
    return np.concatenate(pictures)


def matches(made: np.ndarray, wanted: np.ndarray, images: np.ndarray) -> tuple[float, float]:
    """Share of pictures whose nearest training picture is the wanted one, and their mean PSNR to it in dB.

    Args:
        made (`np.ndarray`): (count, size, size, 3) in 0..1.
        wanted (`np.ndarray`): indices into `images`.
        images (`np.ndarray`): the training pictures, uint8.
    """
    flat = torch.from_numpy(images).flatten(1).float() / 255
    own = torch.from_numpy(made).flatten(1).float()
    right = (torch.cdist(own, flat).argmin(1) == torch.from_numpy(wanted)).float().mean().item()
    errors = (own - flat[wanted]).square().mean(1).clamp(min=1e-8)
    return right, (-10 * errors.log10()).mean().item()


def grid(pictures: np.ndarray, prompts: list[str], columns: int = 8, scale: int = 2) -> Image.Image:
    """The pictures side by side, enlarged, each above its prompt."""
    cell = pictures.shape[1] * scale
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (cell + 12), rows * (cell + 24)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True)):
        left, top = i % columns * (cell + 12) + 6, i // columns * (cell + 24)
        image = Image.fromarray((picture * 255).round().astype(np.uint8))
        sheet.paste(image.resize((cell, cell), Image.Resampling.BICUBIC), (left, top))
        draw.text((left, top + cell + 4), prompt[:24], fill="black")
    return sheet


def evaluate(folder: Path, images: np.ndarray, entries: list[Entry], device: str, limit: int | None = None):
    """The figures for the card, and the grid of samples.

    Args:
        limit (`int`, *optional*): prompts of each kind; all of them, if not given.
    """
    pipe = PixArtAlphaPipeline.from_pretrained(folder).to(device)
    pipe.set_progress_bar_config(disable=True)
    place = {entry.label: i for i, entry in enumerate(entries)}
    labels = list(place)
    everyday = [(f"a {name}", label) for label, names in ALIASES.items() if label in place for name in names]
    asked = {
        "main captions": [(label, label) for label in labels],
        'with two unknown words, "a wonderfully shimmery …"': [(f"a wonderfully shimmery {x}", x) for x in labels],
        "everyday names": everyday,
    }
    figures = {}
    for kind, pairs in asked.items():
        pairs = pairs[:limit]
        made = generate(pipe, [prompt for prompt, _ in pairs])
        right, psnr = matches(made, np.array([place[label] for _, label in pairs]), images)
        figures[f"{kind} ({len(pairs)} prompts)"] = (
            f"{right:.1%} come out nearest to their own picture, at {psnr:.1f} dB on average"
        )
    shown = SHOWN[:limit]
    return figures, grid(generate(pipe, shown), shown), unknown_words(pipe, entries)


def unknown_words(pipe: PixArtAlphaPipeline, entries: list[Entry]) -> list[str]:
    """Words of the captions that the tokenizer does not know; there should be none."""
    texts = {text for entry in entries for text in (entry.label, *entry.names)}
    ids = pipe.tokenizer(sorted(texts)).input_ids
    return [text for text, row in zip(sorted(texts), ids, strict=True) if pipe.tokenizer.unk_token_id in row]
