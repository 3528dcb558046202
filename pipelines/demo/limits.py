"""What a visitor may ask for: the page is open to whoever reaches it, and his machine is not the one that works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toca.checks import shown

LONGEST_PROMPT = 300
MOST_STEPS = 100
LARGEST_SIDE = 1024
LARGEST_SEED = 2**31 - 1

_RANGES = {
    "seed": (0, LARGEST_SEED),
    "steps": (2, MOST_STEPS),
    "height": (16, LARGEST_SIDE),
    "width": (16, LARGEST_SIDE),
}


@dataclass(frozen=True)
class Wish:
    """What a visitor asks for.

    Args:
        model (`str`): as it is offered.
        prompt (`str`): the text, or the class.
        seed (`int`): of the noise.
        speedup (`float`, *optional*): of the tuned plan; `None` where a method is named.
        method (`str`, *optional*): a method's or a preset's name.
        steps (`int`, *optional*): denoising steps, of a method alone: a tuned plan has its own.
        height, width (`int`, *optional*): pixels; the model's own by default.

    Raises:
        ValueError: for anything out of bounds, in a sentence that names them.
    """

    model: str
    prompt: str
    seed: int = 0
    speedup: float | None = None
    method: str | None = None
    steps: int | None = None
    height: int | None = None
    width: int | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            _check(name, getattr(self, name), least, most)
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise ValueError("Say what the picture shall show.")
        if len(self.prompt) > LONGEST_PROMPT:
            raise ValueError(f"A prompt has at most {LONGEST_PROMPT} characters here, this one {len(self.prompt)}.")
        if (self.speedup is None) == (self.method is None):
            raise ValueError("Choose a tuned plan or a method.")


def _check(name: str, value: Any, least: int, most: int) -> None:
    if value is None and name != "seed":
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"The {name} must be a whole number from {least} to {most} here, got {shown(value)}.")
