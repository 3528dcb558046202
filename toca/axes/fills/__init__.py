"""How to fill: what a site or a span returns for what it did not compute. One way a file; a new one is a file here."""

from ...registry import load_all
from .base import Fill
from .renewal import accumulated, differences, shifted

__all__ = ["Fill", "accumulated", "differences", "shifted"]

load_all(__name__, __path__)
