"""Methods with the threshold that a rule has for a speed-up."""

from __future__ import annotations

from collections.abc import Sequence

from ..methods import Method
from ..plan.front_parts import Rule
from ..registry import from_data, registered

SLOWEST = 1.01
"""What is no faster than this is as slow as the full run."""


def setting_for(rule: Rule, speedup: float) -> Method:
    """The method of a rule with the threshold for a speed-up. Where it takes a file that lies beside the model's
    weights, that is yet to be found (`Method.beside`).

    Raises:
        ValueError: If no threshold is that fast, which names the fastest; or if there is no such method or field.
    """
    fields = {**rule.settings, rule.field: rule.value_for(speedup)}
    made: Method = from_data({"method": rule.method, "fields": fields})
    return made


def unreachable(method: str, speedup: float, fastest: float) -> ValueError:
    """The error for a speed-up that a method does not come to."""
    if fastest < SLOWEST:
        return ValueError(f"{method} is no faster than the full run here, whatever its threshold: take a tuned plan.")
    return ValueError(
        f"{method} gets no further than {fastest:.2f}x here, and {speedup:g}x was asked for: ask for "
        f"{int(fastest * 100) / 100:g}x or less, let it compute fewer first steps, or take a tuned plan."
    )


def with_knob(methods: Sequence[Method]) -> list[Method]:
    """The same methods. Raises `ValueError` for one that has no threshold to turn; it names those that have."""
    for method in methods:
        if method.knob is None:
            known = ", ".join(name for name, cls in registered("method").items() if cls.knob is not None)
            raise ValueError(
                f"{method.name} has no threshold that a speed-up could be found by; methods that have one are {known}."
            )
    return list(methods)
