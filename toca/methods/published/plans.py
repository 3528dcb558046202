"""Full steps that planners have published, each list for one model and one number of steps."""

from __future__ import annotations

from ..base import Method
from ..lemica import LeMiCa
from ..meancache import MeanCache

LEMICA = {
    # FLUX.1-dev, 50 steps.
    "lemica/flux-26": "0-10,12,15,18,20,25,30,35,39,42,44-49",
    "lemica/flux-20": "0-7,9,12,15,19,24,31,38,43,46-49",
    "lemica/flux-15": "0-5,7,10,15,20,27,34,41,47,49",
    "lemica/flux-10": "0,1,3,7,14,21,28,35,42,49",
    # Qwen-Image, 50 steps.
    "lemica/qwenimage-25": "0-19,26,33,36,42,49",
    "lemica/qwenimage-17": "0-10,15,22,29,36,42,49",
    "lemica/qwenimage-10": "0,1,3,7,14,21,28,35,42,49",
    # Wan2.1, text to video, 50 steps.
    "lemica/wan-1.3b-25": "0-12,14,16,18,21,24,29,35,40,44,47-49",
    "lemica/wan-1.3b-20": "0-9,11,13,16,20,26,33,40,45,48,49",
    "lemica/wan-1.3b-17": "0-8,10,13,18,25,32,39,46,49",
    "lemica/wan-1.3b-14": "0-5,7,10,16,23,30,37,44,49",
    "lemica/wan-14b-25": "0-11,13,15,18,21,25,29,34,38,42,45,47-49",
    "lemica/wan-14b-20": "0-9,11,14,18,23,29,36,42,46,48,49",
    "lemica/wan-14b-17": "0-7,9,12,16,22,29,36,43,47,49",
    # HunyuanVideo-1.5, 50 steps.
    "lemica/hunyuanvideo15-25": "0-13,15,17,19,21,24,28,33,39,45,48,49",
    "lemica/hunyuanvideo15-20": "0-11,13,15,18,22,28,36,44,49",
    "lemica/hunyuanvideo15-15": "0-6,8,10,13,17,25,33,41,49",
    "lemica/hunyuanvideo15-10": "0,1,3,5,9,17,25,33,41,49",
    # Z-Image-Turbo, 10 steps.
    "lemica/zimage-turbo-8": "0-3,5,7-9",
    "lemica/zimage-turbo-7": "0-2,4,6,8,9",
    "lemica/zimage-turbo-6": "0-2,5,8,9",
}
"""The full steps of each table by the name of its preset, which ends in their number."""

MEANCACHE = {
    # Qwen-Image, 50 steps.
    "meancache/qwenimage-25": "0-16,24,32,40[5],43[5],45[5],47-49",
    "meancache/qwenimage-17": "0-8[2],10,17,24,31,38,45[4],48,49",
    "meancache/qwenimage-10": "0,1[2],3,7,14,21,28,35,42[4],49",
    "meancache/qwenimage-2512-25": "0-15[2],23[2],31[2],37,44-49",
    "meancache/qwenimage-2512-17": "0-9[2],11,19,27,35,43[5],47[5],49",
    "meancache/qwenimage-2512-10": "0,2[3],4,7,14,21,28,35,42[4],49",
    # Z-Image, 50 steps.
    "meancache/zimage-25": "0-6[2],8[2],10-13[2],15-18[5],20[5],22,29,37,42[5],45[5],47-49",
    "meancache/zimage-20": "0-4[2],6[2],8[2],10[2],12[2],14[5],16[4],18[5],20[5],22,30,38,43[5],46[2],48,49",
    "meancache/zimage-13": "0-3[2],5,9,15,22,29,36,43[5],47[2],49",
}
"""The same; after `12[5]` the steps up to the next full one are filled by looking 5 steps back, and else by 1."""


def plans() -> dict[str, Method]:
    found: dict[str, Method] = {}
    for name, text in LEMICA.items():
        full, _ = read(text)
        found[name] = LeMiCa(full, 10 if "zimage-turbo" in name else 50)
    for name, text in MEANCACHE.items():
        full, look_back = read(text)
        found[name] = MeanCache(full, 50, look_back)
    return found


def read(text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Full steps, and for each how far the steps after it look back: of `0-2[4],5` they are 1, 1, 4 and 1."""
    full: list[int] = []
    look_back: list[int] = []
    for part in text.split(","):
        steps, _, back = part.removesuffix("]").partition("[")
        first, _, last = steps.partition("-")
        found = range(int(first), int(last or first) + 1)
        full += found
        look_back += [*[1] * (len(found) - 1), int(back or 1)]
    return tuple(full), tuple(look_back)
