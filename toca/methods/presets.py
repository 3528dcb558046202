"""Settings by name, which model each was made for, and which suits a model where none is named."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..checks import did_you_mean, shown
from ..models import FAMILIES, FamilySpec, capabilities_of
from ..models.capabilities import MEASURE
from ..registry import LISTING, settings
from .base import Method
from .embedded import embedded_presets
from .published import published as published
from .toca import ToCa

MADE_FOR: dict[str, str | None] = {
    "emoji": "pixart", "emoji-flux": "flux", "fashion": "dit", "emoji-video": "latte",
    "opensora-slow": "opensora", "opensora-100": "opensora", "lite": None,
}  # fmt: skip
"""The family that a preset was made for, by the second half of its name, where that does not begin with it; `None` for
any."""

BUILT_ALIKE: dict[str, str] = {"latte": "toca/opensora"}
"""For families without a setting of their own, one of a model that is built alike."""

DEFAULT = "toca"
"""What is on where no method is named."""


@settings
def presets() -> dict[str, Method]:
    """All settings that have a name: the published ones, and those of the models that come with toca."""
    return {name: replace(method) for name, method in _known().items()}  # type: ignore[type-var]


def preset(name: str) -> Method:
    """A setting by its name.

    Raises:
        ValueError: If there is none of this name; it suggests the nearest ones.
    """
    known = _known()
    if name not in known:
        raise ValueError(f"There is no preset {shown(name)}{did_you_mean(name, known, LISTING)}.")
    return replace(known[name])  # type: ignore[type-var]


def _known() -> dict[str, Method]:
    return published() | embedded_presets()


def foreign_to(name: str, family: str) -> str | None:
    """What to say of a preset on a family that it was not made for; `None` where it was, or where none is told."""
    own = made_for(name) if name in presets() else None
    if own in (None, family):
        return None
    method = name.partition("/")[0]
    fitting = [other for other in presets() if other.startswith(f"{method}/") and made_for(other) in (None, family)]
    instead = f": {' or '.join(fitting)} would be" if fitting else ""
    return f"The preset {name} was made for {own}, and not for {family}, which this model is{instead}."


def made_for(name: str) -> str | None:
    """The family that a preset of this name was made for; `None` where it was for any."""
    ending = name.partition("/")[2]
    family = ending.partition("-")[0]
    return MADE_FOR.get(ending, (family if family in FAMILIES else ending) or None)


@dataclass(frozen=True)
class Choice:
    """A method that was chosen for a model.

    Args:
        method (`Method`): The method.
        name (`str`): Of the preset that it is, else of the method.
        about (`str`): What it is and why, for a summary.
    """

    method: Method
    name: str
    about: str


def default_for(spec: FamilySpec) -> Choice:
    """The setting of ToCa for a family: the first that was published for it, else that of a model built alike, else
    the method's defaults; by chance where attention cannot be measured."""
    own = (name for name in presets() if name.startswith(f"{DEFAULT}/") and made_for(name) == spec.name)
    name = next(own, BUILT_ALIKE.get(spec.name))
    if name is not None:
        return Choice(preset(name), name, f"{DEFAULT}, the preset {name}")
    unpublished = f"no setting is published for {spec.name}"
    if MEASURE in capabilities_of(spec):
        return Choice(ToCa(), DEFAULT, f"{DEFAULT} with its defaults: {unpublished}")
    by_chance = f"{DEFAULT} with its defaults, tokens by chance: {unpublished}, and its attention cannot be measured"
    return Choice(ToCa(score="random"), DEFAULT, by_chance)
