"""Calibration: what some methods must know of a model before they can cache it, measured and kept in a file."""
