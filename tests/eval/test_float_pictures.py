"""Fidelity is computed of pictures before they are rounded to 8 bits, which are kept beside their files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.eval.test_fidelity import naive_psnr, naive_ssim, pictures
from tests.eval.test_pictures import TEACACHE, gallery
from tests.helpers import FRAMES, LATTE_SIZE, tiny_dit_pipeline, tiny_latte_pipeline, tiny_pixart_pipeline
from toca.eval.metrics.fidelity import PSNR, SSIM
from toca.eval.metrics.metric import FLOAT
from toca.eval.metrics.ms_ssim import ms_ssim
from toca.eval.metrics.perceptual import vae_distance
from toca.eval.metrics.tags import DifferentTags
from toca.eval.metrics.video import motion_psnr
from toca.eval.samples import pictures as galleries
from toca.eval.samples import running
from toca.eval.samples.pictures import Gallery, VariantFailed
from toca.eval.samples.prompts import items_of
from toca.eval.samples.running import run_items
from toca.eval.scoring import fidelity as stage
from toca.eval.scoring.fidelity import Fidelity
from toca.eval.store.store import Store
from toca.eval.variants import BASELINE, Variant

from .fidelities import fidelity
from .test_scoring import subject

FEWER = Variant("2 steps", "fewer steps", steps=2)
SIZE = {"height": LATTE_SIZE["height"], "width": LATTE_SIZE["width"]}
SUBJECTS = {
    "pixart": lambda: subject(tiny_pixart_pipeline()),
    "dit": lambda: subject(tiny_dit_pipeline(), texts=("1", "207", "3", "4", "5"), height=None, width=None),
    "latte": lambda: subject(tiny_latte_pipeline(), texts=("a red owl", "a dog"), num_frames=FRAMES, **SIZE),
}


def near(distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures as floats, apart by about so much of their range."""
    generator = np.random.default_rng(3)
    first = generator.random((2, 1, 16, 16, 3), dtype=np.float32)
    return first, np.clip(first + distance * generator.standard_normal(first.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("decibels", [40, 60, 80, 100, 120])
def test_psnr_of_floats_has_no_end_near_that_of_8_bits(decibels: int) -> None:
    ours, theirs = near(10 ** (-decibels / 20))
    found = fidelity(ours, theirs, None)[PSNR]
    wanted = [naive_psnr(255 * a.astype(float), 255 * b.astype(float)) for a, b in zip(ours, theirs, strict=True)]
    assert found == pytest.approx(wanted, abs=1e-4) and found == pytest.approx([decibels] * 2, abs=0.5)
    rounded = fidelity(*((each * 255).round().astype(np.uint8) for each in (ours, theirs)), None)[PSNR]
    assert decibels < 60 or all(value is None or abs(value - decibels) > 1 for value in rounded)


def test_floats_on_the_levels_of_8_bits_have_the_figures_of_8_bits() -> None:
    eight = pictures(side=176, samples=1), pictures(side=176, samples=1, seed=1)
    floats = [(each / 255).astype(np.float32) for each in eight]
    for metric in (PSNR, SSIM):
        assert fidelity(*floats, None)[metric] == pytest.approx(fidelity(*eight, None)[metric], abs=1e-5)
    assert ms_ssim(*floats) == pytest.approx(ms_ssim(*eight), abs=1e-5)
    videos = [np.concatenate([each, each[::-1, :, ::-1]], axis=1) for each in (*eight, *floats)]
    assert motion_psnr(*videos[2:]) == pytest.approx(motion_psnr(*videos[:2]), abs=1e-4)


def test_ssim_of_floats_is_the_formula() -> None:
    ours, theirs = near(0.05)
    wanted = [np.mean([naive_ssim(255 * a[0, :, :, c], 255 * b[0, :, :, c]) for c in range(3)])
              for a, b in zip(ours, theirs, strict=True)]  # fmt: skip
    assert fidelity(ours, theirs, None)[SSIM] == pytest.approx(wanted, abs=1e-6)


def test_a_perceptual_distance_sees_what_8_bits_hide() -> None:
    distance = vae_distance(tiny_pixart_pipeline())
    ours, theirs = (torch.from_numpy(each[:, 0]).permute(0, 3, 1, 2) for each in near(1e-4))
    assert 0 < distance(ours, theirs).min() < 1e-3
    assert torch.equal(distance(ours, ours), torch.zeros(2))


def test_one_float_apart_is_not_identical() -> None:
    ours, _ = near(0)
    theirs = ours.copy()
    theirs[0, 0, 0, 0, 0] = np.nextafter(theirs[0, 0, 0, 0, 0], np.float32(2))
    first, second = fidelity(ours, theirs, None)[PSNR]
    assert first is not None and first > 150 and second is None


def test_floats_and_8_bits_are_never_compared() -> None:
    with pytest.raises(ValueError, match="uint8 array"):
        fidelity(near(0)[0], pictures(2, side=16), None)


@pytest.mark.parametrize("family", SUBJECTS)
def test_files_are_what_the_pipeline_hands_out_and_floats_what_they_were_rounded_from(family: str) -> None:
    of = SUBJECTS[family]()
    items = items_of(of.prompts[:2], 1)
    plain, both = run_items(of, FEWER, items, 0), run_items(of, FEWER, items, 0, floats=True)
    assert plain.floats is None and both.floats is not None and both.floats.dtype == np.float32
    assert both.floats.min() >= 0 and both.floats.max() <= 1
    wanted = np.stack([[np.asarray(frame.convert("RGB")) for frame in frames] for frames in plain.frames])
    assert np.array_equal(np.stack([[np.asarray(frame) for frame in frames] for frames in both.frames]), wanted)
    assert np.abs(both.floats * 255 - wanted).max() <= 0.5 + 1e-4
    assert both.facts == plain.facts


def test_a_pipeline_that_hands_out_nothing_finer_is_measured_by_its_files(tmp_path: Path, monkeypatch) -> None:
    for module in (running, galleries):
        monkeypatch.setattr(module, "as_floats", lambda pipe: {})
    made = gallery(tmp_path)
    for variant in (BASELINE, FEWER):
        made.make(variant)
    found = Fidelity(made, None, Store(tmp_path))
    assert not list(tmp_path.rglob("*.npy")) and not made.has_floats(BASELINE)
    assert found.of(FEWER)["psnr"] == fidelity(made.load(FEWER), made.load(BASELINE), None)["psnr"]
    assert {heading.tag for heading in found.metrics.values()} == {""}


def kept(folder: Path) -> Gallery:
    made = gallery(folder)
    for variant in (BASELINE, FEWER):
        made.make(variant)
    return made


def test_figures_are_of_the_floats_and_say_so(tmp_path: Path) -> None:
    made = kept(tmp_path)
    found = Fidelity(made, None, Store(tmp_path))
    everything = range(len(made.items))
    pair = (made.load_floats(each, slice(None), everything) for each in (FEWER, BASELINE))
    assert found.of(FEWER)["psnr"] == fidelity(*pair, None)["psnr"]
    assert found.metrics["psnr"].tag == FLOAT and found.metrics["psnr"].text == "PSNR dB, float"
    assert found.of(BASELINE)["psnr"] == [None] * len(made.items)


def test_floats_are_never_taken_for_8_bits(tmp_path: Path, monkeypatch) -> None:
    made = kept(tmp_path)
    with_floats = Fidelity(made, None, Store(tmp_path)).of(FEWER)
    monkeypatch.setattr(Gallery, "has_floats", lambda self, variant: False)
    assert Fidelity(made, None, Store(tmp_path)).of(FEWER)["psnr"] != with_floats["psnr"], "figures of another tag"
    monkeypatch.setattr(Gallery, "has_floats", lambda self, variant: variant == BASELINE)
    with pytest.raises(DifferentTags, match="'teacache' and of the full run were not kept alike"):
        Fidelity(made, None, Store(tmp_path)).tasks(TEACACHE)


def test_a_damaged_float_picture_is_named_and_made_again(tmp_path: Path) -> None:
    made = kept(tmp_path)
    path = sorted(tmp_path.rglob("*.npy"))[3]
    before = path.read_bytes()
    for damage in (lambda: path.write_bytes(before[:-4] + b"\0\0\0\1"), path.unlink):
        damage()
        with pytest.raises(ValueError, match=f"{path.name} is damaged or gone: run the stage `generate` again"):
            made.facts(BASELINE if "full" in path.parent.name else FEWER)
        kept(tmp_path)
        assert path.read_bytes() == before


def test_no_more_than_a_group_of_floats_is_in_memory(tmp_path: Path, monkeypatch) -> None:
    made, original, most = kept(tmp_path), Gallery.load_floats, []

    def watched(self, variant, place, chosen):
        most.append(len(chosen))
        return original(self, variant, place, chosen)

    def never(self, variant, place):
        raise AssertionError("8 bits are not read for fidelity")

    monkeypatch.setattr(Gallery, "load_floats", watched)
    monkeypatch.setattr(Gallery, "load", never)
    monkeypatch.setattr(stage, "FEW", 4)
    Fidelity(made, vae_distance(made.subject.pipe), Store(tmp_path)).of(FEWER)
    assert max(most) == 4


def test_a_picture_of_no_numbers_is_a_failure(tmp_path: Path, monkeypatch) -> None:
    made = gallery(tmp_path)
    original = type(made.subject.pipe.vae).decode

    def broken(*arguments, **options):
        return tuple(part * float("nan") for part in original(*arguments, **options))

    monkeypatch.setattr(type(made.subject.pipe.vae), "decode", broken)
    with pytest.raises(VariantFailed, match="of no numbers"):
        made.make(FEWER)


def test_without_floats_there_are_none_and_the_run_is_another(tmp_path: Path) -> None:
    made = replace(gallery(tmp_path), floats=False)
    made.make(FEWER)
    assert not list(tmp_path.rglob("*.npy")) and Image.open(next(tmp_path.rglob("*.png"))).size == (64, 64)
    assert gallery(tmp_path).key(FEWER) != made.key(FEWER)
