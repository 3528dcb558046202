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
from toca.pipelines.request import Job, Request, foreign_note, prepare
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
    output_path: OutputOption = None,
    compare: Annotated[bool, typer.Option("--compare", help="Also run the full model; show both.")] = False,
    from_file: FileOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the model and files that --from names.")] = False,
    pickled_weights: options.PicklesOption = False,
) -> None:
    """Generate images or a video from a prompt."""
    request = Request(
        prompt, class_label, model, method, plan, settings or [], steps, guidance_scale, height, width, num_frames,
        seed, batch_size, num_images, dtype, device, pickled_weights,
    )  # fmt: skip
    check_output(output_path)
    recipe = None if from_file is None else _recipe_of(from_file, request, yes)
    with errors.status("Loading the model"):
        job = prepare(request, recipe)
    if compare and job.method is None:
        raise ValueError("--compare needs a method beside the full model: name one with --method.")
    _advise(job)
    note = foreign_note(method, job.pipe.transformer)
    if note is not None:
        errors.print(f"Note: {note}", style="yellow")
    _check_video(job)
    paths = choose_paths(output_path, job.config.class_label or job.config.prompt, _indices(job))
    result = _run(job, job.method, partial(_save, job, paths, job.method))
    facts = _compare(job, paths, result) if compare else None
    _report(job, result, facts)


def _recipe_of(file: Path, request: Request, yes: bool) -> Recipe:
    """The recipe of a PNG; of what it names nothing is loaded or read that its user has not named or agreed to."""
    record = read_record(file)
    ask_about(record, request, yes)
    return record.recipe(with_method=not names_method(request))


def _indices(job: Job) -> Sequence[int]:
    return job.keep or range(job.config.first_index, job.config.first_index + job.config.num_images)


def _advise(job: Job) -> None:
    """Say which words of the prompt the model does not know."""
    source = resolve_source(job.model)
    tokenizer = getattr(job.pipe, "tokenizer", None)
    note = advice(job.config.prompt, known_prompts(source), tokenizer, known_names(source))
    if note:
        errors.print(f"Note: {note}", style="yellow")


def _check_video(job: Job) -> None:
    """Find out before the generation, not after it, that videos cannot be written."""
    if makes_video(type(job.pipe)):
        check_video_support()


def _run(job: Job, method: Any | None, done: Done) -> GenerationResult:
    with progress_bar(job.pipe, "full model" if method is None else method_name(method)):
        return run(job.pipe, job.config, method, done)


def _save(job: Job, paths: OutputPaths, method: Any | None, samples: list[Sample], summary: Any | None) -> None:
    """Save each sample when it is made: whatever happens later, it is there."""
    for sample in _kept(job, samples):
        saved = save_sample(paths, sample, _recipe(job, sample, method), summary)
        output.print(f"Saved {saved[0]}")


def _save_baseline(job: Job, paths: OutputPaths, samples: list[Sample], _: Any | None) -> None:
    for sample in _kept(job, samples):
        save_sample(paths, sample, _recipe(job, sample, None), baseline=True)


def _compare(job: Job, paths: OutputPaths, result: GenerationResult) -> Comparison:
    """Run the full model too, and show both."""
    baseline = _run(job, None, partial(_save_baseline, job, paths))
    facts = _measure(job, result, baseline)
    recipe = _recipe(job, result.samples[0], job.method)
    kept = _kept(job, baseline.samples), _kept(job, result.samples)
    output.print(f"Saved {save_comparison(paths, *kept, facts, recipe)[0]}")
    return facts


def _kept(job: Job, samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.index in _indices(job)]


def _recipe(job: Job, sample: Sample, method: Any | None) -> Recipe:
    return Recipe.of(sample, job.config, model=job.model, method=method, dtype=job.dtype, device=job.device)


def _measure(job: Job, result: GenerationResult, baseline: GenerationResult) -> Comparison:
    frames, references = (
        [frame for sample in _kept(job, each.samples) for frame in sample.frames] for each in (result, baseline)
    )
    with errors.status("Measuring the speed-up"):
        full, cached = measure_seconds(job.pipe, job.config, [None, job.method])
    return Comparison(
        title=job.config.prompt or f"class {job.config.class_label}",
        method=method_name(job.method),
        steps=result.summary.steps,
        seconds=(full, cached),
        flops_speedup=result.summary.flops_speedup,
        psnr=mean_psnr(frames, references),
    )


def _report(job: Job, result: GenerationResult, facts: Comparison | None) -> None:
    if result.summary is not None:
        output.print(str(replace(result.summary, method=job.label)))
    if facts is not None:
        full, cached = facts.seconds
        output.print(f"  time    {cached:.3f} s end to end instead of {full:.3f} s: {facts.wall_speedup:.2f}x as fast")
        output.print(f"  PSNR    {facts.psnr_text} against the full model")
