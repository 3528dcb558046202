"""`toca generate`: what was asked for is made, and saved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from toca.pipelines.arguments import call_arguments, makes_video
from toca.pipelines.calibration import read_prompts
from toca.pipelines.commands.console import errors, output
from toca.pipelines.compare import Comparison, mean_psnr
from toca.pipelines.generate import Done, GenerationResult, Sample, generate, progress_bar
from toca.pipelines.loading import resolve_source
from toca.pipelines.metadata import Recipe, read_record
from toca.pipelines.method_options import method_name
from toca.pipelines.outputs import OutputPaths, check_output, choose_paths, is_file, save_comparison, save_sample
from toca.pipelines.prompt_lists import list_path
from toca.pipelines.prompts import advice, known_names, known_prompts
from toca.pipelines.request import PreparedGeneration, Request, foreign_note, prepare
from toca.pipelines.running.consent import ask_about, names_method
from toca.pipelines.timing import measure_seconds
from toca.pipelines.video import check_video_support


def run(
    request: Request, file: str | None, output_path: str | None, compare: bool, from_file: Path | None, yes: bool
) -> None:
    """Make what a request asks for.

    Args:
        request (`Request`): What was asked for.
        file (`str`, *optional*): A list of prompts, each of which is made as if it were asked for alone.
        output_path (`str`, *optional*): A file, or a folder.
        compare (`bool`): Whether the full model runs too.
        from_file (`Path`, *optional*): A picture whose recipe is taken.
        yes (`bool`): Whether the model and the files that it names were agreed to.

    Raises:
        ValueError, OSError: For anything that cannot be done; one sentence each.
    """
    check_output(output_path)
    texts = [] if file is None else _texts(request, file, output_path)
    request = replace(request, prompt=texts[0]) if texts else request
    recipe = None if from_file is None else _recipe_of(from_file, request, yes)
    with errors.status("Loading the model"):
        prepared = prepare(request, recipe)
    if compare and prepared.method is None:
        raise ValueError("--compare needs a method beside the full model: name one with --method.")
    note = foreign_note(request.method, prepared.pipe.transformer)
    if note is not None:
        errors.print(f"Note: {note}", style="yellow")
    _check_video(prepared)
    jobs = _each(prepared, texts) if texts else [prepared]
    for job in jobs:
        _advise(job)
        paths = choose_paths(output_path, job.config.class_label or job.config.prompt, _indices(job))
        result = _run(job, job.method, partial(_save, job, paths, job.method))
        facts = _compare(job, paths, result) if compare else None
        if compare or job is jobs[-1]:
            _report(job, result, facts)


def _texts(request: Request, file: str, output_path: str | None) -> list[str]:
    """The prompts of a list. Raises `ValueError` for what goes with no list."""
    if request.prompt or request.class_label:
        raise ValueError("Give a prompt, or --class-label, or --prompts-file, and no two of them.")
    if is_file(output_path):
        raise ValueError("--prompts-file makes a picture for each prompt: name a folder with --output.")
    return read_prompts(list_path(file))


def _each(prepared: PreparedGeneration, texts: Sequence[str]) -> list[PreparedGeneration]:
    """A generation for each prompt. Raises `ValueError` for one that cannot be, before the first is made."""
    jobs = [replace(prepared, config=replace(prepared.config, prompt=text, class_label=None)) for text in texts]
    for job in jobs:
        call_arguments(job.pipe, job.config, range(1))
    return jobs


def _recipe_of(file: Path, request: Request, yes: bool) -> Recipe:
    """The recipe of a PNG; of what it names nothing is loaded or read that its user has not named or agreed to."""
    record = read_record(file)
    ask_about(record, request, yes)
    return record.recipe(with_method=not names_method(request))


def _indices(prepared: PreparedGeneration) -> Sequence[int]:
    first = prepared.config.first_index
    return prepared.keep or range(first, first + prepared.config.num_images)


def _advise(prepared: PreparedGeneration) -> None:
    """Say which words of the prompt the model does not know; a class has none."""
    if prepared.config.class_label is not None:
        return
    source = resolve_source(prepared.model)
    tokenizer = getattr(prepared.pipe, "tokenizer", None)
    note = advice(prepared.config.prompt, known_prompts(source), tokenizer, known_names(source))
    if note:
        errors.print(f"Note: {note}", style="yellow")


def _check_video(prepared: PreparedGeneration) -> None:
    """Find out before the generation, not after it, that videos cannot be written."""
    if makes_video(type(prepared.pipe)):
        check_video_support()


def _run(prepared: PreparedGeneration, method: Any | None, done: Done) -> GenerationResult:
    config = prepared.full_config if method is None else prepared.config
    with progress_bar(prepared.pipe, "full model" if method is None else method_name(method)):
        return generate(prepared.pipe, config, method, done, prepared.keeping)


def _save(
    prepared: PreparedGeneration, paths: OutputPaths, method: Any | None, samples: list[Sample], summary: Any | None
) -> None:
    """Save each sample when it is made: whatever happens later, it is there."""
    for sample in _kept(prepared, samples):
        saved = save_sample(paths, sample, _recipe(prepared, sample, method, summary), summary)
        output.print(f"Saved {saved[0]}")


def _save_baseline(prepared: PreparedGeneration, paths: OutputPaths, samples: list[Sample], _: Any | None) -> None:
    for sample in _kept(prepared, samples):
        save_sample(paths, sample, _recipe(prepared, sample, None, None), baseline=True)


def _compare(prepared: PreparedGeneration, paths: OutputPaths, result: GenerationResult) -> Comparison:
    """Run the full model too, and show both."""
    baseline = _run(prepared, None, partial(_save_baseline, prepared, paths))
    facts = _measure(prepared, result, baseline)
    recipe = _recipe(prepared, result.samples[0], prepared.method, result.summary)
    kept = _kept(prepared, baseline.samples), _kept(prepared, result.samples)
    output.print(f"Saved {save_comparison(paths, *kept, facts, recipe)[0]}")
    return facts


def _kept(prepared: PreparedGeneration, samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.index in _indices(prepared)]


def _recipe(prepared: PreparedGeneration, sample: Sample, method: Any | None, summary: Any | None) -> Recipe:
    facts: dict[str, Any] = {"model": prepared.model, "dtype": prepared.dtype, "device": prepared.device}
    if summary is not None:
        # That which a limit on bytes has led to, so that the picture can be made again anywhere.
        facts["cache_dtype"] = summary.cache_dtype or None
    config = prepared.full_config if method is None else prepared.config
    return Recipe.of(sample, config, method=method, **facts)


def _measure(prepared: PreparedGeneration, result: GenerationResult, baseline: GenerationResult) -> Comparison:
    frames, references = (
        [frame for sample in _kept(prepared, each.samples) for frame in sample.frames] for each in (result, baseline)
    )
    assert result.summary is not None, "only a cached run is compared"
    with errors.status("Measuring the speed-up"):
        runs = [(prepared.full_config, None), (prepared.config, prepared.method)]
        full, cached = measure_seconds(prepared.pipe, runs, prepared.keeping)
    return Comparison(
        title=prepared.config.prompt or f"class {prepared.config.class_label}",
        method=method_name(prepared.method),
        steps=result.summary.steps,
        seconds=(full, cached),
        flops_speedup=result.summary.flops_speedup,
        psnr=mean_psnr(frames, references),
    )


def _report(prepared: PreparedGeneration, result: GenerationResult, facts: Comparison | None) -> None:
    if result.summary is not None:
        output.print(str(replace(result.summary, method=prepared.label)))
    if facts is not None:
        full, cached = facts.seconds
        output.print(f"  time    {cached:.3f} s end to end instead of {full:.3f} s: {facts.wall_speedup:.2f}x as fast")
        told = f"{facts.psnr_text} against" if math.isfinite(facts.psnr) else "the picture is that of"
        output.print(f"  PSNR    {told} the full model")
