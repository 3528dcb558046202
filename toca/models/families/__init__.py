"""The supported transformers, one file a family; a new one is a file here."""

from ...registry import load_all

load_all(__name__, __path__)
