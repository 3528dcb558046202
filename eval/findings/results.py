"""What a run found, as plain data for JSON and for the table and the plot."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from toca.eval.labels import VariantRecipe
from toca.eval.metrics.bootstrap import Interval
from toca.eval.metrics.fidelity import PSNR
from toca.eval.metrics.metric import Heading
from toca.eval.timing.parts import DENOISER, TOTAL, Peak
from toca.eval.variants import Failure

EQUAL, LONGER, SHORTER = "equal", "longer", "shorter"
Quartiles = tuple[float, float, float]  # median, first and third quartile


def steps_text(steps: float) -> str:
    """A number of steps, which may be a mean of two."""
    return f"{round(steps, 1):g} steps"


@dataclass(frozen=True)
class Match:
    """What the uncached pipeline gives with fewer steps in the time of a variant, or with its FLOPs.

    Args:
        steps (`float`): Denoising steps: between two numbers of steps, where one is slower and one is faster, or a
            little beyond them.
        between (`tuple[int, ...]`): These two; one, where none is slower or none is faster by far, or one is just as
            fast.
        speedup (`float`): The speed-up.
        takes (`str`): The time it takes beside the variant's: `EQUAL`; `LONGER`, if any number of steps does; or
            `SHORTER`, if any number but the full one does.
        gains (`dict[str, Interval | None]`): For each metric, by how much the variant is better, sample by sample;
            `None` where no pair of samples has values, as PSNR has none where the match is the full run itself.
    """

    steps: float
    between: tuple[int, ...]
    speedup: float
    takes: str
    gains: dict[str, Interval | None]

    @property
    def text(self) -> str:
        """The number of steps, and how fast they are where that is not the variant's speed."""
        if not min(self.between) <= self.steps <= max(self.between):
            return f"{steps_text(self.steps)}, extrapolated"
        return steps_text(self.steps) + ("" if self.takes == EQUAL else f", {self.speedup:.2f}×")


@dataclass(frozen=True)
class PartCost:
    """A part of a variant's time, for one batch.

    Args:
        median, first_quartile, third_quartile, p90 (`float`): Seconds.
        speedup (`Quartiles`): Against the same part of the full run in the same turns.
        flops (`int`): FLOPs, two a multiply-add, as `FlopMeter` counts them in eager mode.
    """

    median: float
    first_quartile: float
    third_quartile: float
    p90: float
    speedup: Quartiles
    flops: int


@dataclass(frozen=True)
class Row:
    """One variant: the keys of its entry in the results' file, a field each.

    Args:
        name, group (`str`): As in `Variant`.
        method (`dict` or `None`): Class and fields; `None` for the uncached pipeline.
        num_inference_steps (`int`): Denoising steps.
        steps (`str`): One letter a step, of the timed batch; empty without a cache.
        steps_of_batches (`dict[str, int]`): The same of the batches of pictures, and of how many each.
        loop_seconds, total_seconds (`float`): Medians for one batch.
        loop_speedup, total_speedup (`Quartiles`): Against the full run in the same turns.
        parts (`dict[str, PartCost]`): Where the time goes, by the names of `toca.eval.timing.parts`; without those
            that the pipeline does not have or does not call.
        first_run_seconds (`float`): End to end, of the first run of the stage.
        enough_rounds (`bool`): Whether there were as many rounds as times to rely on need.
        peak (`Peak`): Of a run of its own.
        flops_speedup (`float`): The denoiser's FLOPs in the full run over those in this one, as `FlopMeter`
            counts both, for the timed batch.
        cache_bytes (`int`): Of the timed batch.
        bypassed (`int`): Transformer calls past the cache, over all pictures.
        identical (`int`): Samples that equal the full run's, pixel by pixel; they have no PSNR.
        fidelity (`dict[str, Interval | None]`): Mean of each metric.
        samples (`dict[str, list]`): Each metric sample by sample, in the order of the run's items.
        skipped_nothing (`bool`): Whether a method that should skip did not.
        at_latency, at_flops (`Match`, *optional*): What fewer steps give at the same speed; for methods only.
        recipe (`VariantRecipe`, *optional*): How it is made; `None` for the uncached pipeline.
    """

    name: str
    group: str
    method: dict[str, Any] | None
    num_inference_steps: int
    steps: str
    steps_of_batches: dict[str, int]
    loop_seconds: float
    total_seconds: float
    loop_speedup: Quartiles
    total_speedup: Quartiles
    parts: dict[str, PartCost]
    first_run_seconds: float
    enough_rounds: bool
    peak: Peak
    flops_speedup: float
    cache_bytes: int
    bypassed: int
    identical: int
    fidelity: dict[str, Interval | None]
    samples: dict[str, list[float | None]]
    skipped_nothing: bool = False
    at_latency: Match | None = None
    at_flops: Match | None = None
    recipe: VariantRecipe | None = None

    @property
    def speedup(self) -> float:
        """Of the denoising loop: what variants are matched by."""
        return self.loop_speedup[0]

    @property
    def psnr(self) -> float | None:
        """Mean in decibels; `None` where every sample is identical."""
        interval = self.fidelity[PSNR]
        return None if interval is None else interval.mean

    @property
    def wall_over_flops(self) -> float:
        """Wall-clock speed-up of the loop over FLOPs speed-up: 1 where a skipped operation saves its time."""
        return self.speedup / self.flops_speedup

    @property
    def compile_seconds(self) -> float:
        """What the first run took longer than the median one."""
        return max(0.0, self.first_run_seconds - self.total_seconds)

    @property
    def denoiser_share(self) -> float:
        """Of the time end to end, by the medians."""
        return self.parts[DENOISER].median / self.parts[TOTAL].median


@dataclass(frozen=True)
class Results:
    """One pipeline's part of a run.

    Args:
        model (`str`): The pipeline.
        config (`dict`): Steps, guidance, prompts, seeds, batch sizes, repeats, metrics: all that was set.
        metrics (`dict[str, Heading]`): The columns of fidelity.
        uncached (`list[Row]`): The runs without a cache, fewest steps first; the last one is the full run, in turns
            with itself: what its speed-up differs from 1 is noise.
        methods (`list[Row]`): The variants, in the order given.
        failures (`list[Failure]`): Variants without a row.
        taken (`tuple[str, str]`): When the first and the last part of the figures were taken.
        notes (`list[str]`): What else is to be said, such as why a metric is missing; a sentence each.
    """

    model: str
    config: dict[str, Any]
    metrics: dict[str, Heading]
    uncached: list[Row]
    methods: list[Row]
    failures: list[Failure]
    taken: tuple[str, str]
    notes: list[str] = field(default_factory=list)

    @property
    def prompts(self) -> int:
        """How many different ones the samples are of."""
        return len({prompt for prompt, _, _ in self.config["items"]})

    def spread(self) -> float:
        """The noise of the times: how far a speed-up's quartiles lie apart, as a share of it, in the middle row."""
        speedups = [row.loop_speedup for row in (*self.uncached, *self.methods)]
        return median((third - first) / middle for middle, first, third in speedups)

    def to_data(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        data = asdict(self)
        for metric in data["metrics"].values():
            # Of 8-bit files, as all figures were before there was a tag.
            if not metric["tag"]:
                del metric["tag"]
        for rows, found in (("uncached", self.uncached), ("methods", self.methods)):
            for entry, row in zip(data[rows], found, strict=True):
                entry |= {"wall_over_flops": row.wall_over_flops, "compile_seconds": row.compile_seconds}
        return data
