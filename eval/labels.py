"""What a row is called, by which it can be made again: the name of its method, and every field that is not its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_AFTER_LABEL = ": "


@dataclass(frozen=True)
class VariantRecipe:
    """How a variant is made.

    Args:
        base (`str`): A preset, a method, a peer, or the file of a plan.
        settings (`tuple[str, ...]`): `key=value` of each field that is not the base's, the value in YAML without a
            space.
    """

    base: str
    settings: tuple[str, ...] = ()

    @property
    def argument(self) -> str:
        """What `--variant` says."""
        return self.base + (":" + ";".join(self.settings) if self.settings else "")

    def name(self, label: str | None) -> str:
        """The row's name: `fora interval=2`, and with a label of its own `mine: fora interval=2`."""
        text = " ".join([self.base, *self.settings])
        return text if label is None else f"{label}{_AFTER_LABEL}{text}"


def read_name(name: str, group: str) -> VariantRecipe:
    """The recipe that a row's name tells.

    Args:
        name (`str`): As `VariantRecipe.name` made it.
        group (`str`): The row's group: its label, or its base.
    """
    rest = name.removeprefix(group)
    if rest.startswith(_AFTER_LABEL):
        return _split(rest.removeprefix(_AFTER_LABEL).split(" "))
    return VariantRecipe(group, tuple(rest.split()))


def _split(words: Sequence[str]) -> VariantRecipe:
    """The file of a plan may have spaces in its name, and has no settings."""
    place = next((place for place, word in enumerate(words) if place and "=" in word), len(words))
    return VariantRecipe(" ".join(words[:place]), tuple(words[place:]))


def setting_of(name: str, group: str) -> str:
    """What a row's name says beside its group."""
    return name.removeprefix(group).removeprefix(_AFTER_LABEL).strip()
