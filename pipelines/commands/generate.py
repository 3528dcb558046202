"""`toca generate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from toca.pipelines.arguments import makes_video
from toca.pipelines.commands import options
from toca.pipelines.commands.consent import ask_about, names_method
from toca.pipelines.commands.console import errors, output
from toca.pipelines.commands.joining import command
from toca.pipelines.compare import Comparison, mean_psnr
from toca.pipelines.config import LARGEST_BATCH, MOST_IMAGES
from toca.pipelines.generate import Done, GenerationResult, Sample, progress_bar
from toca.pipelines.generate import generate as run
from toca.pipelines.loading import resolve_source
from toca.pipelines.metadata import Recipe, read_record
from toca.pipelines.method_options import method_name
from toca.pipelines.outputs import OutputPaths, check_output, choose_paths, save_comparison, save_sample
from toca.pipelines.prompts import advice, known_names, known_prompts
from toca.pipelines.request import PreparedGeneration, Request, foreign_note, prepare
from toca.pipelines.timing import measure_seconds
from toca.pipelines.video import check_video_support

FileOption = Annotated[
    Path | None, typer.Option("--from", metavar="FILE.png", help="Make that picture again; other options override.")
]
OutputOption = Annotated[
    str | None, typer.Option("--output", metavar="FILE|FOLDER", help="Where to save; `outputs` by default.")
]


@command(place=10)
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What to make.", show_default=False)] = None,
    class_label: Annotated[str | None, typer.Option(help="Number or name of a class, for models of classes.")] = None,
    model: options.ModelOption = None,
    method: options.MethodOption = None,
    plan: Annotated[str | None, typer.Option(metavar="FILE", help="A plan saved by `toca plan`.")] = None,
    speedup: options.SpeedupOption = None,
    settings: options.SetOption = None,
    steps: options.StepsOption = None,
    guidance_scale: options.GuidanceOption = None,
    height: options.HeightOption = None,
    width: options.WidthOption = None,
    num_frames: options.FramesOption = None,
    seed: options.SeedOption = None,
    batch_size: Annotated[int | None, typer.Option(min=1, max=LARGEST_BATCH, help="Images at a time.")] = None,
    num_images: Annotated[int | None, typer.Option(min=1, max=MOST_IMAGES, help="How many images.")] = None,
    dtype: options.DtypeOption = None,
    device: options.DeviceOption = None,
    cache_dtype: options.CacheDtypeOption = None,
    max_cache_bytes: options.CacheBytesOption = None,
    output_path: OutputOption = None,
    compare: Annotated[bool, typer.Option("--compare", help="Also run the full model; show both.")] = False,
    from_file: FileOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the model and files that --from names.")] = False,
    pickled_weights: options.PicklesOption = False,
) -> None:
    """Generate images or a video from a prompt."""
    request = Request(
        prompt, class_label, model, method, plan, settings or [], steps, guidance_scale, height, width, num_frames,
        seed, batch_size, num_images, dtype, device, pickled_weights, speedup, cache_dtype, max_cache_bytes,
    )  # fmt: skip
    check_output(output_path)
    recipe = None if from_file is None else _recipe_of(from_file, request, yes)
    with errors.status("Loading the model"):
        prepared = prepare(request, recipe)
    if compare and prepared.method is None:
        raise ValueError("--compare needs a method beside the full model: name one with --method.")
    _advise(prepared)
    note = foreign_note(method, prepared.pipe.transformer)
    if note is not None:
        errors.print(f"Note: {note}", style="yellow")
    _check_video(prepared)
    paths = choose_paths(output_path, prepared.config.class_label or prepared.config.prompt, _indices(prepared))
    result = _run(prepared, prepared.method, partial(_save, prepared, paths, prepared.method))
    facts = _compare(prepared, paths, result) if compare else None
    _report(prepared, result, facts)


def _recipe_of(file: Path, request: Request, yes: bool) -> Recipe:
    """The recipe of a PNG; of what it names nothing is loaded or read that its user has not named or agreed to."""
    record = read_record(file)
    ask_about(record, request, yes)
    return record.recipe(with_method=not names_method(request))


def _indices(prepared: PreparedGeneration) -> Sequence[int]:
    first = prepared.config.first_index
    return prepared.keep or range(first, first + prepared.config.num_images)


def _advise(prepared: PreparedGeneration) -> None:
    """Say which words of the prompt the model does not know."""
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
        return run(prepared.pipe, config, method, done, prepared.keeping)


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
        output.print(f"  PSNR    {facts.psnr_text} against the full model")
