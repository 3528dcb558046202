"""What a run would do, told before anything is loaded or made: `--dry-run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toca.checks import counted
from toca.eval.config.settings import Settings
from toca.eval.progress.left import seconds_ahead
from toca.eval.progress.outline import Outline, Parts
from toca.eval.progress.told import duration
from toca.eval.samples.held_out import unseen_prompts
from toca.eval.samples.prompts import find_prompts
from toca.eval.store.naming import slug
from toca.eval.variants import BASELINE, Lineup, Variant, fewer_steps, in_own_steps
from toca.pipelines.arguments import takes_argument
from toca.pipelines.checksums import read_json
from toca.pipelines.evidence import Evaluation, evaluation_of
from toca.pipelines.loading import resolve_source
from toca.pipelines.model_code import INDEX
from toca.pipelines.prompts import known_prompts
from toca.pipelines.request import own_config
from toca.pipelines.skeleton import Skeleton, load_skeleton

STAGES_TIMED = {"generate": "the samples", "time": "the times"}
"""Stages whose length an earlier evaluation tells, and what they make."""


def told_ahead(model: str, settings: Settings, lineup: Lineup, stages: Sequence[str], output: Path) -> list[str]:
    """The lines that tell of one pipeline; its weights are not loaded.

    Args:
        model (`str`): The pipeline.
        settings (`Settings`): How much is measured.
        lineup (`Lineup`): The methods and peers.
        stages (`Sequence[str]`): What is run.
        output (`Path`): Where everything goes.

    Raises:
        ValueError, OSError: For what the run would refuse too.
    """
    outline, kept = outline_ahead(model, settings, lineup), output / "stages" / slug(model)
    count = outline.samples * len(outline.variants)
    full, *fewer = outline.uncached
    fits = f"; what fits of {kept} is taken from there" if kept.is_dir() else ""
    return [
        f"{model}: {outline.summary}",
        f"  without a cache: {'; '.join([f'{full} ({outline.steps} steps)', *fewer])}",
        f"  methods: {'; '.join(outline.methods) or 'none'}",
        f"  {counted(count, 'sample')} in all, {outline.batch_size} at a time",
        f"  {counted(settings.repeats, 'timed round')} of all, after {settings.warmups} that do not count",
        f"  {_estimate(outline, stages)}",
        f"  {', '.join(stages)}: into {output}{fits}",
    ]


def outline_ahead(model: str, settings: Settings, lineup: Lineup) -> Outline:
    """What the study of a pipeline will be made of, which is not loaded: no part of it has a place yet.

    Raises:
        ValueError, OSError: For what the run would refuse too.
    """
    skeleton = load_skeleton(model)
    steps = own_config(settings.request(), model, skeleton.pipeline_class, None).num_inference_steps
    methods = [in_own_steps(variant, steps) for variant in lineup.variants]
    variants = [BASELINE, *fewer_steps(steps, settings.fewer_steps), *methods]
    samples = settings.samples * _prompts(model, settings, skeleton, methods)
    return Outline(
        model=model,
        command="",
        samples=samples,
        batch_size=settings.batch_size,
        timed=min(samples, settings.bench_batch_size or settings.batch_size),
        turns=settings.repeats + settings.warmups,
        rounds="",
        variants=[Parts(variant.name, variant.steps or steps) for variant in variants],
    )


def _prompts(model: str, settings: Settings, skeleton: Skeleton, methods: Sequence[Variant]) -> int:
    file, sha256, expected = settings.prompts_file, settings.prompts_sha256, settings.prompts_expected
    count = _classes(skeleton) if file is None and not known_prompts(resolve_source(model)) else 0
    if not count:
        searched = [*methods, *settings.searched(model).variants]
        prompts = find_prompts(model, skeleton, file, sha256, expected)
        count = len(unseen_prompts(prompts, skeleton.pipeline_class, searched)[0])
    return count if settings.prompts is None else min(count, settings.prompts)


def _classes(skeleton: Skeleton) -> int:
    """The classes that a class-conditional pipeline has samples of; 0 for any other pipeline."""
    if skeleton.folder is None or not takes_argument(skeleton.pipeline_class, "class_labels"):
        return 0
    named = read_json(skeleton.folder / INDEX).get("id2label")
    config: Any = skeleton.transformer.config
    return len(named or range(config.num_embeds_ada_norm))


def _estimate(outline: Outline, stages: Sequence[str]) -> str:
    """How long it takes, where an earlier evaluation has timed some of the variants; no guess where none has."""
    earlier = evaluation_of(outline.model)
    known = {} if earlier is None else _of_a_sample(earlier, outline)
    if earlier is None or not known:
        return "no estimate: no evaluation of this model has been timed yet"
    seconds = seconds_ahead(outline, known)
    told = [f"{duration(seconds[stage])} for {what}" for stage, what in STAGES_TIMED.items() if stage in stages]
    if not told:
        return "no estimate: only samples and times are estimated"
    where = f"{earlier.path} ({earlier.data['environment']['device']})"
    lacking = len(outline.variants) - len(known)
    others = f"; {counted(lacking, 'variant')} not timed there by the number of steps" if lacking else ""
    return f"about {' and '.join(told)}, by the times of a sample in {where}{others}"


def _of_a_sample(earlier: Evaluation, outline: Outline) -> dict[str, float]:
    """Seconds a sample of the variants that an earlier evaluation has timed."""
    rows = [*earlier.data["uncached"], *earlier.data["methods"]]
    batch = earlier.data["config"]["bench_batch_size"]
    ours = {parts.name for parts in outline.variants}
    return {row["name"]: row["total_seconds"] / batch for row in rows if row["name"] in ours}
