"""Presets of the models that come with toca: settings for each, with what was measured or learned of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..sharing.places import file_beside
from ..sharing.sources import pipelines_folder
from .base import Method
from .coast import Coast
from .learned import LearnedRouter
from .magcache import MagCache
from .smoothcache import SmoothCache
from .teacache import TeaCache
from .tuned import Tuned

PLAIN: dict[str, Method] = {
    # What guidance makes of a token, its halves decide together: 1 dB on emoji.
    "coast/emoji": Coast(shared_cfg=True),
    # In flow matching with a shifted schedule the way is straighter in the noise level than in the step.
    "coast/emoji-flux": Coast(variable="timestep"),
    "coast/fashion": Coast(),
}
"""Those that need no file."""


@functools.cache
def embedded_presets() -> dict[str, Method]:
    """Those whose files this installation has, by name: `teacache/emoji`."""
    settings_of = {
        "emoji": (SmoothCache(alpha=0.1), MagCache(threshold=0.12), TeaCache(threshold=0.2), LearnedRouter(), Tuned()),
        "emoji-flux": (Tuned(), LearnedRouter()),
        "fashion": (Tuned(),),
        "emoji-video": (Tuned(),),
    }
    found: dict[str, Method] = dict(PLAIN)
    for model, settings in settings_of.items():
        folder = pipelines_folder() / model
        for method in settings:
            made = method.beside(folder)
            if made is not method:
                found[f"{method.name}/{model}"] = made
        found |= {f"{router.name}/{model}-{what}": router for what, router in _further_routers(folder)}
    return {name: replace(method) for name, method in found.items()}  # type: ignore[type-var]


def _further_routers(folder: Path) -> Iterator[tuple[str, LearnedRouter]]:
    """Routers beside a model's own one, each with what its file is called after: `learned-harmonica.json`."""
    own = file_beside(folder, LearnedRouter.name)
    for path in sorted(own.parent.glob(f"{own.stem}-*.json")):
        yield path.stem.removeprefix(f"{own.stem}-"), LearnedRouter(str(path))
