"""What tells one scheduler from another: the class, and what it was configured with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..checks import check_fields


@dataclass(frozen=True)
class SchedulerMark:
    """A scheduler, as far as it shapes a generation.

    Args:
        name (`str`): Its class.
        config (`dict`): Its configuration, as plain data.

    Raises:
        ValueError: If either is something else.
    """

    name: str
    config: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def of(cls, scheduler: Any) -> SchedulerMark:
        """The mark of a diffusers scheduler. What diffusers notes for itself, under names with a `_`, is left out."""
        config = {name: _plain(value) for name, value in scheduler.config.items() if not name.startswith("_")}
        return cls(type(scheduler).__name__, config)

    def difference(self, other: SchedulerMark) -> str:
        """How another scheduler is not this one, in words; empty where it is.

        Settings that only one of them has are passed over: another version of diffusers may know more of them.
        """
        if self.name != other.name:
            return f"{self.name}, and this pipeline samples with {other.name}"
        for name in self.config.keys() & other.config.keys():
            if self.config[name] != other.config[name]:
                return f"{self.name} with `{name}` {self.config[name]!r}, and here it is {other.config[name]!r}"
        return ""


def _plain(value: Any) -> Any:
    """A setting as JSON gives it back; a number that JSON has no word for, or an array, as text."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else str(value)
