"""Time, FLOPs and memory of the parts of a generation."""

from __future__ import annotations

import json
import mmap
import sys
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import nn

import toca
from tests.eval.test_turns import FakeTime
from tests.helpers import tiny_dit_pipeline, tiny_pixart_pipeline
from toca.eval.counting.flops import FlopMeter
from toca.eval.timing import latency, parts
from toca.eval.timing.latency import Timing
from toca.eval.timing.parts import (
    DENOISER,
    TEXT_ENCODER,
    TOTAL,
    VAE_DECODE,
    PartCosts,
    Peak,
    Workload,
    gain,
    measure_parts,
    parts_of,
    spread,
)
from toca.pipelines.generate import cached_for
from toca.tuning import clock as loop_clock

STEPS = 4


@pytest.fixture(scope="module")
def pipe():
    return tiny_pixart_pipeline()


def job(pipe, method=None) -> Workload:
    def call() -> None:
        generator = torch.Generator().manual_seed(0)
        pipe("a red owl", num_inference_steps=STEPS, generator=generator, clean_caption=False)

    if method is None:
        return Workload(call)
    return Workload(call, partial(cached_for, pipe, method, STEPS), lambda: toca.summary(pipe).cache_bytes)


@pytest.fixture(scope="module")
def costs(pipe) -> dict[str, PartCosts]:
    jobs = {"full": job(pipe), "fora": job(pipe, toca.FORA(interval=2))}
    return measure_parts(pipe.components, jobs, repeats=2, warmups=1)


def flops_of_one_call(pipe) -> int:
    """The first call of a generation, made once more outside of the pipeline."""
    calls: list[tuple[tuple, dict]] = []

    def note(module, inputs, arguments) -> None:
        calls.append((inputs, arguments))

    handle = pipe.transformer.register_forward_pre_hook(note, with_kwargs=True)
    job(pipe).run()
    handle.remove()
    inputs, arguments = calls[0]
    with torch.no_grad(), FlopMeter() as meter:
        pipe.transformer(*inputs, **arguments)
    return meter.total


def fake_costs(**changes) -> PartCosts:
    values = {
        "seconds": {DENOISER: Timing((4.0, 8.0)), TOTAL: Timing((5.0, 9.0))},
        "flops": {DENOISER: 600, TOTAL: 700},
        "calls": STEPS,
        "memory": Peak(),
        "cache_bytes": 0,
        "first_run_seconds": 30.0,
        "warmups": 3,
    }
    return PartCosts(**{**values, **changes})


# --- numbers -------------------------------------------------------------------------------------------------------


def test_the_spread_of_known_numbers():
    assert spread(Timing((11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10))) == {
        "median": 6,
        "first_quartile": 3.5,
        "third_quartile": 8.5,
        "iqr": 5,
        "p90": 10,
    }


def test_a_gain_is_taken_turn_by_turn():
    halved = fake_costs(seconds={DENOISER: Timing((2.0, 4.0)), TOTAL: Timing((3.0, 5.0))}, flops={DENOISER: 200})
    found = gain(fake_costs(), halved)
    assert (found.wall, found.flops) == ((2, 2, 2), 3)
    assert found.wall_over_flops == pytest.approx(2 / 3)
    assert not found.skipped_nothing
    assert gain(fake_costs(), fake_costs()).skipped_nothing


def test_too_few_rounds_are_said():
    ten = {TOTAL: Timing((1.0,) * 10)}
    assert fake_costs(seconds=ten, warmups=3).enough
    assert not fake_costs(seconds=ten, warmups=2).enough
    assert not fake_costs(seconds={TOTAL: Timing((1.0,) * 9)}, warmups=3).enough


# --- a pipeline ----------------------------------------------------------------------------------------------------


def test_parts_take_no_longer_than_the_whole(costs):
    for cost in costs.values():
        assert list(cost.seconds) == [TEXT_ENCODER, DENOISER, VAE_DECODE, TOTAL]
        *timings, total = (cost.seconds[part].seconds for part in cost.seconds)
        assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in timings)
        for turn, whole in enumerate(total):
            assert sum(seconds[turn] for seconds in timings) <= whole


def test_flops_are_those_that_the_counter_counts(pipe, costs):
    with FlopMeter() as meter:
        job(pipe).run()
    for cost in costs.values():
        assert sum(cost.flops.values()) - cost.flops[TOTAL] <= cost.flops[TOTAL]
        assert all(flops > 0 for flops in cost.flops.values())
    assert costs["full"].flops[TOTAL] == meter.total
    assert [cost.calls for cost in costs.values()] == [STEPS, STEPS]
    assert costs["full"].flops[DENOISER] == STEPS * flops_of_one_call(pipe)


def test_a_cache_saves_flops_of_the_denoiser_alone(pipe, costs):
    full, fora = costs["full"], costs["fora"]
    for part in (TEXT_ENCODER, VAE_DECODE):
        assert full.flops[part] == fora.flops[part]
    with job(pipe, toca.FORA(interval=2)).on():
        job(pipe).run()
        summary = toca.summary(pipe)
    assert fora.flops[DENOISER] == summary.flops
    assert (full.cache_bytes, fora.cache_bytes) == (0, summary.cache_bytes)
    assert gain(full, fora).flops == pytest.approx(summary.flops_speedup)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from Linux")
def test_the_peak_of_memory_is_that_of_one_run():
    """120 MB more in the first job are not in the second one's peak."""

    def touch() -> None:
        # Pages of its own: an allocator may have as many free ones at hand from the tests before.
        with mmap.mmap(-1, 120_000_000) as area:
            for page in range(0, len(area), mmap.PAGESIZE):
                area[page] = 1

    model = nn.Linear(2, 2)
    jobs = {"much": Workload(touch), "little": Workload(lambda: model(torch.ones(2)))}
    costs = measure_parts({"transformer": model}, jobs, repeats=1, warmups=1)
    much, little = (costs[name].memory.resident for name in jobs)
    if much is None:
        pytest.skip("this system does not lower its high-water mark")
    assert much - little > 80e6


def test_nothing_stays_on_the_pipeline(pipe, costs):
    modules = [pipe.transformer, pipe.text_encoder, pipe.vae.decoder]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def test_records_are_plain_data(costs):
    record = json.loads(json.dumps(costs["fora"].record()))
    assert set(record["seconds"][DENOISER]) == {"median", "first_quartile", "third_quartile", "iqr", "p90", "all"}
    assert (record["repeats"], record["warmups"], record["enough"]) == (2, 1, False)
    assert PartCosts.from_record(record) == costs["fora"]


# --- order, and what is apart --------------------------------------------------------------------------------------


@pytest.fixture
def clockwork(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(latency, "time", fake)
    monkeypatch.setattr(loop_clock, "time", fake)
    return fake


def test_the_first_run_and_the_cache_are_outside_the_times(clockwork):
    model, order = nn.Linear(2, 2), []

    @contextmanager
    def on():
        clockwork.sleep(1000)
        yield
        clockwork.sleep(1000)

    def run() -> None:
        order.append("slow")
        clockwork.sleep(90 if order == ["slow"] else 2)
        model(torch.ones(2))

    jobs = {"slow": Workload(run, on), "fast": Workload(lambda: order.append("fast"))}
    costs = measure_parts({"transformer": model}, jobs, repeats=3, warmups=2)
    assert costs["slow"].seconds == {DENOISER: Timing((0, 0, 0)), TOTAL: Timing((2, 2, 2))}
    assert (costs["slow"].first_run_seconds, costs["slow"].compile_seconds) == (90, 88)
    assert order[:10] == ["slow", "fast"] * 5
    assert order[10:] == ["slow", "slow", "fast", "fast"]  # memory, FLOPs


def test_a_part_that_is_not_called_takes_no_time():
    called, idle = nn.Linear(2, 2), nn.Linear(2, 2)
    components = {"transformer": called, "text_encoder": idle}
    costs = measure_parts(components, {"": Workload(lambda: called(torch.ones(1, 2)))}, repeats=1, warmups=1)[""]
    assert costs.seconds[TEXT_ENCODER].seconds == (0,)
    assert costs.flops == {TEXT_ENCODER: 0, DENOISER: 8, TOTAL: 8}


def test_flops_are_counted_in_eager_mode():
    """What is compiled hides its operations from the counter; here it has none."""
    model, x = nn.Linear(2, 2), torch.ones(1, 2)
    inner = torch.compile(model.forward, backend=lambda graph, inputs: lambda *arguments: (torch.zeros(1, 2),))
    with torch.no_grad():
        assert not inner(x).any()
        assert parts._flops(Workload(lambda: inner(x)), parts_of({"transformer": model}))[0][TOTAL] == 8


# --- components ----------------------------------------------------------------------------------------------------


def test_a_pipeline_without_text_has_two_parts():
    assert list(parts_of(tiny_dit_pipeline().components)) == [DENOISER, VAE_DECODE]


def test_all_encoders_and_transformers_are_counted():
    names = ["text_encoder", "transformer_2", "text_encoder_3", "transformer", "image_encoder", "tokenizer"]
    components = {name: nn.Linear(1, 1) for name in names[:-1]} | {names[-1]: "no module"}
    found = parts_of(components)
    assert found[TEXT_ENCODER] == [components["text_encoder"], components["text_encoder_3"]]
    assert found[DENOISER] == [components["transformer_2"], components["transformer"]]


def test_what_cannot_be_measured_is_refused(pipe):
    with pytest.raises(ValueError, match="There is no transformer to time among unet, vae"):
        parts_of({"unet": nn.Linear(1, 1), "vae": None})
    with pytest.raises(ValueError, match="`repeats` must be at least 1, got 0"):
        measure_parts(pipe.components, {"full": job(pipe)}, repeats=0)
    with pytest.raises(ValueError, match="`warmups` must be at least 1, got 0"):
        measure_parts(pipe.components, {"full": job(pipe)}, warmups=0)
