"""Presets of the models that come with toca: settings for each, with what was measured or learned of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from .base import Method
from .beside import file_beside
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
        for method in settings:
            made = method.beside(_pipelines() / model)
            if made is not method:
                found[f"{method.name}/{model}"] = made
        found |= {f"{router.name}/{model}-{what}": router for what, router in _further_routers(_pipelines() / model)}
    return {name: replace(method) for name, method in found.items()}  # type: ignore[type-var]


def _further_routers(folder: Path) -> Iterator[tuple[str, LearnedRouter]]:
    """Routers beside a model's own one, each with what its file is called after: `learned-harmonica.json`."""
    own = file_beside(folder, LearnedRouter.name)
    for path in sorted(own.parent.glob(f"{own.stem}-*.json")):
        yield path.stem.removeprefix(f"{own.stem}-"), LearnedRouter(str(path))


def _pipelines() -> Path:
    """The folder of `toca.pipelines`, which need not be imported for it."""
    spec = find_spec("toca.pipelines")
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else Path()
