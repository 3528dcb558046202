"""A run over pipelines: the samples of all of them first, by any number of processes; then, by one, the figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.text import Text

from toca.checks import cleaned
from toca.eval.config.settings import Settings, read_run
from toca.eval.outline import told_ahead
from toca.eval.progress.bars import bars
from toca.eval.progress.outline import FILE
from toca.eval.refusal import Refused, refusing
from toca.eval.report import Report, write_report
from toca.eval.report.plot import draw
from toca.eval.report.sample_pages import NAME
from toca.eval.samples.shards import WHOLE, Shard, launched_device, launched_shard, parse_shard, wait_for_all
from toca.eval.samples.subject import load_subject
from toca.eval.samples.working import working
from toca.eval.store.mirror import Mirror
from toca.eval.store.naming import slug
from toca.eval.store.remote import Remote
from toca.eval.store.store import Store
from toca.eval.study import Study
from toca.eval.telling import resumes, short_report
from toca.eval.variants import Failure, Lineup
from toca.files.writing import atomic_path
from toca.pipelines.commands.console import errors
from toca.pipelines.commands.console import output as console
from toca.pipelines.config import GenerationConfig
from toca.pipelines.loading import pick_device, pick_dtype, resolve_source
from toca.pipelines.request import with_request
from toca.pipelines.writing import check_folder

Stage = Literal["generate", "time", "score", "report"]
STAGES: tuple[Stage, ...] = ("generate", "time", "score", "report")


def run(
    stages: Sequence[Stage],
    config: str | None,
    models: list[str],
    flags: Mapping[str, Any],
    output: Path,
    shard: str | None,
    command: str,
    dry_run: bool = False,
    remote: str | None = None,
) -> None:
    """Run the stages.

    Args:
        stages (`Sequence`): In the order of `STAGES`. Only samples are made by many processes; the first of these
            does the other stages, when all are done.
        config (`str`, *optional*): A YAML file or a preset.
        models (`list[str]`): Pipelines; those of the file if there are none.
        flags (`Mapping`): As for `toca.eval.config.read_run`.
        output (`Path`): Folder.
        shard (`str`, *optional*): `i/n`: of job arrays, whose processes know nothing of each other.
        command (`str`): What was typed, for the report.
        dry_run (`bool`, defaults to `False`): Whether to say what would be made, and make nothing.
        remote (`str`, *optional*): A URL of a folder that all machines reach and none has as a disk: what is lacking
            in `output` is taken from there, and what is made is put there.

    Raises:
        Refused: For settings that are wrong, before anything is made.
        ValueError: After its report is written, of a run in which a method skipped nothing, or all failed.
        OSError: If something cannot be read or written.
    """
    if shard is not None and tuple(stages) != ("generate",):
        asked = cleaned(shard, 60)
        raise Refused(f"--shard {asked} belongs to `toca eval generate`: the other stages need all samples.")
    with refusing():
        mirror = None if remote is None else Mirror(Remote(remote), output)
        mine = launched_shard() if shard is None else parse_shard(shard)
        settings = read_run(config, models, {**_own_device(), **flags})
        # Whatever is wrong with any of them must not come to light after hours of the others.
        lineups = {model: _lineup(model, each) for model, each in settings.items()}
        if dry_run:
            check_folder(output)
            for model, each in settings.items():
                console.print("\n".join(told_ahead(model, each, lineups[model], stages, output)))
            return
        if mirror is not None:
            mirror.remote.names("")  # so that a URL that leads nowhere comes to light now
    try:
        _run(stages, settings, lineups, _Place(output, mirror, command), mine, shard is None)
    except KeyboardInterrupt:
        errors.print(resumes(output, command))
        raise
    except OSError:  # as of a disk that is full
        if (output / "stages").is_dir():
            errors.print(resumes(output, command))
        raise


@dataclass(frozen=True)
class _Place:
    """Where everything goes: a folder, its likeness elsewhere, and what was typed, for the record of both."""

    output: Path
    mirror: Mirror | None
    command: str


def _run(
    stages: Sequence[Stage],
    settings: dict[str, Settings],
    lineups: dict[str, Lineup],
    place: _Place,
    mine: Shard,
    together: bool,
) -> None:
    faults: list[str] = []
    if "generate" in stages:
        with working(place.output, mine):
            for model, each in settings.items():
                with _study(model, each, lineups[model], place, mine) as study:
                    faults += _lost(model, lineups[model], study.generate(mine))
        if together:
            wait_for_all(mine)
    rest = [stage for stage in stages if stage != "generate"]
    if rest:
        # A launcher ends all processes when one fails: the first, which writes the report, says what is wrong.
        faults = []
    if rest and mine.leads:
        with working(place.output):
            for model, each in settings.items():
                faults += _rest(rest, model, each, lineups[model], place)
    if faults:
        raise ValueError(" ".join(faults))


def _lineup(model: str, settings: Settings) -> Lineup:
    """What is compared on a pipeline. Raises `ValueError` or `OSError` for what can be seen to be wrong unloaded."""
    resolve_source(model)
    pick_dtype(settings.dtype, model, pick_device(settings.device))
    with_request(GenerationConfig(prompt=model), settings.request())
    settings.scores.check_files()
    settings.searched(model)
    return settings.lineup().for_model(model)


def _rest(stages: Sequence[Stage], model: str, settings: Settings, lineup: Lineup, place: _Place) -> list[str]:
    """All stages of one pipeline but the first; returns why the run failed, if it did."""
    with _study(model, settings, lineup, place) as study:
        if "time" in stages:
            study.time()
        if "score" in stages:
            study.score()
        faults = _lost(model, lineup, study.failures)
        if "report" not in stages:
            return faults
        report = study.report(place.command)
    console.print(f"{model}:\n{short_report(report)}")
    paths = write(report, place.output)
    for path in paths:
        console.print(f"Saved {path}")
    if place.mirror is not None:
        place.mirror.put([*paths, *_sample_pages(report)])
        console.print(f"Saved all of it in {place.mirror.remote.shown}")
    return faults + _idle(model, report)


def _lost(model: str, lineup: Lineup, failures: Sequence[Failure]) -> list[str]:
    """A sentence, if no method of a pipeline is left."""
    reasons = {failure.variant: failure.reason for failure in failures}
    if not lineup.variants or not all(variant.name in reasons for variant in lineup.variants):
        return []
    first = lineup.variants[0].name
    count = len(lineup.variants)
    which = f"the only method, {first}," if count == 1 else f"all {count} methods, the first of them {first},"
    return [f"The run failed on {model}, for {which} failed: {reasons[first]}"]


def _idle(model: str, report: Report) -> list[str]:
    """A sentence, if a method skipped nothing."""
    idle = [f"{row.name} on {model}" for row in report.results.methods if row.skipped_nothing]
    if not idle:
        return []
    return [
        f"The run failed, for these skipped nothing: {'; '.join(idle)}. They took as many FLOPs as the full run, or "
        "more: change their settings, or leave them out."
    ]


def write(report: Report, output: Path) -> list[Path]:
    """The page, the tables, the data and the plot of one pipeline, each whole or not at all."""
    paths = write_report(report, output)
    plot = output / f"{slug(report.results.model)}.png"
    with atomic_path(plot) as temporary:
        draw(report.results, temporary)
    return [*paths, plot]


def _sample_pages(report: Report) -> list[Path]:
    pages = (folder / NAME for folder in report.folders.values())
    return [page for page in pages if page.is_file()]


@contextmanager
def _study(
    model: str, settings: Settings, lineup: Lineup, place: _Place, shard: Shard | None = None
) -> Iterator[Study]:
    """One pipeline, loaded for the length of a `with` block; the first of many processes shows how far it is."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    with bars(disable=shard is not None and not shard.leads) as progress:
        progress.print(Text(model, style="bold"))  # a name may hold square brackets
        store = Store(place.output / "stages" / slug(model), place.mirror)
        # Hashes of files of this machine are kept on it.
        study = Study(load_subject(model, settings, Store(store.folder)), lineup, settings, store, progress)
        study.take(shard or WHOLE)
        outline = study.outline(place.command)
        outline.write(store.folder)
        if place.mirror is not None:
            # Machines differ in what was typed, and in where their times lie: the first has the last word.
            path = store.folder / FILE
            place.mirror.put([path]) if shard is None or shard.leads else place.mirror.keep(path)
        progress.print(f"{outline.summary}. {study.begun(shard or WHOLE)}", soft_wrap=True)
        yield study


def _own_device() -> dict[str, str]:
    """The GPU that a launcher means this process to have."""
    device = launched_device()
    return {} if device is None else {"device": device}
