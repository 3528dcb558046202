"""How far a generation has come, read off the timestep that a model is called with: schedulers and models count in
units and directions of their own."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from toca.engine.branch_names import NOTHING
from toca.engine.condition import Condition
from toca.engine.scheduler_clock import SchedulerClock
from toca.engine.timestep_clock import TimestepClock
from toca.engine.timesteps import Reading

LATENTS = torch.zeros(1, 1)


class Pipeline:
    """Whatever has a scheduler."""

    scheduler: FlowMatchEulerDiscreteScheduler


@pytest.mark.parametrize(
    ("reading", "times"),
    [
        (Reading(), [900.0, 500.0, 100.0]),
        (Reading(scale=1000.0), [0.9, 0.5, 0.1]),
        (Reading(scale=-1000.0, offset=1000.0), [0.1, 0.5, 0.9]),
        (Reading(rises=True), [0.0, 0.4, 0.8]),
    ],
)
def test_a_step_is_told_from_the_one_before(reading: Reading, times: list[float]) -> None:
    """Two generations: the first step again starts the second one."""
    clock = TimestepClock(len(times), reading)
    ticks = [clock.tick(NOTHING, torch.tensor([time]), LATENTS + time) for time in times * 2]
    assert [tick.step for tick in ticks] == [0, 1, 2] * 2
    assert [tick.new_generation for tick in ticks] == [True, False, False] * 2


@pytest.mark.parametrize("told", ["sigma", "sigma / (1 + sigma)"])
def test_the_scheduler_is_believed_where_no_number_tells(told: str) -> None:
    """Cosmos 2 and 2.5, two calls a step, of numbers that the schedule has not; one of them is a view of another
    tensor of the scheduler's."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    pipeline = Pipeline()
    pipeline.scheduler = scheduler
    clock, seen = SchedulerClock(pipeline, False, Reading(scale=None)), []
    for _ in range(2):
        scheduler.set_timesteps(3)
        for i, time in enumerate(scheduler.timesteps):
            sigma = scheduler.sigmas[i].expand(1)
            timestep = sigma if told == "sigma" else sigma / (1 + sigma)
            seen += [clock.tick(NOTHING, timestep, LATENTS) for _ in range(2)]
            scheduler.step(LATENTS, time, LATENTS)
    assert [tick.step for tick in seen] == [0, 0, 1, 1, 2, 2] * 2
    assert [tick.new_generation for tick in seen] == ([True] + [False] * 5) * 2
    assert seen[0].branch != seen[1].branch


def test_a_timestep_is_found_in_the_schedule() -> None:
    reading = Reading(scale=-1000.0, offset=1000.0)
    for value in (1000.0, 737.25, 0.5):
        assert reading.is_near((1000 - torch.tensor([value])) / 1000, value)
        assert not reading.is_near((1000 - torch.tensor([value])) / 1000, value + 1)


def test_tokens_without_noise_do_not_tell_the_step() -> None:
    """Those of a given picture: at 0 where timesteps fall, at 1 where they rise."""
    assert Reading().number(torch.tensor([[0.0, 600.0]])) == 600
    assert Reading(scale=-1000.0, offset=1000.0).number(torch.tensor([[0.25, 1.0]])) == 750
    assert Reading(rises=True).number(torch.tensor([[0.25, 1.0]])) == 0.25


def test_a_list_of_prompts_is_told_from_another() -> None:
    first, second = torch.ones(3, 2), torch.ones(5, 2)
    known = Condition.of([first, second])
    assert Condition.of([first, second]).is_same(known)
    assert Condition.of([first.clone(), second.clone()]).is_same(known)
    assert not Condition.of([first]).is_same(known)
    assert not Condition.of([second, first]).is_same(known)
    second[0] = 7
    assert not Condition.of([first, second]).is_same(known)
