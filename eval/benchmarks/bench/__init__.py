"""`toca eval bench`: our methods against the peers, by the clock, in one run."""
