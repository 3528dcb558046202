"""Evaluation: what the speed is (`python -m toca.eval.benchmark`), and what it costs (`python -m toca.eval.table`)."""
