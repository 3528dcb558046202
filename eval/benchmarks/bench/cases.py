"""What `toca eval bench` runs on, and what it compares there: data, in the words of `--variant`."""

from __future__ import annotations

from dataclasses import dataclass

from toca.checks import shown


@dataclass(frozen=True)
class Divided:
    """What a published architecture is made smaller by.

    Args:
        model (`float`): Divides the width and the number of blocks. Heads keep their size.
        tokens (`float`): Divides the tokens of the picture or video, by its sides alike, and those of the text.
        steps (`int`, *optional*): Denoising steps; the published number unless told.
    """

    model: float = 1.0
    tokens: float = 1.0
    steps: int | None = None


WHOLE = Divided()


@dataclass(frozen=True)
class Case:
    """One pipeline of the bench.

    Args:
        name (`str`): Of an embedded pipeline, or of an architecture.
        ours (`tuple[str, ...]`): Our methods, in the words of `--variant`.
        batch (`int`): Samples of one call.
        divided (`Divided`, *optional*): How an architecture is made smaller on a CPU; `None` for an embedded pipeline.
    """

    name: str
    ours: tuple[str, ...]
    batch: int = 1
    divided: Divided | None = None

    @property
    def embedded(self) -> bool:
        return self.divided is None


_STACK = "composed:when=fora;when.interval=3;which=teacache"
_ANYWHERE = ("none", "fora:interval=2,3", _STACK, "fbcache:threshold=0.1")
_TUNED = "tuned:speedup=1.5,2.0,3.0"
_TAYLOR = "taylorseer:interval=3;order=1;warmup_steps=3"

_ONE_BLOCK = "fn_compute_blocks=1;max_warmup_steps=4"
PEERS = (
    "peer:diffusers-fbcache:threshold=0.1",
    "peer:diffusers-taylorseer:cache_interval=3",
    "peer:diffusers-taylorseer:cache_interval=3;use_lite_mode=true",
    "peer:diffusers-pab",
    "peer:diffusers-magcache",
    "peer:diffusers-seacache",
    f"peer:cache-dit-dbcache:{_ONE_BLOCK};residual_diff_threshold=0.12",
    f"peer:cache-dit-dbcache-taylorseer:{_ONE_BLOCK};residual_diff_threshold=0.12",
    f"peer:cache-dit-scm:{_ONE_BLOCK};steps_computation_policy=static",
)
"""Of diffusers and cache-dit. The models here have few blocks, so that cache-dit is to compute one of them always, and
not eight."""

_CASES = (
    Case("emoji", (*_ANYWHERE, _TUNED, "toca/pixart:interval=2", "coast/emoji", "learned/emoji",
                   "magcache/emoji:threshold=0.24", "teacache/emoji:threshold=0.3")),
    Case("emoji-flux", (*_ANYWHERE, _TUNED, "toca:interval=3;fresh_ratio=0.1", "coast/emoji-flux",
                        "learned/emoji-flux", "dmd:interval=2", "taylorseer:interval=3;order=1;warmup_steps=8"),
         batch=2),
    Case("fashion", (*_ANYWHERE, _TUNED, "toca/dit-ddim50:interval=2", "coast/fashion",
                     "taylorseer:interval=3;order=1;warmup_steps=8"), batch=2),
    Case("emoji-video", (*_ANYWHERE, _TUNED, "pab:spatial_range=2", "dmd:interval=2")),
    Case("dit-xl", (*_ANYWHERE, "toca/dit-ddim50", "taylorseer/dit", _TAYLOR), divided=Divided(4, 2, 20)),
    Case("pixart-256", (*_ANYWHERE, "toca/pixart", _TAYLOR), divided=Divided(4, 2)),
    Case("flux-dev", (*_ANYWHERE, "toca/flux", "taylorseer/flux", "taylorseer/lite", "spectrum/flux"),
         divided=Divided(12, 16, 20)),
    Case("sd3.5-large", (*_ANYWHERE, "ras/sd3", _TAYLOR), divided=Divided(10, 16, 20)),
    Case("wan2.1-1.3b", (*_ANYWHERE, "taylorseer/wan", "pab:spatial_range=2", _TAYLOR),
         divided=Divided(6, 200, 20)),
)  # fmt: skip

_FURTHER = (
    Case("pixart-512", (*_ANYWHERE, "toca/pixart", _TAYLOR), divided=Divided(4, 8)),
    Case("pixart-1024", (*_ANYWHERE, "toca/pixart", _TAYLOR), divided=Divided(4, 32)),
    Case("wan2.1-14b", (*_ANYWHERE, "taylorseer/wan", "pab:spatial_range=2", _TAYLOR), divided=Divided(20, 512, 20)),
)

DEFAULT = tuple(case.name for case in _CASES)
"""Those that run where none is named."""

CASES = {case.name: case for case in (*_CASES, *_FURTHER)}


def find_case(name: str) -> Case:
    """The case of that name.

    Raises:
        ValueError: If there is none; it lists those there are.
    """
    if name not in CASES:
        raise ValueError(f"There is no case {shown(name)}; the cases are {', '.join(CASES)}.")
    return CASES[name]
