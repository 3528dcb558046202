"""What a report is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any

from toca.eval.findings.quality import ScoreColumn
from toca.eval.findings.results import Results, Row

if TYPE_CHECKING:
    import numpy as np

    import toca

FORMAT = 3
MOST_LISTED = 2_000
"""Samples that a page lists, and holds the figures of: those of more stand in the files beside it."""
PEER = "peer:"
"""What the group of a peer's own cache begins with."""


@dataclass(frozen=True)
class Report:
    """Everything that the page shows. Without pictures, token maps or plans it says that they are not there.

    Args:
        results (`Results`): What was measured.
        environment (`dict`): Machine, versions and revision, as `toca.eval.store.environment.environment` tells them.
        command (`str`): The exact command that makes the figures again.
        speedups (`Sequence[float]`): Of the denoising loop, at which methods are put side by side.
        scores (`Sequence[ScoreColumn]`): Quality, in columns of its own.
        pictures (`Callable`, *optional*): A variant's name and places of the run's items -> these pictures,
            (places, frames, height, width, 3) uint8: those that the page shows, and no others. The name of the full
            run is that of the last row of `results.uncached`.
        token_maps (`Mapping[str, np.ndarray]`): A variant's name -> the share of its chances that each token was
            recomputed in, (samples, frames, rows, columns) from 0 to 1, as `TokenRecorder.shares` gives it; the
            samples are the first ones of the run's items.
        plans (`Mapping[str, Plan]`): A variant's name -> its plan, which is drawn.
        folders (`Mapping[str, Path]`): A variant's name -> where its pictures lie.
    """

    results: Results
    environment: dict[str, Any]
    command: str = ""
    speedups: Sequence[float] = (1.5, 2.0, 2.5, 3.0)
    scores: Sequence[ScoreColumn] = ()
    pictures: Callable[[str, Sequence[int]], np.ndarray] | None = None
    token_maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    plans: Mapping[str, toca.Plan] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)

    @property
    def lists_samples(self) -> bool:
        """Whether the page has the figures of each sample."""
        return len(self.results.config["items"]) <= MOST_LISTED

    @property
    def full(self) -> Row:
        """The full run."""
        return self.results.uncached[-1]

    @property
    def rows(self) -> list[Row]:
        """The methods' rows, and then those without a cache."""
        return [*self.results.methods, *self.results.uncached]

    @property
    def middle_speedup(self) -> float:
        """Where one setting of each method is looked at more closely: the middle one of `speedups`, the slower one of
        two."""
        return median_low(self.speedups) if self.speedups else 2.0

    def to_data(self) -> dict[str, Any]:
        """All figures as plain data for JSON, sample by sample; no pictures. `read_report` reads it."""
        return {
            "format": FORMAT,
            "environment": self.environment,
            "command": self.command,
            "speedups": list(self.speedups),
            "scores": [asdict(column) for column in self.scores],
            **self.results.to_data(),
        }


def is_peer(row: Row) -> bool:
    """Whether a row is of a peer's own cache."""
    return row.group.startswith(PEER)
