"""The smallest working random model of every transformer of diffusers that denoises pictures, video or sound.

`ZOO` holds one `Tiny` a model class that the installed diffusers has, `EVERY` their variants too (`"Class/variant"`).
The models know nothing of toca. A new class is an entry in the file of its kind.
"""

from . import audio, dual_stream, images, one_sequence, video  # noqa: F401
from .tiny import EVERY, STEPS, ZOO, Tiny

__all__ = ["EVERY", "STEPS", "ZOO", "Tiny"]
