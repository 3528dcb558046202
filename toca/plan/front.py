"""A front: plans of one model from slow and good to fast and less good, with what each was seen to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from ..checks import SomeSteps, check, check_fields, cleaned
from ..files.reading import found_there, named, parse_json, read_text
from ..files.writing import atomic_path
from ..models.fingerprint import Fingerprint, fingerprint
from ..models.layout import Layout
from ..sharing.card import Card
from ..sharing.places import file_beside
from ..sharing.pretrained import Pretrained
from .bounds import Duration, best_within, checked_bounds
from .file import plan_from_data, plan_to_data
from .front_card import front_card
from .front_drawing import draw_front
from .front_parts import Entry, Fewer, Rule, Searched
from .older import told_of_attention
from .origin import HeldOut, Origin
from .plan import Plan
from .schedulers import SchedulerMark

MOST_ENTRIES = 1000


@dataclass(frozen=True)
class Front(Pretrained):
    """Plans of one model, scheduler and schedule, as a search found them. A plan that is taken from it says so.

    Args:
        scheduler (`SchedulerMark`): The scheduler.
        num_inference_steps (`int`): Steps of the full run that all are compared to.
        full_seconds (`float`): Of the full run's denoising loop, for one sample.
        entries (`tuple[Entry, ...]`): The plans, of one model and not all of as many steps; kept from slow to fast.
        searched (`Searched`): What they were searched on.
        schedules (`tuple[tuple[float, ...], ...]`): The scheduler's timesteps, for each number of steps that there is;
            none where they are not known.
        fewer (`tuple[Fewer, ...]`, *optional*): What fewer steps do.
        rules (`tuple[Rule, ...]`, *optional*): Methods that decide while the model runs, at several speeds.
        made_with (`dict`, *optional*): How: the model's name, size, guidance, model calls and seconds.
        versions (`dict[str, str]`, *optional*): Of the packages.

    Raises:
        ValueError: If a field holds something else, if there is no plan, if the plans are of several models, or a
            schedule is missing.
    """

    scheduler: SchedulerMark
    num_inference_steps: SomeSteps
    full_seconds: Duration
    entries: tuple[Entry, ...]
    searched: Searched
    schedules: tuple[tuple[float, ...], ...]
    fewer: tuple[Fewer, ...] = ()
    rules: tuple[Rule, ...] = ()
    made_with: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    kind: ClassVar[str] = "front"

    def __post_init__(self) -> None:
        check_fields(self)
        check(0 < len(self.entries) <= MOST_ENTRIES, "entries", self.entries, f"must be 1 to {MOST_ENTRIES} plans")
        if any(entry.plan.layout != self.layout for entry in self.entries):
            raise ValueError("The plans of a front must all be of one model.")
        missing = {entry.num_inference_steps for entry in self.entries} - set(map(len, self.schedules))
        check(
            not (self.schedules and missing),
            "schedules",
            sorted(missing),
            "must hold the timesteps for each number of steps that plans have",
        )
        known = [replace(entry, plan=replace(entry.plan, origin=self._origin(entry))) for entry in self.entries]
        object.__setattr__(self, "entries", tuple(sorted(known, key=lambda e: (e.speedup, -e.psnr))))

    def _origin(self, entry: Entry) -> Origin:
        held_out = HeldOut(self.searched.held_out, entry.psnr, entry.psnr_low, entry.psnr_high, entry.speedup)
        return Origin(
            scheduler=self.scheduler,
            timesteps=next((times for times in self.schedules if len(times) == entry.num_inference_steps), ()),
            reference_steps=self.num_inference_steps,
            prompts=self.searched.prompts,
            prompts_sha256=self.searched.sha256,
            seeds=self.searched.seeds,
            held_out=held_out,
            version=self.versions.get("toca", ""),
        )

    @property
    def layout(self) -> Layout:
        """The model that the plans are for."""
        return self.entries[0].plan.layout

    @cached_property
    def model(self) -> Fingerprint:
        """What tells the model from others."""
        return fingerprint(self.layout)

    @property
    def steps(self) -> tuple[int, ...]:
        """The numbers of steps that its plans have, the largest first."""
        return tuple(sorted({entry.num_inference_steps for entry in self.entries}, reverse=True))

    def at(self, **bounds: Any) -> Entry:
        """The best of those that meet all bounds that are given.

        Args:
            speedup (`float`): How many times as fast as the full run, at least. The best quality is taken; so it is
                with the next two.
            seconds (`float`): Of the denoising loop for one sample, at most.
            full_steps (`int`): Steps in which every site computes, at most.
            min_psnr (`float`): Quality in decibels, at least. Where it is the only one of these four the fastest is
                taken.
            max_cache_bytes (`int`): Bytes kept between steps for one sample, at most.
            num_inference_steps (`int`): Steps of the plan, exactly.

        Raises:
            ValueError: If none of the first four is given, one is out of range, or nothing meets them; it names the
                nearest that does.
        """
        return best_within(self.entries, checked_bounds(bounds), Entry.told)

    def plan(self, **bounds: Any) -> Plan:
        """The plan of `at`."""
        return self.at(**bounds).plan

    def rule(self, method: str) -> Rule:
        """What is known of a method that decides while the model runs.

        Raises:
            ValueError: If it was not searched for; it says which were.
        """
        found = next((rule for rule in self.rules if rule.method == method), None)
        if found is None:
            known = ", ".join(cleaned(rule.method, 60) for rule in self.rules)
            others = f", only of {known}" if known else ""
            raise ValueError(f"This front has no thresholds of {cleaned(method, 60)}{others}.")
        return found

    def draw(self, path: str | PathLike, **bounds: Any) -> None:
        """Draw quality over speed-up, with fewer steps beside it.

        Args:
            path (`str` or `PathLike`): A file that ends in `.png`, `.pdf` or `.svg`.
            bounds: Of `at`: the plan that they choose is marked.

        Raises:
            ValueError: If it ends otherwise, or nothing meets the bounds.
            OSError: If it cannot be written.
        """
        title = f"{self.layout.family}, {cleaned(self.scheduler.name, 60)}, {self.num_inference_steps} steps"
        draw_front(path, title, self.entries, self.fewer, self.rules, self.at(**bounds) if bounds else None)

    def save(self, path: str | PathLike) -> None:
        """Write the front as JSON, a line a plan; it appears whole or not at all.

        Raises:
            ValueError: If the file's name does not end in `.json`.
            OSError: If it cannot be written.
        """
        if Path(path).suffix != ".json":
            raise ValueError(f"A front is saved as .json, got {Path(path).name!r}.")
        with atomic_path(path) as temporary:
            temporary.write_text(_text(self._to_dict()), encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike) -> Front:
        """Read a front that `save` wrote.

        Raises:
            ValueError: If there is no such file, or it is no front of a version that this library reads.
        """
        with found_there(named(path), "front", "The front", "`toca tune` makes one"):
            return cls._from_dict(parse_json(read_text(path)))

    def _to_dict(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "entries"}
        plain = {name: _plain(value) for name, value in values.items()}
        entries = [{**_plain_fields(entry), "plan": plan_to_data(entry.plan)} for entry in self.entries]
        return {"format": FORMAT, "version": VERSION, **plain, "model": self.layout.to_dict(), "entries": entries}

    @classmethod
    def _from_dict(cls, data: Any) -> Front:
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f'it does not say "format": "{FORMAT}".')
        if data["version"] != VERSION:
            raise ValueError(f"it has version {data['version']!r}, this library reads version {VERSION}.")
        layout = Layout.from_dict(told_of_attention(data["model"]))
        entries = (dict(entry) for entry in data["entries"])
        parts = {name: tuple(part(**said) for said in data[name]) for name, part in PARTS.items()}
        return cls(
            scheduler=SchedulerMark(**data["scheduler"]),
            num_inference_steps=data["num_inference_steps"],
            full_seconds=data["full_seconds"],
            entries=tuple(Entry(plan=plan_from_data(entry.pop("plan"), layout, Plan), **entry) for entry in entries),
            searched=Searched(**data["searched"]),
            schedules=tuple(data["schedules"]),
            made_with=data["made_with"],
            versions=data["versions"],
            **parts,
        )

    @property
    def _place(self) -> Path:
        return PLACE

    def _card(self) -> Card:
        return front_card(
            self.entries, self.fewer, self.scheduler, self.num_inference_steps, self.searched, self.made_with
        )

    def _draw_saved(self, file: Path, picture: Path) -> None:
        self.draw(picture)

    @classmethod
    def _found_in(cls, folder: Path, name: str, **which: Any) -> Front:
        return cls._at_place(folder, PLACE, name, **which)

    def __str__(self) -> str:
        fastest, best = self.entries[-1], max(self.entries, key=lambda entry: entry.psnr)
        what = f"{len(self.entries)} plans of {self.layout.family} for {cleaned(self.scheduler.name, 60)}"
        ends = " to ".join(f"{entry.speedup:.2f}x at {entry.psnr_text}" for entry in (best, fastest))
        return f"{what}, {self.num_inference_steps} steps: from {ends}"


PLACE = file_beside("", "tuned")
FORMAT = "toca-front"
VERSION = 1
PARTS: dict[str, Any] = {"fewer": Fewer, "rules": Rule}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _plain_fields(value) if is_dataclass(value) else value


def _plain_fields(value: Any) -> dict[str, Any]:
    return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name != "plan"}


def _text(data: dict[str, Any]) -> str:
    """A line an entry, and a line a plan, so that people can read them."""
    lines = [f'"{name}": {json.dumps(value)}' for name, value in data.items() if name != "entries"]
    plans = ",\n".join(f" {json.dumps(entry)}" for entry in data["entries"])
    return "{\n" + ",\n".join([*lines, '"entries": [\n' + plans + "\n]"]) + "\n}\n"
