"""Turns, and the clock of the loop."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from toca.eval.timing import latency
from toca.eval.timing.latency import Timing, interleaved, paired_ratio
from toca.tuning import clock as loop_clock
from toca.tuning.clock import CallClock
from toca.tuning.turns import take_turns


class FakeTime:
    """A clock that runs only where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clockwork(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(latency, "time", fake)
    monkeypatch.setattr(loop_clock, "time", fake)
    return fake


def test_measurements_take_turns_and_warmups_do_not_count():
    order: list[str] = []

    def measure(name: str) -> int:
        order.append(name)
        return len(order)

    taken = take_turns({"a": lambda: measure("a"), "b": lambda: measure("b")}, repeats=2, warmups=1)
    assert order == ["a", "b"] * 3
    assert taken == {"a": [3, 5], "b": [4, 6]}


def test_interleaved_times_what_it_runs(clockwork):
    timings = interleaved({"slow": lambda: clockwork.sleep(2), "fast": lambda: None}, repeats=3)
    assert timings == {"slow": Timing((2, 2, 2)), "fast": Timing((0, 0, 0))}


def test_a_ratio_is_taken_turn_by_turn():
    """A machine that slows down threefold in the middle changes both alike."""
    median, first, third = paired_ratio(Timing((2.0, 6.0, 2.0)), Timing((1.0, 3.0, 1.0)))
    assert (median, first, third) == (2, 2, 2)


class Slow(nn.Linear):
    """A transformer whose call takes three seconds."""

    def __init__(self, clockwork: FakeTime) -> None:
        super().__init__(2, 2)
        self.clockwork = clockwork

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.clockwork.sleep(3)
        return super().forward(x)


def test_the_clock_runs_from_the_first_call_to_the_end_of_the_last(clockwork):
    model = Slow(clockwork)
    with CallClock([model]) as clock:
        clockwork.sleep(50)  # the text encoder
        for _ in range(3):
            clockwork.sleep(1)  # the scheduler
            model(torch.ones(2))
        clockwork.sleep(50)  # the VAE
    assert clock.calls == 3
    assert clock.seconds == 3 * 3 + 2 * 1
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_the_clock_counts_the_work_of_hooks_that_were_there(clockwork):
    model = nn.Linear(2, 2)
    model.register_forward_pre_hook(lambda module, inputs: clockwork.sleep(5))
    model.register_forward_hook(lambda module, inputs, output: clockwork.sleep(7))
    with CallClock([model]) as clock:
        model(torch.ones(2))
    assert clock.seconds == 12


def test_two_transformers_are_one_loop(clockwork):
    first, second = Slow(clockwork), Slow(clockwork)
    with CallClock([first, second]) as clock:
        second(first(torch.ones(2)))
    assert (clock.calls, clock.seconds) == (2, 6)
