"""What was not computed, and the flag or the file that would do it."""

from __future__ import annotations

from toca.eval.findings.results import Results
from toca.eval.metrics.clip_score import CLIP_SCORE
from toca.eval.metrics.fidelity import PERCEPTUAL, PSNR
from toca.eval.metrics.image_reward import IMAGE_REWARD
from toca.eval.metrics.metric import ToReal
from toca.eval.metrics.registry import metrics
from toca.eval.peers import peers
from toca.eval.report.content import Report

MORE_SAMPLES = "Figures that are withheld for too few samples come with more of them: --prompts and --samples."


def missing(report: Report) -> list[str]:
    """A sentence for each figure that this run could have had."""
    results, columns = report.results, {column.label for column in report.scores}
    to_real = [metric.key for metric in metrics(ToReal)]
    lines = []
    if not columns & set(to_real):
        lines.append(f"{', '.join(to_real)}: --features inception and --reference FILE, statistics of real pictures.")
    if not any(label.startswith(CLIP_SCORE) for label in columns):
        lines.append(f"{CLIP_SCORE}: --clip NAME or FILE.")
    if IMAGE_REWARD not in columns:
        lines.append(f"{IMAGE_REWARD}: --set scores.image_reward=true.")
    heading = results.metrics.get(PERCEPTUAL)
    if heading is None or heading.label != "LPIPS":
        beside = "" if heading is None else f"; {heading.label} stands in for it here"
        lines.append(f"LPIPS: --lpips FILE, its weights{beside}.")
    if not results.metrics[PSNR].tag:
        lines.append("Fidelity before pictures are rounded to 8 bits: --set float_pictures=true.")
    if any(column.refusals for column in report.scores):
        lines.append(MORE_SAMPLES)
    return [*lines, *_peers_left_out(results)]


def _peers_left_out(results: Results) -> list[str]:
    tried = [row.name for row in results.methods] + [failure.variant for failure in results.failures]
    left = [name for name in peers() if not any(each.partition(" ")[0] == name for each in tried)]
    return [f"Peers that were not asked for: {', '.join(f'--variant {name}' for name in left)}."] if left else []
