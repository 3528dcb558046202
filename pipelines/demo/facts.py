"""What came of a wish, in words and numbers."""

from __future__ import annotations

import math

from toca.checks import cleaned
from toca.pipelines.demo.limits import Wish
from toca.pipelines.demo.running import Made


def facts(made: Made) -> str:
    """The table below the pictures, in Markdown."""
    full, cached = made.flops
    rows = {
        "time": (_seconds(made.full.seconds), f"{_seconds(made.cached.seconds)}, **{made.speedup:.2f}× as fast**"),
        "FLOPs": (_flops(full), f"{_flops(cached)}, {full / cached:.2f}× fewer"),
        "PSNR to the full model": ("", psnr_text(made.psnr)),
        "steps": (str(made.full_steps), f"{len(made.summary.steps)}: `{made.summary.steps}`"),
        "kept between steps": ("0", f"{made.summary.cache_bytes / 2**20:.2f} MiB"),
    }
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join(["| | full model | with the cache |", "|---|---|---|", *lines])


def caption(made: Made) -> str:
    """A line below a picture of the gallery."""
    return f"{cleaned(made.wish.prompt, 40)}, {method_told(made.wish)}: {made.speedup:.2f}x, {psnr_text(made.psnr)}"


def method_told(wish: Wish) -> str:
    """What was put on the model, in a word or two."""
    return f"tuned {wish.speedup:g}x" if wish.method is None else wish.method


def psnr_text(psnr: float) -> str:
    return "identical" if math.isinf(psnr) else f"{psnr:.1f} dB"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _flops(flops: float) -> str:
    power = min(5, max(0, int(math.log10(max(1.0, flops)) // 3)))
    return f"{flops / 1000**power:.3g} {('', 'k', 'M', 'G', 'T', 'P')[power]}FLOP"
