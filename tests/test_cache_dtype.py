"""Features kept in fewer bytes: what is read, how many bytes are held, and a limit on them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import toca
from toca.engine.install import engine_of
from toca.hooks.tracing import can_compile
from toca.kernels.narrow import CACHE_DTYPES, from_fp8, narrowed, to_fp8
from toca.memory.compact import CompactTerms
from toca.plan.cost import cache_bytes
from toca.plan.plan import Plan

from .conformance.common import CACHING, STEPS, cached_run, method_of, runs_on
from .conformance.test_cost import held_bytes, held_tensors, options_for
from .helpers import FAMILIES, TINY, inputs_for, relative_error, run_steps, still
from .zoo.subject import Subject, subject_of, supported
from .zoo.tiny import run

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
FP8 = torch.float8_e4m3fn


# --- the numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_fp8_has_three_bits_of_mantissa_at_any_size(dtype: torch.dtype) -> None:
    sizes = torch.logspace(-3, 4, 64)
    rows = (torch.randn(64, 32, generator=torch.Generator().manual_seed(0)) * sizes[:, None]).to(dtype)
    codes, scale = to_fp8(rows)
    read = from_fp8(codes, scale, dtype)
    assert codes.dtype == FP8 and scale.dtype == torch.float32 and scale.shape == (64, 1)
    # Below 2^-6 of the scale the steps are even ones, of 2^-9.
    coarse = torch.maximum(rows.float().abs() * 2**-4, scale * 2**-10)
    assert ((read - rows).float().abs() <= coarse).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_to_write_once_more_what_was_read_changes_nothing(dtype: torch.dtype) -> None:
    rows = torch.randn(512, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    rows[0], rows[1, 0], rows[2] = 0, torch.finfo(torch.float16).max, 1e-7
    read = from_fp8(*to_fp8(rows), dtype)
    assert read.isfinite().all() and torch.equal(from_fp8(*to_fp8(read), dtype), read)
    assert torch.equal(read[0], rows[0])


def test_numbers_that_are_not_finite_spoil_their_own_row() -> None:
    rows = torch.tensor([[1.0, 2.0], [float("inf"), 1.0], [float("nan"), 1.0]])
    read = from_fp8(*to_fp8(rows), torch.float32)
    assert torch.equal(read[0], rows[0]) and not read[1:].isfinite().any()


def test_what_float16_cannot_hold_is_its_largest_number() -> None:
    large = torch.tensor([1e5, -1e6, 1.0]).bfloat16()
    assert narrowed(large, torch.float16).tolist() == [65504.0, -65504.0, 1.0]


# --- the terms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", CACHE_DTYPES.values())
def test_only_what_is_written_is_rounded(dtype: torch.dtype) -> None:
    terms = CompactTerms(dtype, 8)
    terms.renew(torch.randn(2, 6, 8))
    before, filled = terms.value, terms.total([])
    assert torch.equal(before, filled) and not terms.is_held(filled)
    rows = torch.randn(2, 8)
    filled[:, 3] = rows
    terms.rewrite(filled)
    others = [0, 1, 2, 4, 5]
    assert torch.equal(terms.value[:, others], before[:, others])
    assert relative_error(terms.value[:, 3], rows) < 0.05 and not torch.equal(before[:, 3], terms.value[:, 3])


def test_what_is_kept_as_it_is_computed_is_not_written_by_chance() -> None:
    """The same dtype shares memory with the value: a forecast that comes to the value alone is copied."""
    terms = CompactTerms(torch.bfloat16, 8)
    value = torch.randn(1, 2, 8).bfloat16()
    terms.renew(value, [1.0])
    assert terms.is_held(terms.total([])) and terms.total([]) is value


@pytest.mark.parametrize("shape", [(2, 5, 8), (2, 5, 2, 4), (2, 8, 3, 5)])
def test_a_scale_for_each_token_whatever_the_dimensions(shape: tuple[int, ...]) -> None:
    terms = CompactTerms(FP8, 8)
    value = torch.randn(*shape)
    terms.renew((value, value), [1.0, 1.0])
    assert terms.value[0].shape == value.shape and len(terms.higher) == 2
    codes, scale = terms.tensors()[:2]
    assert codes.numel() == value.numel() == 8 * scale.numel()


# --- the bytes -----------------------------------------------------------------------------------------------------

CASES = [
    (family, name, short)
    for family in FAMILIES
    for name in CACHING
    for short in CACHE_DTYPES
    if name not in toca.methods() or runs_on(family, name)
]
# One in seven: every method meets a family and a dtype, or two.
CHOSEN = CASES[::7]


def check_bytes(family: str, name: str, short: str) -> None:
    model, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    plan = method_of(family, name).plan(model, STEPS)
    predicted = plan.cost(**options_for(family, 2, (16, 16)), cache_dtype=short)
    with toca.cached(model, plan, num_inference_steps=STEPS, cache_dtype=short):
        run_steps(model, inputs[:-1])
        assert held_bytes(model) == predicted.cache_bytes == toca.summary(model).cache_bytes
        run_steps(model, inputs[-1:])
        assert toca.summary(model).cache_bytes == predicted.cache_bytes
    narrow = plan.cost(**options_for(family, 2, (16, 16))).cache_bytes
    assert predicted.cache_bytes <= narrow


@pytest.mark.parametrize(("family", "name", "short"), CHOSEN)
def test_predicted_bytes_are_held(family: str, name: str, short: str) -> None:
    check_bytes(family, name, short)


@pytest.mark.matrix
@pytest.mark.parametrize(("family", "name", "short"), [case for case in CASES if case not in CHOSEN])
def test_all_predicted_bytes_are_held(family: str, name: str, short: str) -> None:
    check_bytes(family, name, short)


IN_THE_ZOO: dict[str, Any] = {
    "fora": toca.FORA(interval=2),
    "random": toca.RandomTokens(interval=3, fresh_ratio=0.3),
    "blocks": toca.TaylorSeer(interval=2, order=1, scope="block"),
    "forecast": toca.TaylorSeer(interval=2, order=2),
    "output": toca.TaylorSeer(interval=2, order=1, scope="lite"),
    "gate": toca.FBCache(threshold=1e9),
    "coast": toca.Coast(interval=2, warmup_steps=1),
    "spectrum": toca.Spectrum(degree=1, ridge=1e-6),
}
CLASSES = [name for name in supported() if "/" not in name]


def check_class(entry: str, number: int) -> None:
    """The bytes of one method, the first from this number on that runs on the model."""
    subject = subject_of(entry)
    methods = list(IN_THE_ZOO.values())
    for method in methods[number % len(methods) :] + methods:
        plan = _plan_of(method, subject)
        if plan is not None:
            break
    assert plan is not None
    short = list(CACHE_DTYPES)[-1] if number % 3 else list(CACHE_DTYPES)[number % 2]
    dtype, exact = CACHE_DTYPES[short], subject.entry.exact.itemsize
    with toca.cached(subject.model, plan, num_inference_steps=4, cache_dtype=short):
        run(subject.model, subject.calls()[:3])
        held, summary = held_bytes(subject.model), toca.summary(subject.model)
    # Of samples that decide together the gate keeps what it would of one.
    predicted = {cache_bytes(plan, subject.shape, exact, paired, dtype) for paired in (False, plan.gate is not None)}
    assert summary.bypassed or (held == summary.cache_bytes and held in predicted)


def _plan_of(method: Any, subject: Subject) -> Plan | None:
    by_token = subject.spec.modulates_by_token(subject.calls()[0], subject.shape)
    try:
        plan = method.plan(subject.model, 4)
    except ValueError:
        return None
    return None if by_token and any(plan.drops(row) for row in plan.table) else plan


@pytest.mark.parametrize("entry", CLASSES)
def test_predicted_bytes_are_held_of_every_class(entry: str) -> None:
    check_class(entry, CLASSES.index(entry))


@pytest.mark.matrix
@pytest.mark.parametrize("entry", CLASSES)
@pytest.mark.parametrize("further", range(1, len(IN_THE_ZOO)))
def test_predicted_bytes_are_held_of_every_class_by_all_methods(entry: str, further: int) -> None:
    check_class(entry, CLASSES.index(entry) + further)


def test_what_is_no_feature_is_not_cast() -> None:
    """Measured attention and scales are in float32, counts and clusters as they were: all else in eight bits."""
    model, inputs = TINY["flux"](), inputs_for("flux", STEPS, batch_size=2)
    method = toca.ToCa(interval=3, fresh_ratio=0.3, score="self_attention")
    with toca.cached(model, method, num_inference_steps=STEPS, cache_dtype=FP8):
        run_steps(model, inputs[:-1])
        (memory,) = engine_of(model).branches.values()
        (part,) = memory.parts
        features = [each for site in part.sites for each in site.terms.tensors() if each.dtype == FP8]
        assert all(statistic.dtype == torch.float32 for statistic in part.statistics.values())
        assert {each.dtype for each in held_tensors(model)} == {FP8, torch.float32} and features
        assert toca.summary(model).cache_dtype == "fp8" and "MiB, in fp8" in str(toca.summary(model))


# --- what comes out ------------------------------------------------------------------------------------------------

NEAR = {"bf16": 0.01, "fp16": 0.002, "fp8": 0.1}
SOME = ("preset", "fora", "forecast", "forecast-output", "gate", "clusca", "pab", "meancache", "tgate")


@pytest.mark.parametrize("number, name", enumerate(SOME))
@pytest.mark.parametrize("short", CACHE_DTYPES)
def test_the_outputs_are_near_those_of_a_cache_that_is_not_cast(number: int, name: str, short: str) -> None:
    families = [family for family in FAMILIES if name not in toca.methods() or runs_on(family, name)]
    family = families[number % len(families)]
    model, inputs, method = TINY[family](), inputs_for(family, STEPS, batch_size=2), method_of(family, name)
    wanted = cached_run(model, method, inputs)
    got = cached_run(model, method, inputs, cache_dtype=short)
    errors = [relative_error(a, b) for a, b in zip(got, wanted, strict=True)]
    # The first step is no other; the cast shows in some later one, and does not grow out of hand.
    assert errors[0] == 0 and 0 < max(errors) < NEAR[short] and got[-1].dtype == wanted[-1].dtype


@pytest.mark.parametrize("short", CACHE_DTYPES)
@pytest.mark.parametrize("name", ["ras", "coast", "self"])
def test_where_nothing_moves_what_is_read_is_near_whatever_is_chosen(name: str, short: str) -> None:
    """Tokens that are chosen by what is kept may be others. Keys and values are cast too."""
    model, inputs = TINY["pixart"](), still(inputs_for("pixart", 1, batch_size=2)[0], STEPS)
    stock, got = run_steps(model, inputs), cached_run(model, method_of("pixart", name), inputs, cache_dtype=short)
    assert 0 < max(relative_error(a, b) for a, b in zip(got, stock, strict=True)) < NEAR[short]


def test_a_cache_in_the_models_own_dtype_is_the_same_cache() -> None:
    model, inputs = TINY["flux"]().bfloat16(), inputs_for("flux", STEPS, batch_size=2, dtype=torch.bfloat16)
    for method in (method_of("flux", "preset"), method_of("flux", "forecast"), toca.ClusCa(interval=3, clusters=8)):
        wanted = cached_run(model, method, inputs)
        got = cached_run(model, method, inputs, cache_dtype=torch.bfloat16)
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_images_that_decide_alone_are_in_eight_bits_what_they_are_alone() -> None:
    """Parts are taken apart and joined: what is read and written again stays what it was."""
    model, inputs = TINY["pixart"](), inputs_for("pixart", 12, batch_size=3)
    letters = set()
    for threshold in (0.05, 0.1, 0.2, 0.4):
        method = toca.FBCache(threshold=threshold)
        with toca.cached(model, method, num_inference_steps=12, cache_dtype="fp8"):
            together = run_steps(model, inputs)
            letters |= set(toca.summary(model).steps)
            for image in range(3):
                alone = run_steps(model, [rows_of(call, image) for call in inputs])
                errors = [relative_error(a, b[image : image + 1]) for a, b in zip(alone, together, strict=True)]
                assert max(errors) < 1e-4
    assert "m" in letters


def rows_of(call: dict[str, Any], image: int) -> dict[str, Any]:
    """One image of a call."""
    return {
        name: value[image : image + 1] if isinstance(value, Tensor) and len(value) == 3 else value
        for name, value in call.items()
    }


@pytest.mark.skipif(not can_compile(), reason="this torch cannot trace classes made on the fly")
def test_compiled_blocks_do_the_same_from_as_few_graphs() -> None:
    torch._dynamo.reset()
    model, inputs = TINY["dit"](num_layers=3), inputs_for("dit", STEPS, batch_size=2)
    method = method_of("dit", "composed")
    wanted = cached_run(model, method, inputs, cache_dtype="fp8")
    model._repeated_blocks = ["BasicTransformerBlock"]
    counter = CompileCounterWithBackend("eager")
    model.compile_repeated_blocks(fullgraph=True, backend=counter)
    with toca.cached(model, method, num_inference_steps=STEPS, cache_dtype="fp8"):
        for _ in range(2):
            got = run_steps(model, inputs)
            assert max(relative_error(a, b) for a, b in zip(got, wanted, strict=True)) < 1e-5
            assert 0 < counter.frame_count <= 3
    torch._dynamo.reset()


# --- a limit -------------------------------------------------------------------------------------------------------


def bytes_of(method: Any, cache_dtype: str | None = None) -> int:
    return (
        method.plan(TINY["flux"](), STEPS)
        .cost(**options_for("flux", 1, (16, 16)), cache_dtype=cache_dtype)
        .cache_bytes
    )


@pytest.mark.parametrize(("fits", "chosen"), [(None, ""), ("bf16", "bf16"), ("fp8", "fp8")])
def test_the_widest_that_fits_is_taken(fits: str | None, chosen: str) -> None:
    model, method, inputs = TINY["flux"](), toca.FORA(interval=3), inputs_for("flux", STEPS)
    limit = bytes_of(method, fits)
    with toca.cached(model, method, num_inference_steps=STEPS, max_cache_bytes=limit):
        for _ in range(2):
            run_steps(model, inputs)
            summary = toca.summary(model)
            assert (summary.cache_dtype, summary.cache_bytes) == (chosen, limit)


def test_a_plan_says_beforehand_which_that_is() -> None:
    plan, sizes = toca.FORA(interval=3).plan(TINY["flux"](), STEPS), options_for("flux", 1, (16, 16))
    for name in (None, "bf16", "fp8"):
        assert plan.fitting_dtype(plan.cost(**sizes, cache_dtype=name).cache_bytes, **sizes) == name
    # Half precision is no narrower than half precision.
    halves = {**sizes, "dtype": torch.bfloat16}
    assert plan.fitting_dtype(plan.cost(**halves).cache_bytes - 1, **halves) == "fp8"
    with pytest.raises(ValueError, match="more than `max_cache_bytes`"):
        plan.fitting_dtype(10, "fp8", **sizes)


def test_what_does_not_fit_is_refused_with_the_numbers_before_anything_is_kept() -> None:
    model, method, inputs = TINY["flux"](), toca.FORA(interval=3), inputs_for("flux", STEPS)
    stock = run_steps(model, inputs)
    limit = bytes_of(method, "fp8") - 1
    toca.enable_cache(model, method, num_inference_steps=STEPS, max_cache_bytes=limit)
    for _ in range(2):
        with pytest.raises(ValueError, match="more than `max_cache_bytes`") as refused:
            run_steps(model, inputs)
        said = str(refused.value)
        sizes = [bytes_of(method, each) for each in (None, "bf16", "fp16", "fp8")]
        assert all(f"{size:,} bytes" in said for size in (*sizes, limit)) and "teacache" in said and "lite" in said
        assert held_bytes(model) == 0
    toca.disable_cache(model)
    assert all(torch.equal(a, b) for a, b in zip(run_steps(model, inputs), stock, strict=True))


def test_a_dtype_that_is_given_is_the_only_one_that_is_tried() -> None:
    model, method, inputs = TINY["flux"](), toca.FORA(interval=3), inputs_for("flux", STEPS)
    options: dict[str, Any] = {"num_inference_steps": STEPS, "max_cache_bytes": bytes_of(method, "fp8")}
    with toca.cached(model, method, cache_dtype="bf16", **options):
        with pytest.raises(ValueError, match=re.escape("The cache of fora in bf16 takes")):
            run_steps(model, inputs)
    with toca.cached(model, method, cache_dtype="fp8", **options):
        run_steps(model, inputs)


def test_a_second_branch_makes_the_first_one_narrower() -> None:
    """Only the second call of a step tells that there are two branches: by then the first keeps features already."""
    model, method, inputs = TINY["flux"](), method_of("flux", "preset"), inputs_for("flux", STEPS)

    def play(**options: Any) -> list[Tensor]:
        outputs = []
        with toca.cached(model, method, num_inference_steps=STEPS, **options), torch.no_grad():
            for call in inputs:
                for branch in ("cond", "uncond"):
                    with model.cache_context(branch):
                        outputs.append(model(**call)[0])
            play.summary = toca.summary(model)  # type: ignore[attr-defined]
        return outputs

    limit = 2 * bytes_of(method, "bf16")
    got, summary = play(max_cache_bytes=limit), play.summary  # type: ignore[attr-defined]
    assert (summary.cache_dtype, summary.cache_bytes) == ("bf16", limit)
    wanted = play(cache_dtype="bf16")
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    with pytest.raises(ValueError, match="more than `max_cache_bytes`"):
        play(max_cache_bytes=2 * bytes_of(method, "fp8") - 1)


# --- what is asked for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["int8", "FP8", torch.float32, torch.int8, 8, torch.float8_e5m2])
def test_another_dtype_is_refused(value: Any) -> None:
    model = TINY["dit"]()
    for ask in (
        lambda: toca.enable_cache(model, "fora", num_inference_steps=STEPS, cache_dtype=value),
        lambda: toca.FORA().plan(model, STEPS).cost(cache_dtype=value),
    ):
        with pytest.raises(ValueError, match=r"`cache_dtype` must be 'bf16' .*'fp16' .*'fp8' .* got ") as refused:
            ask()
        assert str(value).strip("'") in str(refused.value) and engine_of(model) is None


@pytest.mark.parametrize("value", [-1, 1.5, "1GB", True])
def test_a_limit_is_a_number_of_bytes(value: Any) -> None:
    with pytest.raises(ValueError, match=r"`max_cache_bytes` must "):
        toca.enable_cache(TINY["dit"](), "fora", num_inference_steps=STEPS, max_cache_bytes=value)
