"""Fronts that are at hand: those a user made before, and the one that lies beside a model's weights."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ..checks import cleaned
from ..files.user_folder import user_folder
from ..models import describe, known_family
from ..models.fingerprint import Fingerprint, fingerprint
from ..plan.front import Front
from ..plan.schedulers import SchedulerMark
from ..sharing.places import file_beside

logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """A front, and the file that holds it."""

    path: Path
    front: Front


def keep(front: Front, pipe: Any) -> Path:
    """Save a front in the user's folder, where `find_front` finds it for this model, scheduler and number of steps;
    one that was there before is replaced.

    Raises:
        OSError: If it cannot be written.
    """
    scheduler = _digest(asdict(front.scheduler))[:8]
    path = _folder() / f"{_start(front.model, pipe)}-{scheduler}-{front.num_inference_steps}.json"
    front.save(path)
    return path


def find_front(
    pipe: Any,
    num_inference_steps: int | None = None,
    usual_steps: int | None = None,
    called: str | None = None,
    for_thresholds: bool = False,
) -> Found:
    """The front for a pipeline's model and scheduler: the user's own, else the one beside the weights. A damaged one
    is told of and passed over where another fits.

    Args:
        pipe (`DiffusionPipeline`): The pipeline.
        num_inference_steps (`int`, *optional*): A number of steps that the front must have plans of.
        usual_steps (`int`, *optional*): Where several are at hand and none must be, the one of so many is taken.
        called (`str`, *optional*): What a user calls the model, for a message.
        for_thresholds (`bool`, defaults to `False`): Whether it is asked for thresholds, which were measured in as
            many steps as the full run has, while some plans may have fewer.

    Raises:
        ValueError: If there is none, which names what makes one; if the only one is damaged; or if there are several
            and the number of steps, by which they differ, is not told.
    """
    scheduler = getattr(pipe, "scheduler", None)
    transformer = getattr(pipe, "transformer", None)
    if scheduler is None or transformer is None:
        raise ValueError("A budget is for a pipeline with a transformer and a scheduler: they tell which front fits.")
    layout = describe(getattr(transformer, "_orig_mod", transformer), known_family(transformer))
    model, mark = fingerprint(layout), SchedulerMark.of(scheduler)
    fitting: dict[int, Found] = {}
    misfits: list[str] = []
    damaged: list[ValueError] = []
    for path in _candidates(model, pipe):
        try:
            front = _loaded(path, pipe, called)
        except ValueError as error:
            damaged.append(error)
            continue
        misfit = _misfit(front, model, mark) or _other_steps(front, num_inference_steps, for_thresholds)
        if misfit:
            misfits.append(misfit)
        else:
            fitting.setdefault(front.num_inference_steps, Found(path, front))
    if not fitting:
        raise damaged[0] if damaged else ValueError(_none(pipe, num_inference_steps, misfits, called))
    for why in damaged:
        logger.warning("%s Another front is taken meanwhile.", why)
    wanted = num_inference_steps or usual_steps
    if num_inference_steps is None and wanted not in fitting and len(fitting) > 1:
        numbers = " and ".join(map(str, sorted(fitting)))
        raise ValueError(f"There are fronts of this model for {numbers} steps: pass `num_inference_steps`.")
    return fitting.get(wanted or 0) or next(iter(fitting.values()))


def tune_command(pipe: Any, more: str = "", called: str | None = None) -> str:
    """The one command, or call, that makes a front for a pipeline."""
    name = called or getattr(pipe, "name_or_path", None)
    return f"`toca tune {cleaned(str(name))}{more}`" if name else "toca.tune(pipe)"


def _candidates(model: Fingerprint, pipe: Any) -> list[Path]:
    own = sorted(_folder().glob(f"{_start(model, pipe)}-*.json"))
    name = getattr(pipe, "name_or_path", None)
    beside = [file_beside(name, "tuned")] if name else []
    return own + [path for path in beside if path.is_file()]


def _loaded(path: Path, pipe: Any, called: str | None) -> Front:
    """The front in a file. Raises `ValueError` for a damaged one, with what to do."""
    try:
        return Front.load(path)
    except ValueError as error:
        why = str(error).removesuffix(".")
        raise ValueError(f"{why}: delete it, or have {tune_command(pipe, '', called)} make a new one.") from error


def _misfit(front: Front, model: Fingerprint, mark: SchedulerMark) -> str:
    """Why a front is not for a pipeline, in words; empty where it is."""
    difference = front.model.difference(model)
    if difference:
        return f"was made {difference}"
    difference = front.scheduler.difference(mark)
    return f"was made with {difference}" if difference else ""


def _other_steps(front: Front, steps: int | None, for_thresholds: bool) -> str:
    """The same of a number of steps, where one is asked for."""
    what, numbers = ("thresholds", (front.num_inference_steps,)) if for_thresholds else ("plans", front.steps)
    return "" if steps is None or steps in numbers else f"has {what} of {' or '.join(map(str, numbers))} steps"


def _none(pipe: Any, steps: int | None, misfits: list[str], called: str | None) -> str:
    wanted = "" if steps is None else f" and {steps} steps"
    more = "" if steps is None else f" --steps {steps}"
    there = f" (the one at hand {misfits[0]})" if misfits else ""
    what = f"There is no front of this model for {type(pipe.scheduler).__name__}{wanted}{there}"
    return f"{what}: {tune_command(pipe, more, called)} makes one."


def _start(model: Fingerprint, pipe: Any) -> str:
    """How the names of a model's files begin. Fine-tuned copies are built alike, so that the model's name counts too;
    a folder is the same one by whatever path."""
    name = str(getattr(pipe, "name_or_path", None) or "")
    name = os.path.realpath(name) if os.path.isdir(name) else name
    return f"{model.family}-{_digest([model.to_dict(), name])[:12]}"


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def _folder() -> Path:
    return user_folder() / "fronts"
