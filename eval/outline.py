"""What a run would do, told before anything is loaded or made: `--dry-run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toca.checks import counted
from toca.eval.config.settings import Settings
from toca.eval.samples.prompts import find_prompts
from toca.eval.store.naming import slug
from toca.eval.variants import BASELINE, Lineup, Variant, fewer_steps
from toca.pipelines.arguments import takes_argument
from toca.pipelines.checksums import read_json
from toca.pipelines.evidence import evaluation_of
from toca.pipelines.loading import resolve_source
from toca.pipelines.model_code import INDEX
from toca.pipelines.prompts import known_prompts
from toca.pipelines.request import own_config
from toca.pipelines.skeleton import Skeleton, load_skeleton


def outline(model: str, settings: Settings, lineup: Lineup, stages: Sequence[str], output: Path) -> list[str]:
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
    skeleton = load_skeleton(model)
    steps = own_config(settings.request(), model, skeleton.pipeline_class, None).num_inference_steps
    uncached = [*fewer_steps(steps, settings.fewer_steps), BASELINE]
    variants = [*uncached, *lineup.variants]
    samples = _prompts(model, settings, skeleton) * settings.samples
    kept = output / "stages" / slug(model)
    return [
        f"{model}: {', '.join(stages)}; {counted(steps, 'step')}",
        f"  {counted(len(uncached), 'run')} without a cache: {_names(uncached)}",
        f"  {counted(len(lineup.variants), 'method')}: {_names(lineup.variants)}",
        f"  {counted(samples, 'sample')} of each, {samples * len(variants):,} in all, {settings.batch_size} at a time",
        f"  {counted(settings.repeats, 'timed round')} of all, after {settings.warmups} that do not count",
        f"  {_estimate(model, variants, samples, settings, stages)}",
        f"  into {output}" + (f"; what fits of {kept} is taken from there" if kept.is_dir() else ""),
    ]


def _names(variants: Sequence[Variant]) -> str:
    return "; ".join(variant.name for variant in variants) or "none"


def _prompts(model: str, settings: Settings, skeleton: Skeleton) -> int:
    """How many prompts there are at most: those that a tuned plan was searched on are left out of a run."""
    file, sha256, expected = settings.prompts_file, settings.prompts_sha256, settings.prompts_expected
    classes = _classes(skeleton) if file is None and not known_prompts(resolve_source(model)) else 0
    found = classes or len(find_prompts(model, skeleton, file, sha256, expected))
    return found if settings.prompts is None else min(found, settings.prompts)


def _classes(skeleton: Skeleton) -> int:
    """The classes that a class-conditional pipeline has samples of; 0 for any other pipeline."""
    if skeleton.folder is None or not takes_argument(skeleton.pipeline_class, "class_labels"):
        return 0
    named = read_json(skeleton.folder / INDEX).get("id2label")
    config: Any = skeleton.transformer.config
    return len(named or range(config.num_embeds_ada_norm))


def _estimate(model: str, variants: Sequence[Variant], samples: int, settings: Settings, stages: Sequence[str]) -> str:
    """How long it takes, where an earlier evaluation has timed the same variants; no guess where none has."""
    earlier = evaluation_of(model)
    if earlier is None:
        return "no estimate: no evaluation of this model has been timed yet"
    rows = [*earlier.data["uncached"], *earlier.data["methods"]]
    seconds: Mapping[str, float] = {row["name"]: row["total_seconds"] for row in rows}
    known = [seconds[variant.name] for variant in variants if variant.name in seconds]
    times = samples if "generate" in stages else 0
    times += settings.repeats + settings.warmups if "time" in stages else 0
    what = f"{sum(known) * times / 60:.0f} minutes for {len(known)} of the {counted(len(variants), 'variant')}"
    where = f"{earlier.path} ({earlier.data['environment']['device']})"
    return f"about {what}, by the times of one sample in {where}; scores not counted"
