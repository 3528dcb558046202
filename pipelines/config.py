"""What to generate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


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
        ValueError: for a number out of range; the message names it.
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
        for name in ("num_inference_steps", "height", "width", "num_frames", "num_images", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        # Torch takes seeds of 64 bits; the last image's must fit too.
        if not 0 <= self.seed <= 2**63 - 1 - self.first_index - self.num_images:
            raise ValueError(f"seed must be between 0 and 2**63 less the number of images, got {self.seed}.")

    def batches(self) -> Iterator[range]:
        """The indices of each batch."""
        end = self.first_index + self.num_images
        for start in range(self.first_index, end, self.batch_size):
            yield range(start, min(start + self.batch_size, end))
