"""Plans, fronts, calibrations and routers as folders and repositories: found by a name, written with a card."""
