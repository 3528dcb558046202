"""Evaluation: what the speed is (`python -m toca.eval.benchmark`), and what it costs (`toca eval run`)."""
