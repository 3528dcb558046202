"""Programs that take times apart from a run: `python -m toca.eval.benchmarks.benchmark` and the others."""
