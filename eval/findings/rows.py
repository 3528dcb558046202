"""From what the stages found to the rows of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import mul
from typing import Any

import toca
from toca.eval.findings.matching import at_equal_time
from toca.eval.findings.results import EQUAL, LONGER, SHORTER, Match, PartCost, Row
from toca.eval.metrics.bootstrap import Interval, differences, mean_interval
from toca.eval.metrics.fidelity import PSNR
from toca.eval.metrics.metric import Heading
from toca.eval.timing.parts import DENOISER, TOTAL, spread
from toca.eval.timing.speed import Speed
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
    # The cache's own account is against as many steps: a plan of fewer steps may compute each of these in full.
    least = flops_speedup if variant.steps else min(flops_speedup, drawn["flops_speedup"])
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
        skipped_nothing=should_skip and least <= 1,
        recipe=variant.recipe,
    )


def _parts(speed: Speed) -> dict[str, PartCost]:
    """Of a part that is not called there is no speed-up to tell."""
    called = {name: timing for name, timing in speed.costs.seconds.items() if timing.median > 0}
    return {name: _part(speed, name, spread(timing)) for name, timing in called.items()}


def _part(speed: Speed, name: str, of: dict[str, float]) -> PartCost:
    figures = {figure: of[figure] for figure in ("median", "first_quartile", "third_quartile", "p90")}
    return PartCost(**figures, speedup=speed.part(name), flops=speed.costs.flops[name])


def with_matches(row: Row, uncached: list[Row], metrics: dict[str, Heading], prompts: Sequence[int]) -> Row:
    """The row with what fewer steps give in the same time, and with as many FLOPs.

    Args:
        row (`Row`): Of a method.
        uncached (`list[Row]`): The runs with fewer steps, and last the full one, which matches what is no faster.
        metrics (`dict[str, Heading]`): What gains are told of.
        prompts (`Sequence[int]`): The prompt of each sample.
    """

    def match(speed: Callable[[Row], float]) -> Match:
        # Between the full run, which loses nothing, and another one there is no mean on a scale of decibels.
        fewer = [other for other in uncached if other.psnr is not None]
        others = fewer if fewer and speed(row) > speed(uncached[-1]) else uncached[-1:]
        weights = at_equal_time(speed(row), [speed(other) for other in others])
        chosen = [(others[i], weight) for i, weight in weights.items()]
        gains = {
            name: mean_interval(differences(row.samples[name], _mixed(chosen, name), metric.sign), prompts)
            for name, metric in metrics.items()
        }
        return _match(chosen, speed, speed(row), gains)

    return replace(row, at_latency=match(lambda each: each.speedup), at_flops=match(lambda each: each.flops_speedup))


def _mixed(chosen: list[tuple[Row, float]], metric: str) -> list[float | None]:
    """A metric, sample by sample, of the weighted runs; `None` where one of them has no value."""
    samples = zip(*(row.samples[metric] for row, _ in chosen), strict=True)
    weights = [weight for _, weight in chosen]
    return [None if None in values else sum(map(mul, weights, values)) for values in samples]


def _match(
    chosen: list[tuple[Row, float]], speed: Callable[[Row], float], own: float, gains: dict[str, Interval | None]
) -> Match:
    between = tuple(sorted(row.num_inference_steps for row, _ in chosen))
    steps = sum(weight * row.num_inference_steps for row, weight in chosen)
    theirs = 1 / sum(weight / speed(row) for row, weight in chosen)
    takes = EQUAL if len(chosen) > 1 or theirs == own else LONGER if theirs < own else SHORTER
    return Match(steps, between, theirs, takes, gains)
