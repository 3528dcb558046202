"""What is known of a model's methods before anybody measures them again: evaluations that lie at hand, and presets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toca.files.reading import read_json
from toca.methods.presets import foreign_to, published
from toca.methods.published.figures import FIGURES
from toca.models import known_family
from toca.pipelines.call_sizes import call_sizes
from toca.pipelines.planning import plan_of
from toca.pipelines.request import Request, own_config
from toca.pipelines.skeleton import Skeleton

OWN_RUNS = Path("outputs/eval")
"""Where `toca eval run` writes unless told."""
PSNR = "psnr"


@dataclass(frozen=True)
class Evaluation:
    """What `toca eval run` found on a model.

    Args:
        path (`Path`): Its file.
        data (`dict`): What the file holds.
    """

    path: Path
    data: dict[str, Any]

    def about(self) -> str:
        """On what, where and when."""
        where, config = self.data["environment"], self.data["config"]
        return f"{len(config['items'])} samples on {where['device']}, {self.data['taken'][1]}"

    def methods(self) -> list[dict[str, Any]]:
        """The rows that can be made again on the command line, from slow to fast."""
        rows = [row for row in self.data["methods"] if row.get("recipe") and not row["name"].startswith("peer:")]
        return sorted(rows, key=lambda row: row["loop_speedup"][0])

    def best(self, speedup: float) -> dict[str, Any] | None:
        """The row of the highest PSNR to the full run that is at least so fast."""
        fast = [row for row in self.methods() if row["loop_speedup"][0] >= speedup and PSNR in row["fidelity"]]
        return max(fast, key=lambda row: row["fidelity"][PSNR]["mean"], default=None)


@dataclass(frozen=True)
class PresetFacts:
    """A preset made for a model's family.

    Args:
        name (`str`): Its name.
        flops_speedup (`float`, *optional*): How many times fewer FLOPs its plan takes on the model; none where a gate
            decides, of which a plan says only what there can be at most.
        at_most (`float`): That bound.
        published (`str`): What its authors say; empty where nothing is known here.
    """

    name: str
    flops_speedup: float | None
    at_most: float
    published: str


def evaluation_of(model: str) -> Evaluation | None:
    """The evaluation of a model: this folder's own, else the one that this installation holds."""
    for path in _result_files():
        try:
            data = read_json(path)
        except (OSError, ValueError):
            continue
        if isinstance(data, dict) and data.get("model") == model and data.get("methods"):
            return Evaluation(path, data)
    return None


def _result_files() -> Iterator[Path]:
    yield from sorted(OWN_RUNS.glob("*.json"))
    # The evaluation stands above this package, and is not imported; in a wheel there are no results.
    spec = find_spec("toca.eval")
    for place in spec.submodule_search_locations or () if spec else ():
        yield from sorted((Path(place) / "results").glob("*.json"))


def presets_for(skeleton: Skeleton) -> list[PresetFacts]:
    """The published presets that are for a model, from slow to fast by the FLOPs of their plans on it."""
    family = known_family(skeleton.transformer).name
    found = []
    for name, method in published().items():
        if foreign_to(name, family) is not None or name.endswith("/lite") or method.needs_file:
            continue
        config = own_config(Request(model=skeleton.model), skeleton.model, skeleton.pipeline_class, method)
        try:
            cost = plan_of(method, skeleton, config).cost(**call_sizes(skeleton, config))
        except ValueError:  # a list of steps for another number of them
            continue
        exact = None if cost.decides_online else cost.flops_speedup
        found.append(PresetFacts(name, exact, cost.flops_speedup, FIGURES.get(name, "")))
    return sorted(found, key=lambda facts: (facts.flops_speedup is None, facts.at_most))
