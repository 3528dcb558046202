"""How what is kept of features is kept: as it is computed, in fewer bytes, away from the device."""

from __future__ import annotations

import torch

from .away import AwayTerms
from .compact import CompactTerms
from .ram import Ram
from .terms import Terms


def terms_in(dtype: torch.dtype | None, row: int, ram: Ram | None = None) -> Terms:
    """Terms that hold nothing yet.

    Args:
        dtype (`torch.dtype` or `None`): What they are kept in; `None` for what they are computed in.
        row (`int`): As for `CompactTerms`.
        ram (`Ram` or `None`): Where they lie; `None` for the device that computes.
    """
    if ram is not None:
        return AwayTerms(ram, dtype, row)
    return Terms() if dtype is None else CompactTerms(dtype, row)


def recast(terms: Terms, dtype: torch.dtype | None, row: int, ram: Ram | None = None) -> Terms:
    """The same terms, kept in another dtype; the other arguments are those of `terms_in`."""
    cast = terms_in(dtype, row, ram)
    cast.value, cast.higher, cast.history = terms.value, terms.higher, terms.history
    for each in (terms, cast):
        each.put_away()
    return cast
