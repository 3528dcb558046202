"""What variants cost, on tiny random pipelines: part by part, in turns with the full run, each measured once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import toca
from tests.helpers import tiny_dit_pipeline, tiny_pixart_pipeline
from toca.eval.findings.rows import make_row
from toca.eval.peers.from_diffusers import DiffusersFirstBlockCache
from toca.eval.samples.prompts import Prompt, items_of
from toca.eval.samples.subject import Subject
from toca.eval.store.store import Store
from toca.eval.timing import speed
from toca.eval.timing.parts import DENOISER, TEXT_ENCODER, TOTAL, VAE_DECODE
from toca.eval.timing.rounds import Rounds
from toca.eval.timing.speed import Speed, Stopwatch
from toca.eval.variants import BASELINE, FEWER_STEPS, Variant
from toca.pipelines.config import GenerationConfig

STEPS, REPEATS = 6, 2
ALWAYS = 1e9  # a threshold that every change is below

FORA = Variant("fora", "fora", toca.FORA(interval=2))
TOKENS = Variant("toca", "toca", toca.ToCa(interval=3, fresh_ratio=0.5))
PEER = Variant("peer:diffusers-fbcache", "peer:diffusers-fbcache", DiffusersFirstBlockCache(threshold=ALWAYS))
HALF = Variant("3 steps", FEWER_STEPS, steps=3)
VARIANTS = [HALF, BASELINE, FORA, TOKENS, PEER]


@pytest.fixture(scope="module")
def pipe():
    return tiny_pixart_pipeline()


def stopwatch(pipe, folder: Path) -> Stopwatch:
    prompts = [Prompt(0, "a red owl"), Prompt(1, "a blue cat")]
    config = GenerationConfig(num_inference_steps=STEPS, guidance_scale=4.0, height=64, width=64)
    subject = Subject("tiny", pipe, config, prompts, "weights", "float32")
    return Stopwatch(subject, items_of(prompts, 1), 0, REPEATS, 1, Store(folder), "code")


@pytest.fixture(scope="module")
def measured(pipe, tmp_path_factory) -> tuple[Stopwatch, dict[str, Speed], list[int]]:
    done: list[int] = []
    watch = stopwatch(pipe, tmp_path_factory.mktemp("speed"))
    return watch, watch.measure(VARIANTS, done.append), done


def test_all_that_a_variant_costs_is_measured(measured):
    _, speeds, done = measured
    assert list(speeds) == [variant.name for variant in VARIANTS]
    assert done == [0, 4, 1]
    for each in speeds.values():
        for costs in (each.costs, each.full):
            assert list(costs.seconds) == [TEXT_ENCODER, DENOISER, VAE_DECODE, TOTAL]
            *parts, total = (timing.seconds for timing in costs.seconds.values())
            assert all(len(seconds) == REPEATS and min(seconds) > 0 for seconds in (*parts, total))
            assert all(sum(turn[:-1]) <= turn[-1] for turn in zip(*parts, total, strict=True))
            assert costs.first_run_seconds > 0


def test_the_full_run_is_that_of_the_same_turns(measured):
    _, speeds, _ = measured
    first, second = speeds["fora"].full, speeds["peer:diffusers-fbcache"].full  # of the first group and of the second
    assert speeds["full"].full == speeds["toca"].full == first
    assert first.seconds != second.seconds and first.flops == second.flops
    turns = [a / b for a, b in zip(*(c.seconds[TOTAL].seconds for c in (first, speeds["fora"].costs)), strict=True)]
    assert speeds["fora"].total_speedup()[0] == pytest.approx(sum(turns) / 2)
    assert speeds["fora"].part(DENOISER) == speeds["fora"].loop_speedup() != speeds["fora"].total_speedup()


def test_flops_of_uncached_runs_are_those_of_their_calls(measured):
    _, speeds, _ = measured
    half, full = speeds["3 steps"].costs, speeds["full"].costs
    assert (half.calls, full.calls) == (3, STEPS)
    assert full.flops[DENOISER] == 2 * half.flops[DENOISER] > 0
    assert full.flops[VAE_DECODE] == half.flops[VAE_DECODE] > 0
    assert (speeds["3 steps"].flops_speedup(), speeds["full"].flops_speedup()) == (2, 1)
    assert speeds["full"].facts == replace(speeds["full"].facts, calls=STEPS, steps="", flops=0, cache_bytes=0)


@pytest.mark.parametrize("variant", [FORA, TOKENS])
def test_counted_flops_agree_with_what_the_plan_costs(pipe, measured, variant):
    found = measured[1][variant.name]
    plan = variant.method.plan(pipe.transformer, STEPS)
    # Two samples and two branches of guidance in one batch; 64 pixels are 8 latents.
    cost = plan.cost(batch_size=2, height=8, width=8, text_tokens=120)
    assert found.facts.steps == plan.steps
    assert found.flops_speedup() == pytest.approx(found.facts.flops_speedup, rel=0.02)
    assert found.flops_speedup() == pytest.approx(cost.flops_speedup, rel=0.02)
    assert found.costs.flops[TEXT_ENCODER] == found.full.flops[TEXT_ENCODER]
    assert found.facts.cache_bytes == found.costs.cache_bytes > 0


def test_a_peer_is_measured_like_a_method(pipe, measured):
    found = measured[1]["peer:diffusers-fbcache"]
    assert (found.facts.calls, found.facts.steps) == (STEPS, "Faaaaa")
    assert found.flops_speedup() == pytest.approx(found.facts.flops_speedup, rel=0.02)
    assert found.flops_speedup() > 1.5
    assert found.facts.cache_bytes == found.costs.cache_bytes > 0
    modules = [module for part in (pipe.transformer, pipe.text_encoder, pipe.vae) for module in part.modules()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
    assert "forward" not in vars(pipe.transformer)


def counted(monkeypatch, stop_at: str | None = None) -> list[str]:
    """The names of the variants that are measured, in order, up to one that stops everything."""
    names: list[str] = []
    original = speed.VariantWorkload

    def job(subject, variant, items, seed):
        if variant.name == stop_at:
            raise KeyboardInterrupt
        names.append(variant.name)
        return original(subject, variant, items, seed)

    monkeypatch.setattr(speed, "VariantWorkload", job)
    return names


def test_what_is_on_disk_is_not_measured_again(measured, monkeypatch):
    watch, speeds, _ = measured
    names, done = counted(monkeypatch), []
    assert watch.measure(VARIANTS, done.append) == watch.load(VARIANTS) == speeds
    assert (names, done) == ([], [len(VARIANTS)])


def interrupted(monkeypatch, watch: Stopwatch, variants: list[Variant], rounds: int) -> None:
    """Measure until so many rounds are on disk, and then as much as there is of the next."""
    append = Rounds.append

    def stop(self, round):
        if len(self.taken()) == rounds:
            raise KeyboardInterrupt
        append(self, round)

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "append", stop)
        with pytest.raises(KeyboardInterrupt):
            watch.measure(variants, lambda count: None)


def test_an_interrupted_run_goes_on_with_the_round_where_it_stopped(pipe, monkeypatch, tmp_path):
    watch = replace(stopwatch(pipe, tmp_path), repeats=4)
    interrupted(monkeypatch, watch, [HALF, FORA], 3)
    [path] = tmp_path.rglob("rounds-*.jsonl")
    kept = [round.seconds for round in Rounds(path).taken()]
    assert [len(jobs) for jobs in kept] == [3, 3, 3]  # with the full run
    found = watch.measure([HALF, FORA], lambda count: None)
    for name, job in (("3 steps", HALF), ("fora", FORA)):
        seconds = {part: timing.seconds for part, timing in found[name].costs.seconds.items()}
        assert all(len(turns) == 4 for turns in seconds.values())
        assert [turn[TOTAL] for turn in (round[watch.turns_of(job)] for round in kept)] == list(seconds[TOTAL][:3])
    assert found["fora"].full == found["3 steps"].full
    assert [round[""][TOTAL] for round in kept] == list(found["fora"].full.seconds[TOTAL].seconds[:3])
    assert not path.exists()


def test_a_run_that_stopped_between_two_results_takes_no_time_again(pipe, monkeypatch, tmp_path):
    watch = stopwatch(pipe, tmp_path)
    save = Store.save

    def stop(self, stage, name, key, result):
        if name == "fora":
            raise KeyboardInterrupt
        return save(self, stage, name, key, result)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            watch.measure([HALF, FORA], lambda count: None)
    monkeypatch.setattr(Rounds, "append", lambda *_: pytest.fail("a round is taken again"))
    names, done = counted(monkeypatch), []
    found = watch.measure([HALF, FORA], done.append)
    assert (names, done) == (["full", "fora"], [1, 1])
    assert found["fora"].full.seconds == found["3 steps"].full.seconds


def test_rounds_of_other_settings_and_damaged_ones_count_for_nothing(pipe, monkeypatch, tmp_path, capsys):
    watch = replace(stopwatch(pipe, tmp_path), repeats=3)
    interrupted(monkeypatch, watch, [HALF], 2)
    [path] = tmp_path.rglob("rounds-*.jsonl")
    first, second = path.read_bytes().splitlines()
    path.write_bytes(first.replace(b"0.", b"1.", 1) + b"\n" + second + b"\n")
    replace(watch, seed=1).measure([HALF], lambda count: None)
    found = watch.measure([HALF], lambda count: None)
    assert f"{path}: line 1 is damaged (it is not as it was written)" in capsys.readouterr().err
    kept = [json.loads(line)["seconds"][watch.turns_of(HALF)][TOTAL] for line in (first, second)]
    taken = found["3 steps"].costs.seconds[TOTAL].seconds
    assert taken[0] == kept[1] and kept[0] not in taken and len(taken) == 3


def test_variants_that_differ_in_name_alone_are_both_measured(pipe, tmp_path):
    twins = [FORA, replace(FORA, name="twin")]
    assert list(stopwatch(pipe, tmp_path).measure(twins, lambda count: None)) == ["fora", "twin"]


def test_who_else_was_busy_is_kept_with_the_times(measured):
    watch, speeds, _ = measured
    assert all(each.rivals.wall > 0 and each.rivals.busy >= 0 for each in speeds.values())
    assert speeds["fora"].rivals == speeds["toca"].rivals != speeds["peer:diffusers-fbcache"].rivals
    assert watch.load([FORA])["fora"].rivals == speeds["fora"].rivals


@pytest.mark.parametrize("change", [{"seed": 1}, {"repeats": 3}, {"code": "other"}])
def test_other_settings_are_another_result(measured, change):
    with pytest.raises(ValueError, match="'fora' has not been timed: run the stage `time`"):
        replace(measured[0], **change).load([FORA])


def test_a_row_tells_where_the_time_goes(measured):
    found = measured[1]["fora"]
    drawn = {"steps": {"FrFrFr": 1}, "flops_speedup": 1.5, "bypassed": 0}
    row = make_row(FORA, STEPS, drawn, found, {"psnr": [30.0, 31.0], "ssim": [0.9, 0.9]}, (0, 1))
    assert list(row.parts) == [TEXT_ENCODER, DENOISER, VAE_DECODE, TOTAL]
    for name, part in row.parts.items():
        assert part.first_quartile <= part.median <= part.third_quartile <= part.p90
        assert (part.speedup, part.flops) == (found.part(name), found.costs.flops[name])
    assert (row.parts[DENOISER].median, row.parts[TOTAL].median) == (row.loop_seconds, row.total_seconds)
    assert 0 < row.denoiser_share < 1
    assert row.compile_seconds == found.costs.compile_seconds
    assert row.peak == found.costs.memory


def test_a_pipeline_without_text_has_a_row_without_a_text_encoder(tmp_path):
    pipe = tiny_dit_pipeline()
    config = GenerationConfig(num_inference_steps=3, guidance_scale=1.0)
    prompts = [Prompt(0, "1")]
    subject = Subject("tiny", pipe, config, prompts, "weights", "float32")
    watch = Stopwatch(subject, items_of(prompts, 1), 0, 1, 1, Store(tmp_path), "code")
    found = watch.measure([BASELINE], lambda count: None)["full"]
    drawn = {"steps": {"": 1}, "flops_speedup": 1.0, "bypassed": 0}
    row = make_row(BASELINE, 3, drawn, found, {"psnr": [None]}, (0,))
    assert list(row.parts) == [DENOISER, VAE_DECODE, TOTAL]
