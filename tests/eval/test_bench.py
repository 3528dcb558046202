"""`toca eval bench`: its cases, what is made of architectures, what is measured and kept, and who is called faster."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from toca.eval.architectures import Setting, architecture, names
from toca.eval.architectures.stock import latent_of, stock_pipeline
from toca.eval.benchmarks.bench import command, measuring, subjects
from toca.eval.benchmarks.bench.cases import CASES, DEFAULT, PEERS, WHOLE, Divided, find_case
from toca.eval.benchmarks.bench.command import lineup_of
from toca.eval.benchmarks.bench.least import floor_of, of_a_step
from toca.eval.benchmarks.bench.lines import FEWER, FULL, OURS, PEER, TUNED, Found, Line
from toca.eval.benchmarks.bench.measuring import psnr
from toca.eval.benchmarks.bench.pages import page, read, save
from toca.eval.benchmarks.bench.subjects import said, smaller
from toca.eval.benchmarks.bench.verdicts import summary, verdicts
from toca.eval.peers import Peer
from toca.eval.samples.prompts import items_of
from toca.eval.store.store import Store
from toca.eval.timing import speed
from toca.eval.variants import parse_variant
from toca.methods.tuned import Tuned
from toca.pipelines.cli import app
from toca.pipelines.registry import models

# --- cases ---------------------------------------------------------------------------------------------------------


def test_the_default_is_every_embedded_pipeline_and_an_architecture_of_each_kind():
    embedded = [name for name in DEFAULT if CASES[name].embedded]
    assert embedded == [name for name, entry in models().items() if entry.embedded]
    assert set(DEFAULT) - set(embedded) == {"dit-xl", "pixart-256", "flux-dev", "sd3.5-large", "wan2.1-1.3b"}
    assert set(CASES) - set(embedded) == {name for name in names() if architecture(name).pipeline is not None}


@pytest.mark.parametrize("name", CASES)
def test_what_a_case_compares_is_known(name):
    variants = lineup_of(CASES[name], [], every=False, peers=True).variants
    kinds = [type(variant.method) for variant in variants]
    assert sum(issubclass(kind, Peer) for kind in kinds) == len(PEERS)
    assert (Tuned in kinds) == CASES[name].embedded
    assert any(variant.method.name == "none" for variant in variants)


def chosen(variants: list[str], every: bool, peers: bool) -> list[str]:
    return [each.name for each in lineup_of(CASES["flux-dev"], variants, every, peers).variants]


def test_options_choose_what_is_compared(monkeypatch):
    monkeypatch.setattr(command, "every_method", lambda: parse_variant("toca/flux"))
    assert chosen(["fora:interval=2,4"], every=False, peers=False) == ["fora interval=2", "fora interval=4"]
    assert chosen([], every=True, peers=False) == ["toca/flux"]
    everything = chosen([], every=True, peers=True)
    assert everything[0] == "toca/flux" and "fora interval=2" not in everything
    assert {"peer:diffusers-fbcache threshold=0.1", "peer:diffusers-fbcache"} <= set(everything)


# --- architectures, smaller ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in CASES if not CASES[name].embedded])
def test_a_stock_pipeline_of_random_weights_makes_latents(name):
    model = architecture(name)
    frames = 1 if model.defaults.frames == 1 else 5
    setting = replace(model.defaults, height=32, width=32, frames=frames, text_tokens=4)
    stock = stock_pipeline(model, 0.01, setting, 2, torch.device("cpu"), torch.float32)
    stock.pipe.set_progress_bar_config(disable=True)

    def made() -> np.ndarray:
        noise = [torch.Generator().manual_seed(i) for i in range(2)]
        return np.asarray(stock.pipe(**stock.inputs, num_inference_steps=3, generator=noise)[0])

    first = made()
    assert type(stock.pipe).__name__ == model.pipeline.class_name
    assert first.shape[0] == 2 and first[0].size == math.prod(latent_of(model, setting))
    assert np.isfinite(first).all() and not np.array_equal(first[0], first[1])
    assert np.array_equal(first, made())


def test_what_a_model_is_divided_by_is_said():
    model, divided = architecture("flux-dev"), Divided(12, 16, 20)
    setting = smaller(model, divided)
    assert setting == Setting(256, 256, 1, 20, 3.5, 32)
    assert said(model, divided, setting) == (
        "FLUX.1-dev with random weights, made smaller: width 3072 / 12 = 256, blocks 57 / 12 = 5, "
        "tokens 4096 / 16 = 256, text tokens 512 / 16 = 32, steps 50 / 2.5 = 20"
    )
    whole = smaller(model, WHOLE)
    assert whole == model.defaults
    assert said(model, WHOLE, whole) == (
        "FLUX.1-dev with random weights, whole: width 3072, blocks 57, tokens 4096, text tokens 512, steps 50"
    )


def test_a_video_is_divided_in_its_frames_too():
    model = architecture("wan2.1-1.3b")
    setting = smaller(model, Divided(6, 128, 20))
    assert (setting.height, setting.width, setting.frames) == (96, 160, 13)
    assert "tokens 32760 / 128 = 240, text tokens 512 / 128 = 4" in said(model, Divided(6, 128, 20), setting)


def test_compiled_blocks_are_another_model(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(subjects, "compile_all", lambda transformer, classes: compiled.append(classes))
    wanted = subjects.Wanted(scale=24, device="cpu")
    one, two = (
        subjects.model_of(find_case("flux-dev"), each, Store(tmp_path))
        for each in (wanted, replace(wanted, compiled=True))
    )
    assert compiled == [["FluxSingleTransformerBlock", "FluxTransformerBlock"]]
    assert one.subject.identity() != two.subject.identity()
    assert two.about == f"{one.about}, blocks compiled"


# --- the command ---------------------------------------------------------------------------------------------------

SMALL = ["pixart-256", "--scale", "14", "--steps", "6", "--rounds", "2", "--fewer-steps", "3", "--threads", "1"]
CHOSEN = ["--variant", "none", "--variant", "fora:interval=2"]


def bench(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["eval", "bench", *arguments, "--device", "cpu", "--output", str(folder)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return f"{result.exit_code} {result.output}"


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("bench")
    return folder, bench(folder, *SMALL, *CHOSEN)


def test_a_row_for_each_that_can_run_and_a_reason_for_each_that_cannot(ran):
    folder, output = ran
    assert output.startswith("0 "), output
    found = Found.of(json.loads((folder / "pixart-256.json").read_text()))
    assert [line.kind for line in found.lines[:4]] == [FULL, FEWER, OURS, OURS]
    by_name = {line.variant: line for line in found.lines}
    fora = by_name["fora interval=2"]
    assert (fora.steps, fora.rounds, fora.num_inference_steps) == ("FFrFrF", 2, 6)
    assert fora.flops_speedup > 1.3 and fora.cache_bytes > 0 and fora.psnr is not None
    assert by_name["none"].psnr is None and by_name["none"].flops_speedup == 1
    assert by_name["3 steps"].flops_speedup == 2
    for line in found.lines:
        assert line.seconds[1] <= line.seconds[0] <= line.seconds[2] <= line.seconds_end_to_end[2]
        assert line.wall_over_flops == line.wall_speedup[0] / line.flops_speedup
    assert by_name["peer:diffusers-fbcache threshold=0.1"].kind == PEER
    assert "mag_ratios" in found.refused["peer:diffusers-magcache"]
    assert output.count("peer:diffusers-magcache cannot run on pixart-256") == 1
    assert set(found.refused).isdisjoint(by_name)
    assert found.compared.startswith("the latents of random weights")


def test_what_a_step_takes_at_least_is_measured(ran):
    folder, output = ran
    [found] = read(folder)
    floor = found.floor
    assert all(first <= median <= third for median, first, third in (floor.empty, floor.smallest))
    assert 0 < floor.flops < 0.5 and floor.size == "16 x 16 pixels"
    assert floor.text in " ".join(output.split()) and floor.text in (folder / "bench.md").read_text()


def test_the_share_of_a_step_follows_from_that_of_its_run():
    # Three of ten steps are full: a run that takes 0.44 of the full one's time has 0.14 left for seven.
    assert of_a_step((0.44, 0.37, 1.0), "FFaaaaaaaF") == pytest.approx((0.2, 0.1, 1.0))


def test_a_pipeline_of_one_size_has_no_smaller_picture(tmp_path):
    model = subjects.model_of(find_case("fashion"), subjects.Wanted(steps=4, device="cpu"), Store(tmp_path))
    items = items_of(model.subject.prompts[:1], 1)
    floor = floor_of(model.subject, items, 0, 1, Store(tmp_path), "code")
    assert floor.smallest is None and "pixels" not in floor.text
    assert floor_of(model.subject, items, 0, 1, Store(tmp_path), "code") == floor  # as it is on disk


def test_its_files_tell_the_same(ran):
    folder, _ = ran
    [found] = read(folder)
    rows = list(csv.DictReader((folder / "bench.csv").open()))
    assert [row["variant"] for row in rows] == [line.variant for line in found.lines]
    fora = next(line for line in found.lines if line.variant == "fora interval=2")
    row = next(row for row in rows if row["variant"] == "fora interval=2")
    assert tuple(float(row[f"wall_speedup{end}"]) for end in ("", "_q1", "_q3")) == fora.wall_speedup
    text = (folder / "bench.md").read_text()
    assert text == page([found])
    assert "width 1152 / 14 = 72" in text and "| fora interval=2 | ours |" in text
    assert "- peer:diffusers-magcache: MagCache of diffusers needs the ratios of this model" in text


def test_what_is_done_is_not_done_again(ran, monkeypatch):
    folder, _ = ran
    before = (folder / "bench.csv").read_text()
    for place, name in ((measuring.Bench, "_made"), (speed, "VariantWorkload")):
        monkeypatch.setattr(place, name, lambda *_: pytest.fail("it is done again"))
    assert bench(folder, *SMALL, *CHOSEN).startswith("0 ")
    assert (folder / "bench.csv").read_text() == before


def test_a_run_that_is_stopped_goes_on_where_it_stopped(tmp_path, monkeypatch):
    arguments = [*SMALL, *CHOSEN, "--no-peers"]
    append = speed.Rounds.append

    def stop(self, round):
        append(self, round)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(speed.Rounds, "append", stop)
        stopped = bench(tmp_path, *arguments)
        assert stopped.startswith("130 ") and "the same command goes on from here" in stopped
    monkeypatch.setattr(measuring.Bench, "_made", lambda *_: pytest.fail("it is made again"))
    rounds: list[object] = []
    monkeypatch.setattr(speed.Rounds, "append", lambda self, round: rounds.append(round))
    assert bench(tmp_path, *arguments).startswith("0 ")
    assert len(rounds) == 1


def test_what_comes_out_as_no_numbers_is_no_row(tmp_path, monkeypatch):
    made = measuring.Bench._made

    def broken(self, variant):
        if variant.name == "fora interval=2":
            raise ValueError("What comes out is of no numbers (NaN)")
        return made(self, variant)

    monkeypatch.setattr(measuring.Bench, "_made", broken)
    bench(tmp_path, *SMALL, *CHOSEN, "--no-peers", "--rounds", "1")
    [found] = read(tmp_path)
    assert found.refused == {"fora interval=2": "What comes out is of no numbers (NaN)."}
    assert [line.variant for line in found.lines] == ["full", "3 steps", "none"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["flux-pro"], "There is no case 'flux-pro'; the cases are emoji,"),
        (["flux-dev", "--scale", "0.5"], "--scale divides, so it must be at least 1, got 0.5"),
        (["flux-dev", "--variant", "forra"], "forra"),
        (["flux-dev", "--dtype", "float12"], "float12"),
        (["flux-dev", "--compile"], "breaks graphs: add --no-peers."),
        (["fashion", "--batch-size", "11"], "--batch-size 11 is more than the 10 prompts of fashion: take less."),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(measuring.Bench, "measure", lambda *_: pytest.fail("it is measured"))
    output = bench(tmp_path, *arguments)
    assert output[0] in "12" and message in output


# --- figures and words ---------------------------------------------------------------------------------------------


def test_psnr_is_of_each_sample_to_the_range():
    full = np.zeros((3, 2, 2), np.float32)
    ours = full.copy()
    ours[1], ours[2, 0, 0] = 0.1, 0.2
    assert psnr(ours, full, 1.0) == [None, pytest.approx(20, abs=1e-4), pytest.approx(20, abs=1e-4)]
    full[0] = 10.0
    assert psnr(ours, full, None)[1] == pytest.approx(40, abs=1e-4)


def line(
    variant: str, kind: str, wall: float, decibels: float | None, flops: float = 2.0, spread: float = 0.02
) -> Line:
    speedup = (wall, wall - spread, wall + spread)
    one = (1.0, 1.0, 1.0)
    return Line(variant, kind, 20, one, one, speedup, speedup, flops, decibels, 0, None, 3)


def found(*lines: Line, case: str = "emoji") -> Found:
    full = line("full", FULL, 1.0, None, flops=1.0)
    told = {"device": "a CPU", "threads": 1, "torch": "2", "dtype": "float32", "git": None}
    return Found(case, "about", "pictures", "toca eval bench", told, [full, *lines])


def test_a_peer_that_is_faster_at_equal_fidelity_is_said_to_be():
    near, far = line("fora", OURS, 1.4, 40.0), line("tuned", TUNED, 3.0, 30.0)
    told = summary(found(near, far, line("peer:fast", PEER, 1.8, 40.4)))
    assert told == [
        "peer:fast, 1.80x (1.78-1.82) at 40.4 dB: faster than the fastest of ours that is as near the full run, fora, "
        "1.40x (1.38-1.42) at 40.0 dB."
    ]


@pytest.mark.parametrize(
    "theirs, lost, tied",
    [
        (line("peer", PEER, 1.2, 39.0), False, False),  # slower
        (line("peer", PEER, 1.41, 39.0), False, True),  # within the quartiles
        (line("peer", PEER, 1.8, 29.0), False, False),  # slower than what is as far off
        (line("peer", PEER, 1.1, 50.0), True, False),  # nearer than any of ours
        (line("peer", PEER, 1.01, 50.0), False, False),  # and no faster than the full run
        (line("peer", PEER, 1.5, 40.5), True, False),
    ],
)
def test_a_peer_is_beside_the_fastest_of_ours_that_is_as_near(theirs, lost, tied):
    ours = [line("fora", OURS, 1.4, 40.0), line("tuned", TUNED, 3.0, 30.0)]
    [verdict] = verdicts(found(*ours, theirs), PEER)
    assert (verdict.lost, verdict.tied) == (lost, tied)


def test_what_skips_nothing_is_compared_with_nothing():
    idle = line("none", OURS, 1.0, None, flops=1.0)
    told = summary(found(idle, line("fora", OURS, 1.4, 40.0), line("peer:idle", PEER, 1.3, None, flops=1.0)))
    assert told == []
    told = summary(found(idle, line("fora", OURS, 1.4, 40.0), line("10 steps", FEWER, 2.0, 35.0)))
    assert told[0].startswith("10 steps, 2.00x (1.98-2.02) at 35.0 dB: faster")


def test_a_page_holds_all_cases_of_a_folder_and_passes_over_what_is_none(tmp_path, capsys):
    ours = line("fora", OURS, 1.4, 40.0)
    save(found(ours, case="fashion"), tmp_path)
    save(found(ours, line("peer:x", PEER, 1.2, 40.0), case="emoji"), tmp_path)
    (tmp_path / "flux-dev.json").write_text("{}")
    again = read(tmp_path)
    assert [each.case for each in again] == ["emoji", "fashion"] and again[0].floor is None
    assert again[1] == found(ours, case="fashion")
    assert "flux-dev.json is left out of the page: it holds no case of a bench" in capsys.readouterr().err
    text = (tmp_path / "bench.md").read_text()
    assert "- **emoji**: At equal fidelity no peer is faster than ours (1 compared)." in text
    assert "- peer:x, 1.20x (1.18-1.22) at 40.0 dB: slower than fora, 1.40x (1.38-1.42) at 40.0 dB." in text
    assert find_case("emoji").embedded
