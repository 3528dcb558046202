"""What makes one path through the steps better than another: the errors of its edges, as one value that is ordered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ..checks import Within, check_fields


class Objective(ABC):
    """Orders paths by the errors of their edges.

    The value of a path is a row of numbers; the lower in lexicographic order is the better. One more edge must keep
    the order of any two paths that it is added to, which is what makes a search by parts exact.
    """

    def __post_init__(self) -> None:
        check_fields(self)

    @abstractmethod
    def width(self, num_steps: int) -> int:
        """Numbers in a row, for paths through that many steps."""

    @abstractmethod
    def weights(self, errors: np.ndarray) -> np.ndarray:
        """What each of all edges, by their errors, adds to a path: float64, as many."""

    @abstractmethod
    def added(self, rows: np.ndarray, weight: float, remains: float = 1.0) -> np.ndarray:
        """The rows of paths, (paths, width), with one edge more, which leaves a share of their squared errors."""


@dataclass(frozen=True)
class Leximin(Objective):
    """The largest error of an edge counts, of paths equal in it the second largest, and so on: LeMiCa's objective
    (arXiv 2511.00090, section 3.3)."""

    def width(self, num_steps: int) -> int:
        # An edge with an error fills a step, so that it takes two of them.
        return max(1, num_steps // 2)

    def weights(self, errors: np.ndarray) -> np.ndarray:
        return errors

    def added(self, rows: np.ndarray, weight: float, remains: float = 1.0) -> np.ndarray:
        rows = rows * remains**0.5
        # Into its place in rows that fall: what is before stays, what is behind moves by one.
        lifted = np.maximum(rows, weight)
        lifted[:, 1:] = np.maximum(rows[:, 1:], np.minimum(rows[:, :-1], weight))
        return lifted


@dataclass(frozen=True)
class PowerSum(Objective):
    """The sum of all errors to the power of gamma: MeanCache's objective (arXiv 2601.19961). With 1 it is the shortest
    path; a large gamma looks at the largest errors alone, as `Leximin` does.

    Args:
        gamma (`float`, defaults to 4): The power; the paper finds 4 to 5 best.
    """

    gamma: Annotated[float, Within(0, 1000, open=True)] = 4.0

    def width(self, num_steps: int) -> int:
        return 1

    def weights(self, errors: np.ndarray) -> np.ndarray:
        # Relative to the largest: to a high power small errors would be 0, and large ones infinite.
        largest = errors.max(initial=0.0)
        return (errors / largest) ** self.gamma if largest > 0 else errors

    def added(self, rows: np.ndarray, weight: float, remains: float = 1.0) -> np.ndarray:
        return rows * remains ** (self.gamma / 2) + weight
