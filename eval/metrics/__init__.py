"""Quality and fidelity metrics: features and what distances between them say, scores of each sample, and video.

A metric is one object, which its file hands to `register`; another package does the same. All else reads it: what a
configuration may ask for, what is scored, and every column, plot and file of a report.
"""

from toca.eval.metrics.metric import Asked, Metric, ToFullRun, ToReal
from toca.eval.metrics.registry import register

__all__ = ["Asked", "Metric", "ToFullRun", "ToReal", "register"]
