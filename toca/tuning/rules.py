"""The thresholds of methods that decide while the model runs, found for speed-ups by the clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from statistics import mean
from typing import Any

from ..checks import checked
from ..methods import Method
from ..plan.bounds import Budget
from ..plan.front_parts import TOLERANCE, Rule
from ..registry import named, to_data
from ..sharing.places import file_beside
from .generations import Generation, Generations, psnr
from .pace import FULL, Pace
from .rule import unreachable, with_knob

SPEEDUPS = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
ROUNDS, MOST_TIMED = 3, 3
"""How often each run is timed, and how many prompts' runs."""
LEAST, MOST = 1e-4, 100.0
"""Between which thresholds are looked for."""
BEYOND = 1.1
"""How much faster than asked one more point is: other prompts may turn out slower than those that are searched on."""
NEAR = 1.01
"""A bracket whose ends are no further apart than by this factor is one value."""
STRIDE = 4.0
"""How far a bracket reaches out at a time."""


class HeldOut:
    """Prompts that no search has seen, by which points are measured.

    Args:
        generations (`Generations`): Makes the samples.
        prompts (`Sequence`): The prompts.
        seed (`int`): Of the first one's noise; the next ones have the numbers that follow.
    """

    def __init__(self, generations: Generations, prompts: Sequence[Any], seed: int):
        self.generations, self.prompts, self.seed = generations, list(prompts), seed

    def measured(self, methods: Sequence[Method]) -> list[tuple[float, float]]:
        """The speed-up and the PSNR of each of some settings of one method. They take turns, on each prompt between
        two full runs."""
        full: list[Generation] = []
        runs: list[list[Generation]] = [[] for _ in methods]
        decibels: list[list[float]] = [[] for _ in methods]
        for seed, prompt in enumerate(self.prompts, self.seed):
            before = self.generations.make(prompt, seed)
            for i, method in enumerate(methods):
                runs[i].append(self.generations.make(prompt, seed, method))
                decibels[i].append(psnr(runs[i][-1].sample, before.sample))
            full += [before, self.generations.make(prompt, seed)]
        pace = Pace(full, list(chain.from_iterable(runs)))
        return [(pace.speedup([run.steps for run in runs[i]]), mean(decibels[i])) for i in range(len(methods))]


class ThresholdSearch:
    """Looks for the thresholds of one method. Whatever was run once is known.

    Args:
        generations (`Generations`): Makes samples.
        method (`Method`): It has a `knob`.
        prompts (`Sequence`): To search on.
        seed (`int`): Of the first one's noise.
    """

    def __init__(self, generations: Generations, method: Method, prompts: Sequence[Any], seed: int = 0):
        assert method.knob is not None, "the method has a knob"
        self.generations, self.method, self.prompts, self.seed = generations, method, list(prompts), seed
        self.knob: str = method.knob
        self._pace: Pace | None = None
        self._steps: dict[float, tuple[str, ...]] = {}

    def at(self, value: float) -> Method:
        """The method with a threshold."""
        made: Method = dataclasses.replace(self.method, **{self.knob: value})  # type: ignore[type-var]
        return made

    def steps(self, value: float) -> tuple[str, ...]:
        """What each step of each prompt does, one letter a step."""
        if value not in self._steps:
            method = self.at(value)
            runs = [self.generations.make(prompt, self.seed + i, method) for i, prompt in enumerate(self.prompts)]
            self._steps[value] = tuple(run.steps for run in runs)
        return self._steps[value]

    def speedup(self, value: float) -> float:
        """By the clock, of the search's prompts."""
        return self.pace.speedup(self.steps(value))

    @property
    def pace(self) -> Pace:
        """What was timed."""
        assert self._pace is not None, "timed before"
        return self._pace

    def time(self, rounds: int = ROUNDS) -> None:
        """Time a setting that has steps of each kind, in turns with the full run.

        Raises:
            ValueError: If no threshold leaves a step to be filled and one to be computed.
        """
        method = self.at(self._mixed())
        timed = list(enumerate(self.prompts[:MOST_TIMED]))
        self.generations.make(self.prompts[0], self.seed)
        full, runs = [], []
        for _ in range(rounds):
            for i, prompt in timed:
                full.append(self.generations.make(prompt, self.seed + i))
                runs.append(self.generations.make(prompt, self.seed + i, method))
        self._pace = Pace(full, runs)

    def _mixed(self) -> float:
        """A threshold by which, of the prompts that are timed, some steps between the first and the last are full, and
        some are not."""
        low, high = LEAST, MOST
        value = min(max(getattr(self.method, self.knob), low), high)
        while True:
            computed = mean(map(_share_computed, self.steps(value)[:MOST_TIMED]))
            if 0 < computed < 1:
                return value
            low, high = (value, high) if computed == 1 else (low, value)
            if high / low < NEAR:
                raise ValueError(
                    f"No `{self.knob}` of {self.method.name} between {LEAST:g} and "
                    f"{MOST:g} fills some steps of these {len(self.steps(value)[0])} and computes others: "
                    "take more steps, or let it compute fewer first steps."
                )
            value = between(low, high)

    def value_for(self, speedup: float) -> float | None:
        """The threshold for a speed-up, to within 2 % or just above; `None` if none is that fast."""
        bracket = self._bracket(speedup)
        if bracket is None:
            return None
        low, high = bracket
        while high > low * NEAR:
            near = min((low, high), key=lambda value: abs(self.speedup(value) - speedup))
            if abs(self.speedup(near) / speedup - 1) <= TOLERANCE:
                return near
            slow, fast = self.speedup(low), self.speedup(high)
            middle = between(low, high, min(max((speedup - slow) / (fast - slow), 0.25), 0.75))
            low, high = (middle, high) if self.speedup(middle) < speedup else (low, middle)
        return high

    def _bracket(self, speedup: float) -> tuple[float, float] | None:
        """Two thresholds next to each other of those known, the lower one slower than asked and the upper one not;
        twice the same one if the least is too fast."""
        while True:
            known = sorted(self._steps)
            high = next((value for value in known if self.speedup(value) >= speedup), None)
            if high is None and known[-1] >= MOST:
                return None
            if high is None:
                self.steps(min(known[-1] * STRIDE, MOST))
            elif high > known[0]:
                return known[known.index(high) - 1], high
            elif high <= LEAST:
                return high, high
            else:
                self.steps(max(high / STRIDE, LEAST))

    def fastest(self) -> float:
        """The largest speed-up of all that was run."""
        return max(map(self.speedup, self._steps))


def between(low: float, high: float, part: float = 0.5) -> float:
    """The value a part of the way from one to another, by the logarithm."""
    return float(low ** (1 - part) * high**part)


def _share_computed(steps: str) -> float:
    inner = steps[1:-1]
    return inner.count(FULL) / len(inner) if inner else 1.0


def bisect(
    search: ThresholdSearch, held_out: HeldOut, speedups: Sequence[float] = SPEEDUPS, rounds: int = ROUNDS
) -> Rule:
    """The rule of one method.

    Args:
        search (`ThresholdSearch`): Of the method.
        held_out (`HeldOut`): What the points are measured on.
        speedups (`Sequence[float]`): To look for; what the method does not come to is replaced by the most it does.
        rounds (`int`, defaults to 3): Of timing in turns with the full run.

    Raises:
        ValueError: If the method comes to none of the speed-ups; it names the most that it comes to.
    """
    search.time(rounds)
    found = [search.value_for(speedup) for speedup in (*speedups, BEYOND * max(speedups))]
    reached = {value for value in found if value is not None}
    if not reached:
        raise unreachable(search.method.name, min(speedups), search.fastest())
    if None in found:
        most = search.value_for(search.fastest() * (1 - TOLERANCE))
        assert most is not None, "that fast it was"
        reached.add(most)
    values = sorted(reached)
    measured = held_out.measured([search.at(value) for value in values])
    points = tuple((value, speedup, decibels) for value, (speedup, decibels) in zip(values, measured, strict=True))
    return Rule(search.method.name, search.knob, _settings(search.method, search.generations.pipe), points)


def _settings(method: Method, pipe: Any) -> Mapping[str, Any]:
    """The fields of a method but for its knob; a file that lies beside the weights is found there again."""
    fields = dict(to_data(method)["fields"])
    assert method.knob is not None, "the method has a knob"
    del fields[method.knob]
    own = file_beside(getattr(pipe, "name_or_path", None) or ".", method.name)
    return fields | {name: None for name in method.files if fields[name] == str(own)}


def tune_rules(
    pipe: Any,
    methods: Sequence[Method | str],
    prompts: Sequence[Any],
    held_out: Sequence[Any],
    *,
    speedups: Sequence[float] = SPEEDUPS,
    num_inference_steps: int | None = None,
    call: Mapping[str, Any] | None = None,
    seed: int = 0,
    rounds: int = ROUNDS,
    told: Callable[[str, int], None] = lambda method, made: None,
) -> tuple[Rule, ...]:
    """Find the thresholds of some methods for speed-ups of the denoising loop by the clock.

    Args:
        pipe (`DiffusionPipeline`): A stock pipeline; no cache is on.
        methods (`Sequence[Method | str]`): Methods or presets with a `knob`. A calibration that lies beside the
            weights is taken where they lack one.
        prompts, held_out (`Sequence`): To search on, and to measure what was found on; each what the pipeline's call
            takes first, or a mapping of arguments.
        speedups (`Sequence[float]`): To look for.
        num_inference_steps (`int`, *optional*): Steps; the pipeline's own where not told.
        call (`Mapping`, *optional*): Further arguments of the pipeline's call.
        seed (`int`, defaults to 0): Of the first prompt's noise; held-out prompts come after the others.
        rounds (`int`, defaults to 3): Of timing in turns with the full run.
        told (`Callable`): Is called at the end of each method with its name, and how many samples were made so far.

    Returns:
        `tuple[Rule, ...]`: One a method.

    Raises:
        ValueError: If a method has no knob, does not run on the model or comes to none of the speed-ups; or if a
            speed-up is below 1.
    """
    for speedup in speedups:
        checked(speedup, Budget, "speedup")
    taken = with_knob([named(method) if isinstance(method, str) else method for method in methods])
    generations = Generations(pipe, num_inference_steps, call)
    measuring = HeldOut(generations, held_out, seed + len(prompts))
    rules = []
    for method in taken:
        search = ThresholdSearch(generations, _with_file(method, pipe), prompts, seed)
        rules.append(bisect(search, measuring, speedups, rounds))
        told(method.name, generations.made)
    return tuple(rules)


def _with_file(method: Method, pipe: Any) -> Method:
    folder = getattr(pipe, "name_or_path", None)
    return method.beside(folder) if folder else method
