"""What a metric is: one object in one file, which configuration, scoring, columns, tables, plots and files read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from toca.eval.metrics.features import Features
from toca.eval.metrics.judge import Judge
from toca.eval.metrics.reference import Reference
from toca.eval.metrics.scores import Refusal, SetScore

Level = Literal["sample", "set"]
FLOAT = "float"
"""The tag of what is computed of pictures before they were rounded to 8 bits."""


@dataclass(frozen=True)
class Heading:
    """How a column of figures is called and read.

    Args:
        label (`str`): Of the column.
        digits (`int`): After the point.
        sign (`int`): 1 where more is better and -1 where less is.
        tag (`str`): Of which pictures: `FLOAT` before they were rounded to 8 bits, empty of 8-bit files. Figures of
            different tags are never compared.
    """

    label: str
    digits: int
    sign: int = 1
    tag: str = ""

    @property
    def text(self) -> str:
        """The label with its tag."""
        return f"{self.label}, {self.tag}" if self.tag else self.label


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of samples. One of this class itself is computed by a judge that the configuration makes.

    Args:
        key (`str`): What results call it.
        digits (`int`): After the point.
        sign (`int`): 1 where more is better and -1 where less is.
        level (`"sample"` or `"set"`): Whether it is told of each sample, with intervals, or of all of them at once.
        place (`int`): Columns are shown from the lowest to the highest.
        label (`str`): What people call it; the key unless told.
        unit (`str`): Of its figures; none unless told.
        lost (`Callable`, *optional*): From a value to what is lost of the other sample, 0 where nothing is. Reports
            show a metric that has it as -10 log10 of that.
    """

    key: str
    digits: int
    sign: int
    level: Level
    place: int
    label: str = ""
    unit: str = ""
    lost: Callable[[float], float] | None = None

    @property
    def heading(self) -> Heading:
        """Of its column."""
        return Heading(f"{self.label or self.key} {self.unit}".strip(), self.digits, self.sign)


@dataclass(frozen=True, kw_only=True)
class ToFullRun(Metric):
    """How near a sample comes to that of the full run. Every run computes it.

    Args:
        compute (`Callable`): `(samples, references) -> values`: two arrays (N, frames, height, width, 3), uint8, to a
            figure of each sample, `None` where it has none; or the reason why such samples have none at all.
        floats (`bool`): Whether it also takes both as float32 in 0..1, as they were before they were rounded.
        at_once (`int`, *optional*): Samples that it is given, always as many; any number unless told.
        videos (`bool`): Whether it is of videos, and nothing is to be said of it where samples are pictures.
        source (`str`): What figures depend on beside the samples and the code of toca, such as weights or a version.
    """

    level: Level = "sample"
    compute: Callable[[np.ndarray, np.ndarray], list[float | None] | Refusal]
    at_once: int | None = None
    floats: bool = False
    videos: bool = False
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class ToReal(Metric):
    """How far all samples together lie from real pictures. Every run that has features of both computes it.

    Args:
        compute (`Callable`): `(features, reference) -> figure`, or the reason why there is none.
    """

    level: Level = "set"
    compute: Callable[[Features, Reference], SetScore | Refusal]


@dataclass(frozen=True, kw_only=True)
class Asked(Metric):
    """What a judge says that a configuration asks for by the metric's key, in `scores.metrics`.

    Args:
        make (`Callable`): The judge, on a device; its `metrics` are this one's key.
    """

    make: Callable[[torch.device], Judge]
