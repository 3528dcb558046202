"""What tells one model from another: enough for a file made for one to be refused by the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..checks import check_fields, cleaned, shown
from .layout import Layout

Sites = tuple[tuple[int, str, int], ...]
"""Layer, module and width of each of a model's sites."""


@dataclass(frozen=True)
class Fingerprint:
    """A model's architecture, without its weights: a fine-tuned copy has the same.

    Args:
        family (`str`): Name of the family.
        sites (`tuple[tuple[int, str, int], ...]`): Layer, module and width of each site.
        in_width, out_width (`int`): Channels of one token in the model's input and in its output.
        tokens (`int`): Image tokens at the model's default size.
        around (`tuple[int, int, int]`): FLOPs outside the sites of a sample, an image token and a text token: they
            tell models apart that differ in what they are conditioned on.

    Raises:
        ValueError: If a field holds something else.
    """

    family: str
    sites: Sites
    in_width: int
    out_width: int
    tokens: int
    around: tuple[int, int, int]

    def __post_init__(self) -> None:
        check_fields(self)

    def difference(self, other: Fingerprint) -> str:
        """How another model is not this one, in words; empty where it is."""
        if self == other:
            return ""
        mine, its = words(self.family, self.sites), words(other.family, other.sites)
        if mine != its:
            return f"for {mine}, and this is {its}"
        name = next(f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name))
        was, now = shown(getattr(self, name)), shown(getattr(other, name))
        return f"for another model: its `{name}` was {was}, and here it is {now}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fingerprint:
        sites = tuple((layer, module, width) for layer, module, width in data["sites"])
        return cls(**{**data, "sites": sites, "around": tuple(data["around"])})


def fingerprint(layout: Layout) -> Fingerprint:
    """The fingerprint of a model."""
    return Fingerprint(
        family=layout.family,
        sites=sites_of(layout),
        in_width=layout.in_width,
        out_width=layout.out_width,
        tokens=layout.default_shape.tokens,
        around=(layout.sample_flops, layout.token_flops, layout.text_token_flops),
    )


def sites_of(layout: Layout) -> Sites:
    """Layer, module and width of each site."""
    return tuple((site.layer, site.module, site.width) for site in layout.sites)


def words(family: str, sites: Sites) -> str:
    """A model in words."""
    layers, widths = len({layer for layer, _, _ in sites}), sorted({width for _, _, width in sites})
    named = f"a {cleaned(family, 60)} model of {layers} layers"
    return f"{named} and {len(sites)} sites of width {', '.join(map(str, widths))}"
