"""A cache in the machine's memory: what is brought when, what is refused, and what it goes together with. What every
method does with it is in `tests/conformance/test_cache_device.py`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import toca
from toca.engine.install import engine_of
from toca.hooks.tracing import can_compile
from toca.memory.away import AwayTerms
from toca.memory.copier import Copier, StreamCopier, copier_for
from toca.memory.ram import Ram, Stop

from .conformance.common import STEPS, PipelineLike, assert_equal, at, cached_run, method_of, scheduler_for
from .conformance.test_cost import options_for
from .helpers import TINY, inputs_for, relative_error, run_steps
from .late_copier import LateCopier
from .left_behind import left_behind
from .test_cache_dtype import rows_of

CPU = torch.device("cpu")


# --- who copies ----------------------------------------------------------------------------------------------------


def test_what_is_read_back_is_never_what_was_written() -> None:
    ram = Ram()
    terms, value = AwayTerms(ram, None, 4), torch.randn(2, 3, 4)
    terms.renew(value)
    assert terms.value is value
    terms.put_away()
    read = terms.value
    assert torch.equal(read, value)
    places = {tensor.untyped_storage().data_ptr() for tensor in (value, read, *terms.homes)}
    assert len(places) == 3


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float8_e4m3fn])
def test_terms_come_back_as_they_went(dtype: torch.dtype | None) -> None:
    """Of one tensor and of two, with and without higher terms; and a value alone may be written anew."""
    for value in (torch.randn(2, 3, 4), (torch.randn(2, 3, 4), torch.randn(2, 5, 4))):
        terms = AwayTerms(Ram(LateCopier), dtype, 4)
        terms.renew(value, [1.0, 1.0])
        held, higher = terms.value, terms.higher
        for _ in range(2):
            terms.put_away()
            assert not terms.present and (isinstance(value, tuple) or terms.tokens == 3)
            for got, wanted in zip((terms.value, *terms.higher), (held, *higher), strict=True):
                assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
        terms.put_away()
        terms.value = held
        terms.put_away()
        assert len(terms.higher) == 2


def test_a_home_is_kept_while_what_goes_there_is_alike() -> None:
    terms = AwayTerms(Ram(), None, 4)
    homes = []
    for tokens in (3, 3, 5):
        terms.renew(torch.randn(2, tokens, 4))
        terms.put_away()
        homes.append(terms.homes[0].data_ptr())
    assert homes[0] == homes[1] != homes[2]


class FakeStream:
    """Writes down what it is told to."""

    def __init__(self, api: FakeApi, name: str) -> None:
        self.api, self.name = api, name

    def wait_event(self, event: str) -> None:
        self.api.log.append(f"{self.name} waits for {event}")

    def record_event(self) -> str:
        self.api.events += 1
        self.api.log.append(f"{self.name} records {self.api.events}")
        return str(self.api.events)


class FakeApi:
    """As much of `torch.cuda` as a copier asks for."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.events = 0
        self.now = FakeStream(self, "computing")
        self.names = iter(("outwards", "inwards"))

    def Stream(self, device: torch.device) -> FakeStream:  # noqa: N802 (so it is called there)
        return FakeStream(self, next(self.names))

    @contextlib.contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.now = self.now, stream
        yield
        self.now = before

    def current_stream(self, device: torch.device) -> FakeStream:
        return self.now


class Logged(torch.Tensor):
    """A tensor that says on which stream it is written to, and how."""

    api: FakeApi

    def copy_(self, source: Tensor, non_blocking: bool = False) -> Tensor:
        self.api.log.append(f"{self.api.now.name} copies{'' if non_blocking else ', and the machine waits'}")
        return super().copy_(source)


def test_streams_wait_for_each_other_and_the_machine_for_none() -> None:
    """What is computed is written before it is copied; memory is free before it is copied into; what is copied is
    there before it is read."""
    api = FakeApi()
    Logged.api = api
    copier = StreamCopier(CPU, api)
    value, home = torch.ones(2).as_subclass(Logged), torch.zeros(2).as_subclass(Logged)
    sent = copier.send([value], [home])
    assert api.log == ["computing records 1", "outwards waits for 1", "outwards copies", "outwards records 2"]
    api.log.clear()
    (got,), ticket = copier.fetch([home], [sent])
    copier.wait(ticket)
    assert api.log == [
        "computing records 3", "inwards waits for 3", "inwards waits for 2", "inwards copies", "inwards records 4",
        "computing waits for 4",
    ]  # fmt: skip
    assert torch.equal(got, value)


def test_devices_without_streams_copy_at_once() -> None:
    assert all(type(copier_for(torch.device(kind))) is Copier for kind in ("cpu", "mps"))


# --- what is brought when ------------------------------------------------------------------------------------------


def filled(ram: Ram, count: int) -> list[AwayTerms]:
    """Quantities of 16 bytes each that lie in the machine's memory."""
    terms = [AwayTerms(ram, None, 4) for _ in range(count)]
    for number, each in enumerate(terms):
        each.renew(torch.full((1, 1, 4), float(number)))
        each.put_away()
    ram.settle()
    return terms


def stops(terms: Sequence[AwayTerms]) -> list[Stop]:
    return [Stop((each,), (each,)) for each in terms]


def in_order(ram: Ram, terms: Sequence[AwayTerms]) -> Iterator[tuple[int, AwayTerms]]:
    """A pass that has a stage for each quantity: each while its stage runs."""
    ram.traffic.most = 0
    ram.expect(stops(terms))
    for number, each in enumerate(terms):
        ram.enter(number)
        yield number, each
        ram.leave(number)


def test_what_is_next_is_sent_for_and_no_more_is_there() -> None:
    ram = Ram(LateCopier)
    terms = filled(ram, 5)
    for number, each in in_order(ram, terms):
        assert [other.at_hand for other in terms] == [other is each for other in terms]
        assert each.value[0, 0, 0] == number
    assert (ram.traffic.ahead, ram.traffic.awaited, ram.traffic.most) == (5, 0, 2 * 16)


def test_what_is_written_is_let_go_a_stage_later() -> None:
    ram = Ram(LateCopier)
    terms = filled(ram, 5)
    for _, each in in_order(ram, terms):
        each.rewrite(each.value.add_(10))
    ram.clear()
    # One on its way home, one that is worked on, one on its way here.
    assert ram.traffic.most == 3 * 16
    assert [each.value[0, 0, 0].item() for each in terms] == [10, 11, 12, 13, 14]


def test_another_order_is_right_and_is_waited_for() -> None:
    ram = Ram(LateCopier)
    terms = filled(ram, 4)
    ram.expect(stops(terms))
    for number in (0, 2, 1, 3):
        ram.enter(number)
        assert terms[number].value[0, 0, 0] == number
        ram.leave(number)
    # 1 was sent for in vain; 2 and 1 were not sent for when they were read; then 2, which is not read again.
    assert (ram.traffic.ahead, ram.traffic.awaited) == (1, 3)
    ram.clear()
    assert not any(each.present for each in terms)


def test_what_nobody_has_expected_is_brought_when_it_is_read() -> None:
    ram = Ram(LateCopier)
    one, other = filled(ram, 2)
    ram.expect([])
    assert one.value[0, 0, 0] == 0 and (ram.traffic.ahead, ram.traffic.awaited) == (0, 1)
    ram.clear()
    assert not one.present and other.value[0, 0, 0] == 1


def test_a_pass_that_is_given_up_loses_nothing() -> None:
    ram = Ram(LateCopier)
    terms = filled(ram, 3)
    ram.expect(stops(terms))
    ram.enter(0)
    terms[0].rewrite(terms[0].value + 5)
    ram.expect(stops(terms[::-1]))
    assert [each.value[0, 0, 0].item() for each in terms] == [5, 1, 2]


# --- what it goes together with ------------------------------------------------------------------------------------


@contextlib.contextmanager
def in_ram(model: Any, method: Any, steps: int = STEPS, **options: Any) -> Iterator[Any]:
    """The cache in RAM, copied as late as can be."""
    with toca.cached(model, method, num_inference_steps=steps, cache_device="cpu", **options):
        engine_of(model).holding.ram._make = LateCopier
        yield model


@pytest.mark.parametrize("short", ["bf16", "fp8"])
@pytest.mark.parametrize("name", ["preset", "forecast", "gate", "self"])
def test_in_another_dtype_it_is_the_cache_in_that_dtype(name: str, short: str) -> None:
    model, inputs, method = TINY["flux"](), inputs_for("flux", STEPS, batch_size=2), method_of("flux", name)
    wanted = cached_run(model, method, inputs, cache_dtype=short)
    with in_ram(model, method, cache_dtype=short):
        assert_equal(run_steps(model, inputs), wanted)
        summary = toca.summary(model)
    options = {**options_for("flux", 2, (16, 16)), "cache_dtype": short, "cache_device": "cpu"}
    cost = method.plan(model, STEPS).cost(**options)
    assert (summary.cache_dtype, summary.ram_bytes, summary.cache_bytes) == (short, cost.ram_bytes, cost.cache_bytes)
    assert summary.traffic.most <= cost.in_flight_bytes and summary.traffic.bytes == cost.copied_bytes


def test_images_that_decide_alone_are_taken_apart_and_joined() -> None:
    model, inputs = TINY["pixart"](), inputs_for("pixart", 12, batch_size=3)
    letters = set()
    for method in (*(toca.FBCache(threshold=t) for t in (0.05, 0.1, 0.2, 0.4)), toca.TeaCache(threshold=0.3)):
        wanted = cached_run(model, method, inputs)
        with in_ram(model, method, 12):
            assert_equal(run_steps(model, inputs), wanted)
            summary = toca.summary(model)
        letters |= set(summary.steps)
        cost = method.plan(model, 12).cost(**options_for("pixart", 3, (16, 16)), cache_device="cpu")
        assert summary.traffic.most <= cost.in_flight_bytes
        alone = [rows_of(call, 0) for call in inputs]
        errors = [relative_error(a, b[:1]) for a, b in zip(cached_run(model, method, alone), wanted, strict=True)]
        assert max(errors) < 1e-4
    assert "m" in letters


def test_two_branches_of_guidance_and_one_that_is_dropped() -> None:
    model, inputs = TINY["flux"](), inputs_for("flux", STEPS)
    method = toca.TGate(gate_step=3, warm_up=1, fi_interval=2)

    def play() -> list[Tensor]:
        outputs = []
        for call in inputs:
            for branch in ("cond", "uncond"):
                with torch.no_grad(), model.cache_context(branch):
                    outputs.append(model(**call)[0])
        return outputs

    with toca.cached(model, method, num_inference_steps=STEPS):
        wanted = play()
        kept = toca.summary(model).cache_bytes
    with in_ram(model, method):
        assert_equal(play(), wanted)
        summary = toca.summary(model)
        assert summary.cache_bytes == kept and 0 < summary.ram_bytes <= kept


def test_guidance_that_is_dropped_from_a_batch() -> None:
    model, inputs = TINY["dit"](), inputs_for("dit", STEPS, cfg=True)
    method = toca.TGate(gate_step=3, warm_up=1, fi_interval=2)
    wanted = cached_run(model, method, inputs, batched_cfg=True)
    with in_ram(model, method, batched_cfg=True):
        assert_equal(run_steps(model, inputs), wanted)


def test_a_call_that_breaks_off_leaves_nothing_and_the_next_one_is_right() -> None:
    model, inputs = TINY["flux"](), inputs_for("flux", STEPS)
    wanted = cached_run(model, "fora", inputs)
    with in_ram(model, "fora"):
        ram = engine_of(model).holding.ram
        run_steps(model, inputs[:2])
        hook = model.single_transformer_blocks[0].register_forward_pre_hook(fail)
        with pytest.raises(ArithmeticError):
            run_steps(model, inputs[2:3])
        hook.remove()
        assert not ram._there and not ram._leaving and not ram._coming.tensors
        assert_equal(run_steps(model, inputs), wanted)


def fail(*args: Any) -> None:
    raise ArithmeticError


def test_through_a_pipeline_with_a_scheduler() -> None:
    model, calls = TINY["dit"](), inputs_for("dit", 1)
    pipe = PipelineLike(scheduler_for("dit"), model)

    def play() -> list[Tensor]:
        with torch.no_grad():
            return [model(**at(calls[0], timestep))[0] for _, timestep in pipe.steps(STEPS)]

    with toca.cached(pipe, "toca/dit-ddim50"):
        wanted = play()
    with toca.cached(pipe, "toca/dit-ddim50", cache_device=CPU):
        for _ in range(2):
            assert_equal(play(), wanted)
        assert toca.summary(pipe).traffic.awaited == 0


@pytest.mark.skipif(not can_compile(), reason="this torch cannot trace classes made on the fly")
@pytest.mark.parametrize("name", ["composed", "self", "forecast"])
def test_compiled_blocks_do_the_same_from_as_few_graphs(name: str) -> None:
    torch._dynamo.reset()
    model, inputs = TINY["dit"](num_layers=3), inputs_for("dit", STEPS, batch_size=2)
    method = method_of("dit", name)
    model._repeated_blocks = ["BasicTransformerBlock"]
    counts = []
    for options in ({}, {"cache_device": "cpu"}):
        torch._dynamo.reset()
        counter = CompileCounterWithBackend("eager")
        model.compile_repeated_blocks(fullgraph=True, backend=counter)
        with toca.cached(model, method, num_inference_steps=STEPS, **options):
            if options:
                engine_of(model).holding.ram._make = LateCopier
            for _ in range(2):
                got = run_steps(model, inputs)
            counts.append(counter.frame_count)
            traffic = toca.summary(model).traffic
    for block in model.transformer_blocks:
        block._compiled_call_impl = None
    wanted = cached_run(model, method, inputs)
    assert max(relative_error(a, b) for a, b in zip(got, wanted, strict=True)) < 1e-5
    assert traffic.awaited == 0 and 0 < counts[1] <= max(3, counts[0])
    torch._dynamo.reset()


def test_off_it_leaves_nothing() -> None:
    model, inputs = TINY["flux"](), inputs_for("flux", STEPS)
    stock = run_steps(model, inputs)
    toca.enable_cache(model, "toca/flux", num_inference_steps=STEPS, cache_device="cpu")
    run_steps(model, inputs[:4])
    toca.disable_cache(model)
    assert_equal(run_steps(model, inputs), stock)
    assert not left_behind(model)


# --- a limit, and what is told -------------------------------------------------------------------------------------


def test_a_limit_is_on_what_is_on_the_device() -> None:
    model, method, inputs = TINY["flux"](), toca.FORA(interval=3), inputs_for("flux", STEPS)
    plan, sizes = method.plan(model, STEPS), {**options_for("flux", 1, (16, 16)), "cache_device": "cpu"}
    cost = plan.cost(**sizes)
    assert cost.device_bytes < cost.cache_bytes == cost.ram_bytes
    with in_ram(model, method, max_cache_bytes=cost.device_bytes):
        run_steps(model, inputs)
        summary = toca.summary(model)
        assert (summary.cache_dtype, summary.device_bytes) == ("", cost.device_bytes)
    assert plan.fitting_dtype(cost.device_bytes - 1, **sizes) == "bf16"
    least = plan.cost(**sizes, cache_dtype="fp8").device_bytes
    with in_ram(model, method, max_cache_bytes=least - 1):
        with pytest.raises(ValueError, match="of the device, beside what lies in the machine's memory") as refused:
            run_steps(model, inputs)
    assert all(f"{size:,} bytes" in str(refused.value) for size in (least - 1, least, cost.device_bytes))


def test_a_refusal_says_what_would_fit_in_the_machines_memory() -> None:
    plan, sizes = toca.FORA(interval=3).plan(TINY["flux"](), STEPS), options_for("flux", 1, (16, 16))
    moved = plan.cost(**sizes, cache_dtype="fp8", cache_device="cpu").device_bytes
    with pytest.raises(ValueError, match='With `cache_device="cpu"` at most ') as refused:
        plan.fitting_dtype(moved, "fp8", **sizes)
    assert f"{moved:,} bytes" in str(refused.value)


def test_on_a_cpu_one_sentence_says_that_it_buys_nothing(caplog: pytest.LogCaptureFixture) -> None:
    model, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    with toca.cached(model, "fora", num_inference_steps=STEPS, cache_device="cpu"):
        for _ in range(2):
            run_steps(model, inputs)
        told = str(toca.summary(model))
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1 and "buys nothing where the model computes on cpu" in warned[0]
    assert " in RAM, at most " in told and "reads asked for ahead" in told


@pytest.mark.parametrize("value", ["cuda", "ram", "CPU", torch.device("meta"), 1, True])
def test_another_place_is_refused(value: Any) -> None:
    model = TINY["dit"]()
    for ask in (
        lambda: toca.enable_cache(model, "fora", num_inference_steps=STEPS, cache_device=value),
        lambda: toca.FORA().plan(model, STEPS).cost(cache_device=value),
    ):
        with pytest.raises(ValueError, match="`cache_device` must be 'cpu' for the machine's memory, or None"):
            ask()
        assert engine_of(model) is None
