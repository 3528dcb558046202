"""BudCache's search: which steps are full, given how many (arXiv 2606.13496, ICML 2026)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ..checks import Seed, Share, SomeSteps, Steps, check, check_fields
from ..methods.budcache import first_steps, starting_mask
from .annealing import Cooling, Found, Losses, annealing, hill_climbing
from .moves import REACH, FullSteps, random_shift, shifts


@dataclass(frozen=True)
class BudCacheSearch:
    """Simulated annealing over the places of B full steps, then steepest hill climbing from the best.

    The first `max(1, B // 4)` steps are full and stay so; the other full steps start at random places. A move takes
    one full step to a filled place, near by or anywhere, and now and then two of them at once. The climb tries all
    moves within reach, and of each full step some to anywhere.

    Args:
        num_steps (`int`): Steps of the generation.
        full_steps (`int`): B.
        cooling (`Cooling`): Of the annealing; FLUX.1-dev's by default.
        rounds (`int`, defaults to 20): Of the climb at most; 5 for Wan.
        single (`float`, defaults to 0.9): How often a move takes one full step and not two.
        near (`float`, defaults to 0.7): How often it goes at most `reach` steps.
        reach (`int`, defaults to 3): What is near.
        far (`int`, defaults to 2): Moves to anywhere that the climb tries of each full step.
        seed (`int`, defaults to 0): Of all that is random.

    Raises:
        ValueError: If a value is out of range, or there are more full steps than steps.
    """

    num_steps: SomeSteps
    full_steps: SomeSteps
    cooling: Cooling = Cooling()
    rounds: Steps = 20
    single: Share = 0.9
    near: Share = 0.7
    reach: SomeSteps = REACH
    far: Steps = 2
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)
        most = f"must be at most {self.num_steps}, the number of steps"
        check(self.full_steps <= self.num_steps, "full_steps", self.full_steps, most)

    @property
    def fixed(self) -> int:
        """The first full steps, which stay where they are."""
        return first_steps(self.full_steps)

    @property
    def start(self) -> FullSteps:
        return starting_mask(self.num_steps, self.full_steps, self.seed)

    def __call__(self, losses: Losses[FullSteps]) -> Iterator[Found[FullSteps]]:
        """The best so far, after each evaluation.

        Args:
            losses (`Losses`): Of full steps; the authors' is the mean squared error of the last latents, from whole
                runs with the residual of the whole stack reused.
        """
        yield from annealing(self.start, self._move, losses, self.cooling, self.seed)
        yield from hill_climbing(losses.best.state, self._neighbours, losses, self.rounds)

    def _move(self, full: FullSteps, chance: random.Random) -> FullSteps:
        times = 1 if chance.random() < self.single else 2
        for _ in range(times):
            reach = self.reach if chance.random() < self.near else self.num_steps
            full = random_shift(full, self.num_steps, self.fixed, reach, chance)
        return full

    def _neighbours(self, full: FullSteps) -> Iterator[FullSteps]:
        yield from shifts(full, self.num_steps, self.fixed, self.reach)
        filled = [step for step in range(self.num_steps) if step not in full]
        # The same moves whenever it is asked of the same full steps, so that a search which is resumed goes on.
        chance = random.Random(f"far {self.seed} {full}")
        for step in full[self.fixed :]:
            for place in chance.sample(filled, min(self.far, len(filled))):
                yield tuple(sorted({*full, place} - {step}))
