"""Writes the tables of docs/memory.md from what plans cost on real configurations: `python docs/draw_memory.py`.

No weights are made: the models are on the meta device, and bytes are reckoned from shapes, as `toca.Plan.cost` does.
The page keeps what stands around the tables.
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from typing import Any

import diffusers
import torch

import toca
from toca.eval.architectures import Architecture, architecture
from toca.eval.architectures.memory import GIB, weight_bytes
from toca.kernels.narrow import cache_dtype_of
from toca.plan.fitting import demand_of

PAGE = Path(__file__).parent / "memory.md"
CARDS = (24, 48, 80)
KINDS = (None, "bf16", "fp8")
NONE = "–"
"""No card is large enough."""
ACTIVATIONS = 18
"""Numbers a token, in widths of the model, that a block has under way: rough, from the largest kind of block of both
models (its input, norm, query, key, value, the feed-forward before and after its activation, all side by side)."""

STACK = toca.CacheMethod(when=toca.FORA(interval=3), which="teacache")
BOTH: dict[str, Any] = {
    "ToCa, `toca/flux`": "toca/flux",
    "FORA": "fora/flux",
    "PAB": toca.PAB(),
    "TaylorSeer of each module, order 2": toca.TaylorSeer(interval=6, order=2),
    "TaylorSeer of each block, order 2": toca.TaylorSeer(interval=6, order=2, scope="block"),
    "TaylorSeer of the output, `taylorseer/lite`": "taylorseer/lite",
    "Coast": toca.Coast(),
    "FORA x stack": STACK,
    "Delta-DiT": toca.DeltaDiT(),
    "FreqCa": "freqca/flux",
    "Spectrum": "spectrum/flux",
}
METHODS: dict[str, dict[str, Any]] = {
    "flux-dev": {
        **BOTH,
        "ClusCa, `clusca/flux`": "clusca/flux",
        "RAS, `ras/flux`": "ras/flux",
        "TeaCache, `teacache/flux`": "teacache/flux",
        "FBCache, `fbcache/flux`": "fbcache/flux",
        "EasyCache": toca.EasyCache(),
    },
    "hunyuanvideo": {
        **BOTH,
        "DuCa, `duca/hunyuanvideo`": "duca/hunyuanvideo",
        "TaylorSeer, `taylorseer/hunyuanvideo`": "taylorseer/hunyuanvideo",
        "TeaCache, `teacache/hunyuanvideo`": "teacache/hunyuanvideo",
        "FBCache, `fbcache/hunyuanvideo`": "fbcache/hunyuanvideo",
        "EasyCache, `easycache/hunyuanvideo`": "easycache/hunyuanvideo",
    },
}


@functools.cache
def transformer_of(name: str) -> torch.nn.Module:
    """The transformer of an architecture, without weights."""
    component = architecture(name).transformer
    with torch.device("meta"):
        return getattr(diffusers, component.class_name)(**component.config)


def sizes_of(model: Architecture) -> dict[str, Any]:
    """The sizes of a call as its authors make them, for `toca.Plan.cost`."""
    usual, vae = model.defaults, model.vae
    sizes = {"height": usual.height // vae.space, "width": usual.width // vae.space, "text_tokens": usual.text_tokens}
    return sizes | ({"num_frames": (usual.frames - 1) // vae.time + 1} if usual.frames > 1 else {})


def plan_of(name: str, method: Any) -> toca.Plan:
    """The plan of a method, or of a preset by its name."""
    made = toca.preset(method) if isinstance(method, str) else method
    return made.plan(transformer_of(name), architecture(name).defaults.steps)


def kept(name: str, method: Any) -> list[int]:
    """Bytes that a method keeps, by `KINDS`."""
    demand = demand_of(plan_of(name, method), dtype=torch.bfloat16, **sizes_of(architecture(name)))
    return [demand.bytes_in(cache_dtype_of(kind)) for kind in KINDS]


def in_ram(name: str, method: Any) -> list[str]:
    """With the cache in the machine's memory: GiB on the device, GiB copied in a step, and the smallest card."""
    plan = plan_of(name, method)
    cost = plan.cost(dtype=torch.bfloat16, cache_device="cpu", **sizes_of(architecture(name)))
    fitting = {card: fits(name, [cost.device_bytes], card) for card in CARDS}
    cards = [f"{card} GB{kind.removeprefix('any')}" for card, kind in fitting.items() if kind != NONE]
    return [_gib(cost.device_bytes), _gib(cost.copied_bytes / plan.num_inference_steps), *(cards or [NONE])[:1]]


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}" if size >= 0.01 * GIB else f"{size / GIB:.3f}"


@functools.cache
def beside(name: str) -> tuple[int, int, int]:
    """Bytes of all weights in bfloat16, of the transformer's alone, and of activations."""
    model = architecture(name)
    every, alone = (weight_bytes(each, 1, torch.bfloat16) for each in (model.components.values(), [model.transformer]))
    layout = toca.FORA().plan(transformer_of(name), 2).layout
    family, config = toca.models.FAMILIES[layout.family], transformer_of(name).config
    sizes = sizes_of(model)
    frames = sizes.get("num_frames")
    shape = family.default_shape(config, sizes["height"], sizes["width"], frames, sizes["text_tokens"])
    tokens = shape.image_tokens + shape.text_tokens
    return every, alone, tokens * layout.width * ACTIVATIONS * torch.bfloat16.itemsize


def fits(name: str, sizes: list[int], card: int) -> str:
    """The widest kind of cache with which a model fits on a card: beside all its weights, or marked beside the
    transformer's alone. The sizes are those of `KINDS`, or the first of them."""
    every, alone, activations = beside(name)
    for weights, mark in ((every, ""), (alone, " \\*")):
        for kind, size in zip(KINDS, sizes, strict=False):
            if weights + activations + size <= card * GIB:
                return f"{kind or 'any'}{mark}"
    return NONE


def row(name: str, label: str) -> str:
    """The row of one method."""
    method = METHODS[name][label]
    sizes = kept(name, method)
    cells = [label, *map(_gib, sizes), *(fits(name, sizes, card) for card in CARDS), *in_ram(name, method)]
    return f"| {' | '.join(cells)} |"


def table(name: str) -> str:
    """The table of one model, and above it what it stands beside."""
    every, alone, activations = (size / GIB for size in beside(name))
    usual = architecture(name).defaults
    length = f" x {usual.frames} frames" if usual.frames > 1 else ""
    head = ["method", "as computed (bf16), GiB", "bf16 or fp16", "fp8", *(f"{card} GB" for card in CARDS)]
    head += ["in RAM: GiB on the device", "copied in a step", "fits on"]
    lines = [
        f"{usual.width}x{usual.height}{length}, {usual.steps} steps. Weights in bf16: {every:.1f} GiB, the "
        f"transformer's alone {alone:.1f}; activations {activations:.1f}.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(row(name, label) for label in METHODS[name]),
    ]
    return "\n".join(lines)


def between(name: str, text: str) -> str:
    """What stands in the page between the marks of a model."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert found is not None, f"docs/memory.md has no place for {name}"
    return found[1]


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in METHODS:
        text = text.replace(
            f"<!-- {name} -->\n{between(name, text)}\n<!-- end -->", f"<!-- {name} -->\n{table(name)}\n<!-- end -->"
        )
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
