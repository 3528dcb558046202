"""A calibration: what was measured of a model before its cache is used, as a versioned file.

It belongs to one model, one number of steps and one scheduler, and says so: for any other it is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, TypeGuard

from ..axes.sampling import other_timestep
from ..checks import SomeSteps, check, check_fields, cleaned
from ..files.reading import found_there, read_json
from ..files.writing import atomic_path
from ..models import Layout
from ..models.fingerprint import Fingerprint, fingerprint
from ..plan.schedulers import SchedulerMark
from ..registry import registered
from ..sharing.card import Card
from ..sharing.places import file_beside, shared_in
from ..sharing.pretrained import Pretrained
from .card import calibration_card
from .charts import draw_charts

FORMAT = "toca-calibration"
VERSION = 1
Curve = Sequence[float] | Sequence[Sequence[float]]


@dataclass(frozen=True)
class Calibration(Pretrained):
    """What a calibration file holds.

    Args:
        method (`str`): Short name of the method it is for.
        model (`Fingerprint`): The model it was made with.
        num_inference_steps (`int`): The number of steps it was made with.
        curves (`dict[str, list]`): What was measured: a number, or a row of numbers, for each step or coefficient.
        timesteps (`tuple[float, ...]`, *optional*): The scheduler's timestep of each step; none where a bare
            transformer was calibrated.
        scheduler (`SchedulerMark`, *optional*): The scheduler; none where a bare transformer was calibrated.
        made_with (`dict`, *optional*): Of what it was made: prompts, guidance scale, size.
        versions (`dict[str, str]`, *optional*): Of the packages.
        source (`str`, *optional*): The file that it was read from; not part of it.

    Raises:
        ValueError: If a field holds something else, or a curve something that is no finite number.
    """

    method: str
    model: Fingerprint
    num_inference_steps: SomeSteps
    curves: Mapping[str, Curve]
    timesteps: tuple[float, ...] = ()
    scheduler: SchedulerMark | None = None
    made_with: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    source: str = field(default="", compare=False)

    kind: ClassVar[str] = "calibration"

    def __post_init__(self) -> None:
        check_fields(self)
        for name, curve in self.curves.items():
            rows = [row if isinstance(row, (list, tuple)) else [row] for row in curve]
            wrong = [value for row in rows for value in row if not _is_number(value)]
            if wrong:
                raise ValueError(f"Its curve `{name}` holds {wrong[0]!r}, which is no finite number.")

    def check_numbers(self, *names: str, length: int | None = None) -> None:
        """Refuse a file in which these curves are not as many numbers, one a step unless told. Raises `ValueError`."""
        length = self.num_inference_steps if length is None else length
        for name in names:
            curve = self._curve(name)
            if len(curve) != length or not _are_numbers(curve):
                raise ValueError(self._invalid(f"its curve `{name}` is not of {length} numbers"))

    def check_rows(self, *names: str) -> int:
        """Refuse a file in which these curves are not rows of numbers, all of one length, a row a step.

        Returns:
            `int`: The length.

        Raises:
            ValueError: If they are not.
        """
        rows = [row for name in names for row in self._curve(name)]
        lengths = {len(row) if isinstance(row, (list, tuple)) else 0 for row in rows}
        if len(rows) != len(names) * self.num_inference_steps or len(lengths) != 1 or 0 in lengths:
            raise ValueError(self._invalid("its curves are not rows of one length, one for each of its steps"))
        return lengths.pop()

    def numbers(self, name: str) -> Sequence[float]:
        """The curve `name`, which is of numbers. Raises `ValueError` if there is none, or it is not."""
        curve = self._curve(name)
        if not _are_numbers(curve):
            raise ValueError(self._invalid(f"its curve `{name}` is not of numbers"))
        return curve

    def rows(self, name: str) -> Sequence[Sequence[float]]:
        """The curve `name`, which is of rows of numbers. Raises `ValueError` if there is none, or it is not."""
        curve = self._curve(name)
        if not _are_rows(curve):
            raise ValueError(self._invalid(f"its curve `{name}` is not of rows of numbers"))
        return curve

    def _curve(self, name: str) -> Curve:
        if name not in self.curves:
            raise ValueError(self._invalid(f"it has no curve `{name}`"))
        return self.curves[name]

    def _invalid(self, reason: str) -> str:
        return f"{self.source!r} is not a valid calibration: {reason}."

    def check_model(self, layout: Layout) -> None:
        """Refuse another model. Raises `ValueError` with the difference."""
        difference = self.model.difference(fingerprint(layout))
        if difference:
            raise ValueError(f"The calibration {self.source!r} was made {difference}: calibrate this model.")

    def check_steps(self, num_inference_steps: int, timesteps: Sequence[float] = ()) -> None:
        """Refuse another number of steps or, as far as they are known, other timesteps.

        Raises:
            ValueError: With the difference.
        """
        made = self.num_inference_steps
        if num_inference_steps != made:
            raise ValueError(
                f"The calibration {self.source!r} was made for {made} steps, and not for {num_inference_steps}: "
                f"sample in {made} steps, or calibrate for {num_inference_steps}."
            )
        difference = other_timestep(self.timesteps, timesteps)
        if difference:
            raise ValueError(
                f"The calibration {self.source!r} was made for other timesteps: {difference}. Sample with the "
                "scheduler and the size that it was made with, or calibrate for these."
            )

    def check_scheduler(self, scheduler: Any) -> None:
        """Refuse another scheduler. Raises `ValueError` with the difference."""
        difference = "" if self.scheduler is None else self.scheduler.difference(SchedulerMark.of(scheduler))
        if difference:
            raise ValueError(
                f"The calibration {self.source!r} was made with {difference}: sample with that scheduler, or "
                "calibrate for this one."
            )

    def save(self, path: str | PathLike) -> None:
        """Write the file as JSON, a line an entry; it appears whole or not at all."""
        entries = {"format": FORMAT, "version": VERSION, **self._to_dict()}
        lines = [f'"{name}": {json.dumps(value)}' for name, value in entries.items() if name != "curves"]
        curves = [f' "{name}": {json.dumps(curve)}' for name, curve in self.curves.items()]
        text = ",\n".join([*lines, '"curves": {\n' + ",\n".join(curves) + "\n}"])
        with atomic_path(path) as temporary:
            temporary.write_text("{\n" + text + "\n}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike) -> Calibration:
        """Read a file that `save` wrote.

        Raises:
            ValueError: If there is no such file, or it is not a calibration of a version this library reads.
        """
        with found_there(repr(str(path)), "calibration", "The calibration", "`toca calibrate` makes one"):
            return cls._from_dict(read_json(path), str(path))

    @property
    def _place(self) -> Path:
        check(re.fullmatch(r"[\w-]+", self.method) is not None, "method", self.method, "must be the name of a method")
        return file_beside("", self.method)

    def _card(self) -> Card:
        scheduler = "" if self.scheduler is None else self.scheduler.name
        return calibration_card(self.method, self.model.family, self.num_inference_steps, scheduler, self.made_with)

    def _draw_saved(self, file: Path, picture: Path) -> None:
        method = registered("method").get(self.method)
        if method is None:
            raise ImportError(f"The package that registers the method {cleaned(self.method, 60)} is not imported.")
        draw_charts(method(calibration=str(file)).charts(), f"{self.method} on {self.model.family}", picture)

    @classmethod
    def _found_in(cls, folder: Path, name: str, method: str | None = None, **which: Any) -> Calibration:
        """The one for a method, which need not be named where there is one."""
        known = [found for found in shared_in(folder) if "calibration" in _files_of(found)]
        if method is None and len(known) > 1:
            raise ValueError(f"{cleaned(name)} holds calibrations for {', '.join(known)}: say which by `method`.")
        return cls._at_place(folder, file_beside("", method or next(iter(known), "METHOD")), name, **which)

    def _to_dict(self) -> dict[str, Any]:
        scheduler = None if self.scheduler is None else asdict(self.scheduler)
        values = {name: value for name, value in vars(self).items() if name != "source"}
        return {**values, "model": self.model.to_dict(), "scheduler": scheduler}

    @classmethod
    def _from_dict(cls, data: Any, source: str) -> Calibration:
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f'it does not say "format": "{FORMAT}".')
        if data["version"] != VERSION:
            raise ValueError(f"it has version {data['version']!r}, this library reads version {VERSION}.")
        scheduler = data["scheduler"]
        return cls(
            method=data["method"],
            model=Fingerprint.from_dict(data["model"]),
            num_inference_steps=data["num_inference_steps"],
            curves=data["curves"],
            timesteps=tuple(data["timesteps"]),
            scheduler=None if scheduler is None else SchedulerMark(**scheduler),
            made_with=data["made_with"],
            versions=data["versions"],
            source=source,
        )


def _files_of(method: str) -> tuple[str, ...]:
    """What a method reads from files, by the names of its fields; nothing where there is no such method."""
    return getattr(registered("method").get(method), "files", ())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _are_numbers(curve: Curve) -> TypeGuard[Sequence[float]]:
    return not any(isinstance(item, (list, tuple)) for item in curve)


def _are_rows(curve: Curve) -> TypeGuard[Sequence[Sequence[float]]]:
    return all(isinstance(item, (list, tuple)) for item in curve)
