"""What a call of a transformer costs beside its arithmetic: torch operators, and calls of Python functions of toca.

Neither depends on the machine. Comprehensions are no calls from Python 3.12 on, and are counted nowhere.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import toca

from .helpers import Inputs

OURS = f"{Path(toca.__file__).parent}/"
INLINED = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")


LOOKS = ("_local_scalar_dense", "equal", "toca::dmd_weights")
"""Operators that wait for the device; the last says so in its docstring."""
OF_UNKNOWN_SHAPE = ("nonzero", "nonzero_numpy", "masked_select", "unique_dim", "_unique2", "repeat_interleave.Tensor")
"""Operators whose outputs have as many numbers as the data say, for which the host must wait too."""
READINGS = (Tensor.tolist, Tensor.numpy, Tensor.cpu)
"""What reads a tensor, and on a CPU runs no operator for it."""


class Counts(NamedTuple):
    """What was counted in one call of a transformer.

    Args:
        operators (`int`): Torch operators.
        python (`int`): Calls of toca's functions.
        looks (`tuple[str, ...]`): What would wait for a device: operators and methods of tensors, by name.
    """

    operators: int
    python: int
    looks: tuple[str, ...]


class Operators(TorchDispatchMode):
    """While it is entered, counts torch operators by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.looks: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::")
        self.names[name] += 1
        if name in (*LOOKS, *OF_UNKNOWN_SHAPE) or (name.startswith("index") and _by_mask(args)):
            self.looks.append(name)
        return func(*args, **(kwargs or {}))


def _by_mask(args: Any) -> bool:
    """Whether some of the indices of `index` or `index_put` say which numbers to take, and not where they stand."""
    indices = args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else ()
    return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices)


class Readings(TorchFunctionMode):
    """While it is entered, notes where tensors are read as numbers without an operator."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READINGS:
            self.looks.append(func.__name__)
        return func(*args, **(kwargs or {}))


class PythonCalls:
    """While it is entered, counts calls of functions in toca's files, by file and name."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()

    def __enter__(self) -> PythonCalls:
        self._before = sys.getprofile()
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(self._before)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code.co_filename.startswith(OURS) and code.co_name not in INLINED:
            self.names[f"{code.co_filename[len(OURS) :]}:{code.co_name}"] += 1


def counted(transformer: nn.Module, inputs: Inputs) -> list[Counts]:
    """Call the transformer on every step's inputs, and count each call."""
    counts = []
    for call in inputs:
        with torch.no_grad(), Readings() as readings, Operators() as operators, PythonCalls() as python:
            transformer(**call)
        looks = (*operators.looks, *readings.looks)
        counts.append(Counts(sum(operators.names.values()), sum(python.names.values()), looks))
    return counts


def one_prompt(inputs: Inputs) -> Inputs:
    """The same inputs as a pipeline gives them: but for latents and timestep the same tensors in every step."""
    return [inputs[0] | {name: call[name] for name in ("hidden_states", "timestep")} for call in inputs]
