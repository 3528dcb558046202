"""DPCache's graph: costs against their sum written out, and the path against every path."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from toca.tuning.dpcache import edges_of
from toca.tuning.graph import Edge, best_paths
from toca.tuning.objectives import PowerSum


def course(num_steps: int, batch: int = 2, seed: int = 0) -> list[torch.Tensor]:
    """Features that move fast at both ends and turn in between."""
    torch.manual_seed(seed)
    one, other = torch.randn(2, batch, 3, 5)
    places = [step / num_steps for step in range(num_steps)]
    return [one * np.cos(4 * place) + other * np.exp(-6 * place) + 0.02 * torch.randn(batch, 3, 5) for place in places]


def cost(features: list[torch.Tensor], i: int, j: int, k: int) -> float:
    """C(i, j, k), sample by sample and number by number."""
    values = [feature.double().numpy() for feature in features]
    total = 0.0
    for sample in range(len(values[0])):
        for s in range(j + 1, k):
            slope = (values[j][sample] - values[i][sample]) / (j - i)
            total += float(np.sum(np.abs(values[s][sample] - (values[j][sample] + slope * (s - j)))))
    return total / len(values[0])


def test_costs_as_written_out() -> None:
    features = course(10)
    edges = [edge for edge in edges_of(features, reach=4) if edge.label is not None]
    for edge in edges:
        assert edge.before is not None
        assert edge.error == pytest.approx(cost(features, edge.before, edge.start, edge.stop), rel=1e-4)
    wanted = {(1, 2, k) for k in (4, 5, 6)}
    wanted |= {
        (i, j, k) for j in range(3, 10) for i in range(max(2, j - 4), j) for k in range(j + 2, min(j + 4, 10) + 1)
    }
    assert {(edge.before, edge.start, edge.stop) for edge in edges} == wanted


def test_what_moves_on_a_straight_line_costs_nothing() -> None:
    start, way = torch.randn(2, 1, 4)
    features = [start + step * way for step in range(8)]
    assert max(edge.error for edge in edges_of(features)) < 1e-5
    (fastest, *_) = best_paths(8, edges_of(features), PowerSum(1.0), 1.0)
    assert fastest.full_steps == (0, 1, 2)


def test_without_a_step_before_it_is_reuse() -> None:
    features = course(5)
    (edge,) = (edge for edge in edges_of(features, warmup_steps=1) if (edge.start, edge.stop) == (0, 3))
    wanted = sum((features[s] - features[0]).abs().sum().item() for s in (1, 2)) / 2
    assert edge.before is None and edge.error == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_path_is_the_best_of_all(seed: int) -> None:
    features = course(11, seed=seed)
    paths = {len(p.full_steps): p for p in best_paths(11, edges_of(features), PowerSum(1.0), 1.0)}
    for number in (5, 7, 9):
        every = [(0, 1, 2, *rest) for rest in itertools.combinations(range(3, 11), number - 3)]
        assert paths[number].full_steps == min(every, key=lambda full: total(features, full))


def total(features: list[torch.Tensor], full: tuple[int, ...]) -> float:
    ends = (*full[1:], len(features))
    return sum(cost(features, full[n - 1], full[n], ends[n]) for n in range(1, len(full)))


def test_times_are_those_that_are_told() -> None:
    edges = edges_of(course(6), full_time=2.0, filled_time=0.25)
    assert {edge.time for edge in edges if edge.label is None} == {2.0}
    assert Edge(2, 5, 0, edges[-1].error, 2.5, 1).time in {
        edge.time for edge in edges if (edge.start, edge.stop) == (2, 5)
    }


def test_features_that_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="features.*one for each step"):
        edges_of([])
    with pytest.raises(ValueError, match=r"`features`\[1\].*shape of the first, \(1, 4\).*\(1, 3\)"):
        edges_of([torch.zeros(1, 4), torch.zeros(1, 3)])
    with pytest.raises(ValueError, match="`reach`.*at least 1"):
        edges_of([torch.zeros(1, 4)], reach=0)
