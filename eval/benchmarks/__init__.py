"""Programs that take times apart from a run: `python -m toca.eval.benchmarks.random_weights` and the others."""
