"""What plans of earlier versions say otherwise, or leave unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..axes.fills import Fill
from ..axes.gates import Gate
from ..checks import check
from ..models import FAMILIES, capabilities_of
from ..models.capabilities import ATTEND
from ..models.streams import IMAGE, JOINT, TEXT
from ..registry import from_data

DROPPED_FROM = ("dit", "pixart", "flux")
"""The families from whose models tokens could be dropped when plans did not say so."""


def axes_of_methods(data: Mapping[str, Any]) -> tuple[Fill | None, Gate | None]:
    """Fill and gate of a plan of version 1 or 2, which names methods that have them in their places.

    Raises:
        ValueError: If one is no method, or has none.
    """
    fill, gate = _axis_of(data, "fill", "filling"), _axis_of(data, "gate", "gate")
    # Only the very method that had both listened to its gate.
    return fill if fill is None or data.get("fill") == data.get("gate") else fill.without_gate(), gate


def _axis_of(data: Mapping[str, Any], axis: str, asked: str) -> Any:
    said = data.get(axis)
    if said is None:
        return None
    found = getattr(from_data(said, "method"), asked)()
    check(found is not None, axis, said.get("method"), "must name a method that has one")
    return found


def older_model(data: Mapping[str, Any]) -> dict[str, Any]:
    """The model of a plan of version 1, 2 or 3, whose streams were image, text, or text and image in one row: what a
    plan says of it now. Of the families that there were all could be measured."""
    model = dict(data)
    sites = [_with_streams(site) for site in model["sites"]]
    width = int(model.get("width", 0))
    streams = [[TEXT, width], [IMAGE, width]] if model.pop("text_stream", False) else [[IMAGE, width]]
    stacks = dict.fromkeys(site["stack"] for site in sites)
    had = ["drop", "measure"] if model.get("family") in DROPPED_FROM else ["measure"]
    return {
        "capabilities": had,
        **model,
        "sites": sites,
        "streams": dict.fromkeys(stacks, streams),
        "read": dict.fromkeys(stacks, [IMAGE]),
    }


def told_of_attention(model: Mapping[str, Any]) -> dict[str, Any]:
    """The model of a plan that may be older than the question whether its self-attention can be run for some of the
    tokens: what is known of its family answers."""
    if not isinstance(model, Mapping):
        return model
    said, spec = list(model.get("capabilities", ())), FAMILIES.get(str(model.get("family")))
    has = spec is not None and ATTEND in capabilities_of(spec)
    return {**model, "capabilities": [*said, ATTEND] if has and ATTEND not in said else said}


def _with_streams(site: Mapping[str, Any]) -> dict[str, Any]:
    stream = JOINT if site["stream"] == "joint" else site["stream"]
    return {**site, "stream": stream, "context": TEXT if site["attends"] == "cross" else None}
