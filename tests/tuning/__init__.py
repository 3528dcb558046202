"""Tests of `toca.tuning`."""
