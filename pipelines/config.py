"""What to generate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from toca.checks import shown

MOST_STEPS = 10_000
LARGEST_SIDE = 16_384
MOST_FRAMES = 4_096
MOST_IMAGES = 1_000_000
LARGEST_BATCH = 4_096
LARGEST_INDEX = 2**31 - 1
LARGEST_SEED = 2**63 - 1
LARGEST_GUIDANCE = 1_000
LONGEST_PROMPT = 100_000
LONGEST_LABEL = 1_000

_RANGES = {
    "num_inference_steps": (1, MOST_STEPS),
    "height": (1, LARGEST_SIDE),
    "width": (1, LARGEST_SIDE),
    "num_frames": (1, MOST_FRAMES),
    "num_images": (1, MOST_IMAGES),
    "batch_size": (1, LARGEST_BATCH),
    "first_index": (0, LARGEST_INDEX),
}
_OF_CALLS = {
    "video_length": (1, MOST_FRAMES),
    "num_images_per_prompt": (1, LARGEST_BATCH),
    "num_videos_per_prompt": (1, LARGEST_BATCH),
    "max_sequence_length": (1, LONGEST_PROMPT),
}
"""What only pipelines take."""
_OPTIONAL = ("height", "width", "num_frames")


@dataclass(frozen=True)
class GenerationConfig:
    """What to generate. `None` leaves a setting to the pipeline.

    Args:
        prompt (`str`): the text; for a class-conditional pipeline without `class_label`, the name of a class.
        class_label (`str` or `None`): number or name of a class, for class-conditional pipelines.
        num_inference_steps (`int`): denoising steps, at least 1.
        guidance_scale (`float` or `None`): classifier-free guidance.
        height, width (`int` or `None`): pixels.
        num_frames (`int` or `None`): frames of a video.
        seed (`int`): image i starts from the noise of a CPU generator seeded by `seed + i`, whatever its batch.
        first_index (`int`): number i of the first image.
        num_images (`int`): how many.
        batch_size (`int`): how many at a time.

    Raises:
        TypeError: for a value of another type; the message names it.
        ValueError: for a number out of range, or a text too long or not of characters; the message names it.
    """

    prompt: str = ""
    class_label: str | None = None
    num_inference_steps: int = 20
    guidance_scale: float | None = None
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    seed: int = 0
    first_index: int = 0
    num_images: int = 1
    batch_size: int = 1

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                _check_range(name, value, least, most)
        _check_integer("seed", self.seed)
        # Torch takes seeds of 64 bits; the last image's must fit too.
        if not 0 <= self.seed <= LARGEST_SEED - self.first_index - self.num_images:
            raise ValueError(f"seed must be between 0 and 2**63 less the number of images, got {shown(self.seed)}.")
        _check_guidance(self.guidance_scale)
        _check_text("prompt", self.prompt, LONGEST_PROMPT)
        _check_text("class_label", self.class_label or "", LONGEST_LABEL)

    def batches(self) -> Iterator[range]:
        """The indices of each batch."""
        end = self.first_index + self.num_images
        for start in range(self.first_index, end, self.batch_size):
            yield range(start, min(start + self.batch_size, end))


def check_numbers(call: Mapping[str, Any]) -> None:
    """Look at the numbers among the arguments of a pipeline's call; `None` leaves one to the pipeline.

    Raises:
        TypeError, ValueError: as `GenerationConfig`.
    """
    for name, bounds in {**_RANGES, **_OF_CALLS}.items():
        if call.get(name) is not None:
            _check_range(name, call[name], *bounds)
    _check_guidance(call.get("guidance_scale"))


def _check_range(name: str, value: Any, least: int, most: int) -> None:
    _check_integer(name, value)
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {shown(value)}.")
    if value > most:
        raise ValueError(f"{name} must be at most {most}, got {shown(value)}.")


def _check_integer(name: str, value: Any) -> None:
    # True is an integer to Python, and no number of anything.
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {shown(value)}.")


def _check_guidance(value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"guidance_scale must be a number, got {shown(value)}.")
    most = LARGEST_GUIDANCE
    if not -most <= float(value) <= most:
        raise ValueError(f"guidance_scale must be between -{most} and {most}, got {shown(value)}.")


def _check_text(name: str, value: Any, longest: int) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, got {shown(value)}.")
    if len(value) > longest:
        raise ValueError(f"{name} must have at most {longest} characters, got {len(value)}: {shown(value)}.")
    # What a terminal hands on of bytes that are no characters; neither tokenizers nor files take it.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name} must be text in UTF-8, got {shown(value)}.")
