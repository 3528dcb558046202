"""Measuring what the speed-up costs in quality and what it brings in time."""
