"""The settings of papers and of their authors' code, a file for each kind of model."""

from __future__ import annotations

import functools

from ..base import Method
from .dit import dit
from .flux import flux
from .images import images
from .pixart import pixart
from .plans import plans
from .videos import videos


@functools.cache
def published() -> dict[str, Method]:
    """All of them by name, method by method; made when first asked for."""
    known = {**dit(), **pixart(), **flux(), **images(), **videos(), **plans()}
    methods = list(dict.fromkeys(name.partition("/")[0] for name in known))
    return dict(sorted(known.items(), key=lambda entry: methods.index(entry[0].partition("/")[0])))
