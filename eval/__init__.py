"""Evaluation: what the speed is, and what it costs. So far the latency benchmark (`python -m toca.eval.benchmark`)."""
