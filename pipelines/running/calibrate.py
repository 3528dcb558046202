"""`toca calibrate`: the uncached model runs on prompts, and what was measured is saved."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.progress import track

import toca
from toca.calibration.charts import draw_charts
from toca.files.figures import figure_format
from toca.methods.calibrated import Calibrated
from toca.pipelines.calibration import calibrate, own_prompts, read_prompts
from toca.pipelines.call_sizes import call_sizes
from toca.pipelines.commands.console import errors, output
from toca.pipelines.method_options import find_method, override
from toca.pipelines.registry import DEFAULT_MODEL
from toca.pipelines.request import PreparedGeneration, Request, prepare
from toca.pipelines.skeleton import Skeleton
from toca.pipelines.writing import prepare_folder


def run(request: Request, file: Path | None, given: list[str], output_path: Path | None, draw: Path | None) -> None:
    """Calibrate a model for a method.

    Args:
        request (`Request`): The method with its settings, the model, and how it is called.
        file (`Path`, *optional*): Prompts, one a line.
        given (`list[str]`): Further prompts; those of the model where there are none at all.
        output_path (`Path`, *optional*): Where the calibration is saved.
        draw (`Path`, *optional*): Where it is drawn.

    Raises:
        ValueError, OSError: For anything that cannot be done; one sentence each.
    """
    chosen = _calibrated(str(request.method), request.settings)
    model = DEFAULT_MODEL if request.model is None else request.model
    texts = _prompts(model, file, given)
    path = _path(output_path, chosen, model)
    for written in filter(None, (path, draw)):
        prepare_folder(written.parent)
    if draw is not None:
        figure_format(draw)
    request = replace(request, prompt=texts[0], model=model, method=None, settings=[])
    with errors.status("Loading the model"):
        prepared = prepare(request)
    made = calibrate(prepared.pipe, chosen, prepared.config, _tracked(texts, chosen.name), model)
    made.save(path)
    output.print(f"Saved {path}")
    _show(replace(chosen, calibration=str(path)), prepared, draw)  # type: ignore[type-var]


def _calibrated(name: str, settings: list[str]) -> Calibrated:
    """The method to calibrate for, without the calibration that it may have."""
    method = override(find_method(name), settings)
    if not isinstance(method, Calibrated):
        known = ", ".join(name for name, cls in toca.methods().items() if issubclass(cls, Calibrated))
        raise ValueError(f"{name} needs no calibration; methods that do are {known}.")
    return replace(method, calibration=None)  # type: ignore[type-var]


def _prompts(model: str, file: Path | None, given: list[str]) -> list[str]:
    prompts = given if file is None else [*read_prompts(file), *given]
    prompts = prompts or own_prompts(model)
    if not prompts:
        raise ValueError(f"What should {model} draw? Name prompts, or classes, with --prompts or --prompt.")
    return prompts


def _path(given: Path | None, method: Calibrated, model: str) -> Path:
    if given is not None and given.suffix != ".json":
        raise ValueError(f"A calibration is saved as .json, got {given.name!r}.")
    return given or Path(f"{method.name}-{Path(model).name}.json")


def _tracked(prompts: list[str], name: str) -> Iterable[str]:
    description = f"Calibrating for {name}"
    return track(prompts, description, console=errors, transient=True, disable=not errors.is_terminal)


def _show(method: Calibrated, prepared: PreparedGeneration, draw: Path | None) -> None:
    """What the calibration comes to with the method's fields as they are, and how to use it."""
    plan = method.expected_plan(prepared.pipe.transformer)
    title = f"{method.name} on {prepared.model}, {plan.num_inference_steps} steps: {plan.steps}"
    output.print(title)
    cost = plan.cost(**call_sizes(Skeleton.of(prepared.pipe, prepared.model), prepared.config))
    output.print(f"FLOPs {cost.speedup_text} fewer")
    if draw is not None:
        draw_charts(method.charts(), title, draw)
        output.print(f"Saved {draw}")
    setting = shlex.quote(f"calibration={method.calibration}")
    where = "" if prepared.model == DEFAULT_MODEL else f" --model {shlex.quote(prepared.model)}"
    prompt = shlex.quote(prepared.config.prompt)
    output.print(f"Use it: toca generate {prompt}{where} --method {method.name} --set {setting}")
