"""The stage that takes times: of parts of a generation, for variants in turns, and who else was busy meanwhile."""
