"""The command: from flags to cases, and from what is found to files."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from toca.eval.benchmarks.bench.cases import DEFAULT, PEERS, Case, find_case
from toca.eval.benchmarks.bench.lines import Found
from toca.eval.benchmarks.bench.measuring import Bench
from toca.eval.benchmarks.bench.pages import COLUMNS, cells, ordered, save
from toca.eval.benchmarks.bench.subjects import Model, Wanted, model_of
from toca.eval.benchmarks.bench.verdicts import summary
from toca.eval.benchmarks.tables import print_table
from toca.eval.metrics.errors import brief
from toca.eval.refusal import refusing
from toca.eval.samples.held_out import unseen_prompts
from toca.eval.samples.prompts import Item, choose, items_of
from toca.eval.samples.working import working
from toca.eval.store.environment import command_line, environment
from toca.eval.store.naming import slug
from toca.eval.store.store import Store
from toca.eval.variants import Lineup, Variant, every_method, every_peer, fewer_steps, in_own_steps, parse_variant
from toca.pipelines.commands.console import errors
from toca.pipelines.commands.console import output as console

SEED = 0
FEWER = (2 / 3, 1 / 2)
"""Shares of the steps that the runs without a cache have, unless told."""
PICTURES = "the pictures against the full run's, before they are rounded"
LATENTS = "the latents of random weights against the full run's, whose range is the peak"


def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[CASES]...", help=f"Unless told: {', '.join(DEFAULT)}.")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="Divide width, blocks and tokens of models with random weights by this; 1 is the whole "
            "model. Unless told, what suits a CPU, and 1 elsewhere."
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:key=value,value;key=value]",
            help="A method in the place of those chosen for the case; repeatable.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All presets, methods and peers, as they are.")] = False,
    peers: Annotated[bool, typer.Option(help="Caches of diffusers and cache-dit.")] = True,
    fewer: Annotated[
        list[int] | None, typer.Option("--fewer-steps", min=2, help="Steps of a run without a cache; repeatable.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="In which all rows of a case take turns.")] = 3,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples of one call.")] = None,
    steps: Annotated[int | None, typer.Option(min=3, help="Denoising steps of the full run.")] = None,
    device: Annotated[str | None, typer.Option(help="The best one here unless told.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the blocks with fullgraph; with --no-peers.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads of torch.")] = None,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Where everything goes.")] = Path("outputs/bench"),
) -> None:
    """Our methods against the peers, by the clock, in one run, which goes on where it stopped."""
    wanted = Wanted(scale, batch_size, steps, device, dtype, compiled)
    with refusing():
        if compiled and peers:
            raise ValueError(
                "--compile is for our methods alone, for what counts the work of peers breaks graphs: add --no-peers."
            )
        wanted.check()
        chosen = {case.name: case for case in map(find_case, names or DEFAULT)}
        lineups = {name: lineup_of(case, variant or [], every, peers) for name, case in chosen.items()}
    if threads is not None:
        torch.set_num_threads(threads)
    faults = []
    with working(output):
        for name, case in chosen.items():
            try:
                show(_measured(case, lineups[name], fewer, rounds, wanted, output), output)
            except KeyboardInterrupt:
                errors.print("Stopped: what is done is kept, and the same command goes on from here.")
                raise
            except (ValueError, OSError, torch.OutOfMemoryError) as error:
                faults.append(f"{name} cannot be measured: {brief(error)}.")
                errors.print(faults[-1])
            _let_go()
    if faults:
        raise ValueError(" ".join(faults))


def lineup_of(case: Case, variants: Sequence[str], every: bool, peers: bool) -> Lineup:
    """What is compared on a case, without the runs with fewer steps, which depend on the model's steps.

    Raises:
        ValueError: If a method or a setting is unknown; it says which.
    """
    lineup = Lineup()
    for text in variants or (() if every else case.ours):
        lineup.extend(parse_variant(text))
    if every and not variants:
        lineup.extend(every_method())
    if peers:
        for text in PEERS:
            lineup.extend(parse_variant(text))
        if every:
            for each in every_peer().variants:
                if each not in lineup.variants:
                    lineup.add(each)
    return lineup.for_model(case.name) if case.embedded else lineup


def _measured(case: Case, lineup: Lineup, fewer: list[int] | None, rounds: int, wanted: Wanted, output: Path) -> Found:
    store = Store(output / "stages" / slug(case.name))
    with Progress(console=Console(stderr=True)) as progress:
        progress.print(Text(case.name, style="bold"))
        model = model_of(case, wanted, store)
        subject = model.subject
        variants = [*_uncached(subject.steps, fewer), *(in_own_steps(each, subject.steps) for each in lineup.variants)]
        items, seen = _items(model, variants)
        measured = Bench(subject, items, SEED, rounds, store, progress).measure(variants)
    return Found(
        case=case.name,
        about=model.about,
        compared=PICTURES if subject.inputs is None else LATENTS,
        command=command_line(),
        environment={**environment(subject.pipe.device), "dtype": subject.dtype},
        lines=measured.lines,
        refused=measured.refused,
        notes=[*seen, *measured.notes],
        floor=measured.floor,
    )


def _let_go() -> None:
    """Free the pipeline of a case before the next one is made."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _uncached(full: int, counts: list[int] | None) -> list[Variant]:
    """The runs with fewer steps."""
    return fewer_steps(full, counts or sorted({max(2, round(full * share)) for share in FEWER}))


def _items(model: Model, variants: list[Variant]) -> tuple[list[Item], list[str]]:
    """The samples of a call, and what is to be said of their prompts."""
    prompts, seen = unseen_prompts(model.subject.prompts, type(model.subject.pipe), variants)
    if len(prompts) < model.batch:
        raise ValueError(
            f"--batch-size {model.batch} is more than the {len(prompts)} prompts of {model.subject.name}: take less."
        )
    return items_of(choose(prompts, model.batch, SEED), 1), seen


def show(found: Found, output: Path) -> None:
    """Write a case, print its table, and say what is to be said."""
    paths = save(found, output)
    print_table(found.about, list(COLUMNS), map(cells, ordered(found)), width=200, names=2)
    for sentence in summary(found):
        console.print(sentence)
    if found.floor is not None:
        console.print(found.floor.text)
    for note in found.notes:
        errors.print(note)
    console.print(f"Saved {', '.join(map(str, paths))}")
