"""From what the stages found to the rows of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import toca
from toca.eval.bootstrap import differences, mean_interval
from toca.eval.fidelity import PSNR, Metric
from toca.eval.matching import matches, nearest
from toca.eval.parts import DENOISER, TOTAL, spread
from toca.eval.results import Match, Part, Row
from toca.eval.speed import Speed
from toca.eval.variants import Variant

Samples = dict[str, list[float | None]]


def make_row(
    variant: Variant, steps: int, drawn: dict[str, Any], speed: Speed, samples: Samples, prompts: Sequence[int]
) -> Row:
    """One variant's row, not yet matched.

    Args:
        variant (`Variant`): What it is of.
        steps (`int`): Its denoising steps.
        drawn (`dict`): What `Gallery.facts` returned.
        speed (`Speed`): What it costs.
        samples (`dict`): Each metric of each sample.
        prompts (`Sequence[int]`): The prompt of each sample.
    """
    should_skip = variant.method is not None and not isinstance(variant.method, toca.NoCache)
    flops_speedup = speed.flops_speedup()
    return Row(
        name=variant.name,
        group=variant.group,
        method=variant.describe()["method"],
        num_inference_steps=steps,
        steps=speed.facts.steps,
        steps_of_batches=drawn["steps"],
        loop_seconds=speed.costs.seconds[DENOISER].median,
        total_seconds=speed.costs.seconds[TOTAL].median,
        loop_speedup=speed.loop_speedup(),
        total_speedup=speed.total_speedup(),
        parts=_parts(speed),
        first_run_seconds=speed.costs.first_run_seconds,
        enough_rounds=speed.costs.enough,
        peak=speed.costs.memory,
        flops_speedup=flops_speedup,
        cache_bytes=speed.facts.cache_bytes,
        bypassed=drawn["bypassed"],
        identical=samples[PSNR].count(None),
        fidelity={name: mean_interval(values, prompts) for name, values in samples.items()},
        samples=samples,
        skipped_nothing=should_skip and min(flops_speedup, drawn["flops_speedup"]) <= 1,
    )


def _parts(speed: Speed) -> dict[str, Part]:
    """Of a part that is not called there is no speed-up to tell."""
    called = {name: timing for name, timing in speed.costs.seconds.items() if timing.median > 0}
    return {name: _part(speed, name, spread(timing)) for name, timing in called.items()}


def _part(speed: Speed, name: str, of: dict[str, float]) -> Part:
    figures = {figure: of[figure] for figure in ("median", "first_quartile", "third_quartile", "p90")}
    return Part(**figures, speedup=speed.part(name), flops=speed.costs.flops[name])


def with_matches(row: Row, uncached: list[Row], metrics: dict[str, Metric], prompts: Sequence[int]) -> Row:
    """The row with the uncached runs that are as fast, by the clock and by FLOPs.

    Args:
        row (`Row`): Of a method.
        uncached (`list[Row]`): The runs with fewer steps, and the full one, which matches what is no faster.
        metrics (`dict[str, Metric]`): What gains are told of.
        prompts (`Sequence[int]`): The prompt of each sample.
    """

    def match(speedup: float, speedups: list[float]) -> Match:
        i = nearest(speedup, dict(enumerate(speedups)))
        other = uncached[i]
        gains = {
            name: mean_interval(differences(row.samples[name], other.samples[name], metric.sign), prompts)
            for name, metric in metrics.items()
        }
        return Match(other.num_inference_steps, speedups[i], matches(speedup, speedups[i]), gains)

    latency = [other.speedup for other in uncached]
    flops = [other.flops_speedup for other in uncached]
    return replace(row, at_latency=match(row.speedup, latency), at_flops=match(row.flops_speedup, flops))
