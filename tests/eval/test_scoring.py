"""The score stage, with real judges on the pictures of tiny random pipelines."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from tests.eval.test_metrics_inception import empty_network
from tests.eval.test_page import MACHINE, ROWS, named, results
from tests.helpers import FRAMES, LATTE_SIZE, tiny_dit_pipeline, tiny_latte_pipeline, tiny_pixart_pipeline
from toca.eval.config.scores import ScoreSettings
from toca.eval.findings.from_metrics import score_column
from toca.eval.metrics import clip_anytorch, perceptual
from toca.eval.metrics.bootstrap import differences, mean_interval
from toca.eval.metrics.clip_anytorch import AnytorchClip, clip_pictures
from toca.eval.metrics.clip_score import clip_score
from toca.eval.metrics.distribution import FVD, fid
from toca.eval.metrics.features import Features, extract
from toca.eval.metrics.image_reward import ImageReward
from toca.eval.metrics.judge import Judge
from toca.eval.metrics.moments import Moments
from toca.eval.metrics.ms_ssim import ms_ssim
from toca.eval.metrics.pictures import as_pictures
from toca.eval.metrics.quality import quality
from toca.eval.metrics.reference import load_reference
from toca.eval.metrics.scores import Refusal, SampleScores, SetScore
from toca.eval.metrics.tags import DifferentTags, ExtractorTag, ResultTag, file_digest
from toca.eval.metrics.video import motion_psnr, temporal_consistency
from toca.eval.metrics.video_features import as_videos, i3d
from toca.eval.report import Report, ScoreColumn, read_report, write_report
from toca.eval.report.comma_separated import variants_csv
from toca.eval.report.markdown import report as markdown
from toca.eval.report.quality_columns import quality_columns
from toca.eval.samples.pictures import ALL, Gallery
from toca.eval.samples.prompts import Prompt, items_of
from toca.eval.samples.subject import Subject
from toca.eval.scoring import chunk as chunking
from toca.eval.scoring.judges import making
from toca.eval.scoring.judges import videos as judging
from toca.eval.scoring.judges.making import WEIGHTS, Judges
from toca.eval.scoring.plain import from_data, to_data
from toca.eval.scoring.stage import Scores, Scoring
from toca.eval.store.store import Store
from toca.eval.variants import BASELINE, Variant
from toca.pipelines.config import GenerationConfig

from .fidelities import fidelity

pytest.importorskip("clip")
EMOJI = Path(making.WEIGHTS).parents[1] / "emoji" / "reference.safetensors"
FEWER = Variant("2 steps", "fewer steps", steps=2)
VARIANTS = [FEWER, BASELINE]
TEXTS = ("a red owl", "a blue cat", "a star", "the moon", "a dog")


def subject(pipe: Any = None, name: str = "tiny/pixart", texts: tuple[str, ...] = TEXTS, **config: Any) -> Subject:
    size = {"height": 64, "width": 64}
    asked = GenerationConfig(num_inference_steps=3, guidance_scale=1.0, **{**size, **config})
    prompts = [Prompt(i, text) for i, text in enumerate(texts)]
    return Subject(name, pipe or tiny_pixart_pipeline(), asked, prompts, "weights", "float32")


def made(folder: Path, of: Subject, samples: int = 1, batch: int = 26) -> Gallery:
    """A gallery with the pictures of both variants."""
    gallery = Gallery(of, items_of(of.prompts, samples), 0, batch, Store(folder), "code")
    for variant in VARIANTS:
        gallery.make(variant)
    return gallery


def floats(gallery: Gallery) -> list[np.ndarray]:
    """The pictures of both variants before they were rounded, which fidelity is of."""
    return [gallery.load_floats(variant, ALL, range(len(gallery.items))) for variant in VARIANTS]


def scored(gallery: Gallery, folder: Path, **settings: Any) -> Scores:
    return scoring(gallery, folder, **settings).score(VARIANTS)


def scoring(gallery: Gallery, folder: Path, **settings: Any) -> Scoring:
    return Scoring(gallery, Judges.of(ScoreSettings(**settings), gallery.subject), Store(folder))


def labelled(found: Scores) -> dict[str, ScoreColumn]:
    assert len({column.label for column in found.columns}) == len(found.columns)
    return {column.label: column for column in found.columns}


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Gallery:
    return made(tmp_path_factory.mktemp("few"), subject(name="emoji"))


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Gallery:
    return made(tmp_path_factory.mktemp("many"), subject(name="emoji", height=32, width=32), samples=26)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Gallery:
    frames = {"height": LATTE_SIZE["height"], "width": LATTE_SIZE["width"], "num_frames": FRAMES}
    of = subject(tiny_latte_pipeline(), "tiny/latte", TEXTS[:3], **frames)
    return made(tmp_path_factory.mktemp("videos"), of, samples=3, batch=9)


# --- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"fid": True}, "fid"),
        ({"image_reward": 1}, "image_reward"),
        ({"features": 3}, "features"),
        ({"clip": [3]}, "clip"),
        ({"reference_sha256": "abc"}, "reference_sha256"),
        ({"features": "none", "reference": "a.npz"}, "'none', and a.npz is a reference for features"),
        ({"i3d": "a.pt"}, "FVD needs both i3d and i3d_reference, got a.pt and None"),
        ({"i3d_reference": "a.npz"}, "FVD needs both"),
        ({"i3d_reference_sha256": "a" * 64}, "pins the file i3d_reference"),
        ({"clip": ["emoji-clip", "emoji-clip"]}, "names 'emoji-clip' twice"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given, says):
    with pytest.raises(ValidationError, match=says):
        ScoreSettings(**given)


def test_settings_are_read_as_yaml_gives_them():
    settings = ScoreSettings.model_validate({"clip": ["emoji-clip", "ViT-B/32"], "reference": "a.npz"})
    assert (settings.clip, settings.reference) == (("emoji-clip", "ViT-B/32"), Path("a.npz"))
    assert ScoreSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_a_program_is_run_only_if_the_configuration_trusts_it(videos, tmp_path, fvd):
    with pytest.raises(ValueError, match="i3d.pt is a TorchScript program"):
        scored(videos, tmp_path, features="none", **{**fvd, "trust_torchscript": False})


@pytest.mark.parametrize("name", ["reference", "lpips", "i3d", "i3d_reference", "features"])
def test_a_missing_file_is_named_before_anything_is_scored(tmp_path, name):
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.touch()
    other = {"i3d": {"i3d_reference": there}, "i3d_reference": {"i3d": there}}.get(name, {})
    settings = ScoreSettings(**{**other, name: f"inception:{missing}" if name == "features" else missing})
    with pytest.raises(FileNotFoundError, match=f"{name}: there is no file .*missing"):
        Judges.of(settings, subject())


def test_a_judge_that_nobody_knows_is_named(tmp_path):
    with pytest.raises(ValueError, match="vit is neither a file nor a CLIP of OpenAI's"):
        Judges.of(ScoreSettings(clip=["vit"]), subject())
    with pytest.raises(OSError, match=f"{tmp_path}.* could not be loaded as a CLIPModel"):
        Judges.of(ScoreSettings(clip=[f"transformers:{tmp_path}"]), subject())


# --- judges --------------------------------------------------------------------------------------------------------


def test_a_reference_in_the_pipelines_folder_brings_emoji_clip_and_without_one_there_are_no_distributions():
    (judge,) = Judges.of(ScoreSettings(), subject(name="emoji")).judges
    assert judge.metrics == ("FID", "KID", "precision", "recall")
    assert judge.describe()["reference"] == file_digest(EMOJI)
    assert judge.tag.name == "emoji-clip, picture tower"
    for settings, name in ((ScoreSettings(), "tiny/pixart"), (ScoreSettings(features="none"), "emoji")):
        made = Judges.of(settings, subject(name=name))
        assert (made.judges, made.refusals) == ([], [])


def test_a_reference_that_is_not_the_pinned_one_is_refused():
    digest = file_digest(EMOJI)
    assert Judges.of(ScoreSettings(reference_sha256=digest), subject(name="emoji")).judges
    with pytest.raises(ValueError, match=f"has the SHA-256 {digest}, expected aaaa"):
        Judges.of(ScoreSettings(reference_sha256="a" * 64), subject(name="emoji"))
    with pytest.raises(ValueError, match="reference_sha256 is aaaaaaaaaaaa, but the pipeline has no reference"):
        Judges.of(ScoreSettings(reference_sha256="a" * 64), subject())


def test_a_reference_needs_its_extractor(tiny_clip):
    with pytest.raises(ValueError, match="reference.safetensors need an extractor for samples: name it as features"):
        Judges.of(ScoreSettings(reference=EMOJI), subject())
    with pytest.raises(DifferentTags, match="tiny-clip, picture tower and emoji-clip, picture tower"):
        Judges.of(ScoreSettings(reference=EMOJI, features=str(tiny_clip)), subject())


def test_the_pipelines_own_reference_serves_its_own_extractor_only_and_the_report_says_so(few, tmp_path, tiny_clip):
    columns = labelled(scored(few, tmp_path, features=str(tiny_clip)))
    assert set(columns) == {"FID", "KID", "precision", "recall"}
    for label, column in columns.items():
        (reason,) = set(column.refusals.values())
        assert reason.startswith(f"{label} is not computed: ") and set(column.refusals) == {"2 steps", "full"}
        assert re.search(
            r"holds features of emoji-clip, picture tower \(128-d.*, not of tiny-clip, picture tower \(16-d", reason
        )


def test_without_real_pictures_the_report_says_what_to_name(tiny_clip):
    made = Judges.of(ScoreSettings(features=str(tiny_clip)), subject())
    assert made.judges == []
    assert [refusal.metric for refusal in made.refusals] == ["FID", "KID", "precision", "recall"]
    assert "there are no statistics of real pictures; name a file as reference" in made.refusals[0].reason


def test_two_judges_of_one_name_are_refused(tiny_clip, tmp_path):
    (tmp_path / tiny_clip.name).write_bytes(tiny_clip.read_bytes())
    clips = [str(tiny_clip), str(tmp_path / tiny_clip.name)]
    with pytest.raises(ValueError, match="Two judges of the CLIP score are called 'tiny-clip'"):
        Judges.of(ScoreSettings(clip=clips), subject())


# --- quality -------------------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_metrics(many, tmp_path):
    found = labelled(scored(many, many.store.folder, clip=["emoji-clip"]))
    assert list(found) == ["FID", "KID", "precision", "recall", "CLIP score"]
    reference, prompts = load_reference(EMOJI), [item.prompt.id for item in many.items]
    told = {}
    for variant in VARIANTS:
        pictures = many.load(variant)
        for wanted in quality(extract(clip_pictures(WEIGHTS), as_pictures(pictures)), reference):
            shown = found[wanted.metric].scores[variant.name]
            assert (shown.value, shown.deviation) == (wanted.value, wanted.std)
            assert found[wanted.metric].tag == str(wanted.tag)
        told[variant.name] = clip_score(AnytorchClip(WEIGHTS), pictures, [item.prompt.text for item in many.items])
        wanted = mean_interval(told[variant.name].values, prompts)
        shown = found["CLIP score"].scores[variant.name]
        assert (shown.value, shown.low, shown.high) == (wanted.mean, wanted.low, wanted.high)
    gap = mean_interval(differences(told["2 steps"].values, told["full"].values, 1), prompts)
    assert found["CLIP score"].scores["2 steps"].difference == gap
    assert found["CLIP score"].scores["full"].difference is None
    assert found["FID"].scores["2 steps"].difference is None
    assert found["FID"].scores["2 steps"] != found["FID"].scores["full"]
    assert "n = 130" in found["KID"].tag


def test_what_is_below_its_least_number_reaches_the_report_with_its_reason(few, tmp_path):
    columns = labelled(scored(few, tmp_path))
    least = {"FID": 128, "KID": 50, "precision": 100, "recall": 100}
    for label, column in columns.items():
        assert column.scores == {}
        (line,) = column.withheld()
        assert line.startswith(f"{label} is not shown below {least[label]} samples, got 5: ")
        assert line.endswith("(2 variants)")
    assert set(columns) == set(least)


def test_two_judges_of_prompts_stand_apart(few, tmp_path, tiny_clip):
    columns = labelled(scored(few, tmp_path, features="none", clip=["emoji-clip", str(tiny_clip)]))
    assert list(columns) == ["CLIP score (emoji-clip)", "CLIP score (tiny-clip)"]
    ours, theirs = columns.values()
    assert ours.scores != theirs.scores
    assert ours.tag.startswith("emoji-clip, clip-anytorch") and theirs.tag.startswith("tiny-clip, clip-anytorch")
    assert ours.note.startswith("0 prompts were too long")


def test_a_file_of_mean_and_covariance_gives_fid(many, tmp_path, tiny_clip):
    mean, path = np.zeros(16), tmp_path / "statistics.npz"
    np.savez(path, mu=mean, sigma=np.eye(16))
    settings = {"features": str(tiny_clip), "reference": path, "reference_sha256": file_digest(path)}
    columns = labelled(scored(many, many.store.folder, **settings))
    features = extract(clip_pictures(tiny_clip), as_pictures(many.load(FEWER)))
    wanted = fid(Moments.of(features), load_reference(path, features.tag))
    assert columns["FID"].scores["2 steps"].value == wanted.value
    assert "holds only their mean and covariance" in columns["KID"].withheld()[0]


def test_classes_are_prompts(tmp_path):
    of = subject(tiny_dit_pipeline(), "tiny/dit", ("class 1", "class 2"), height=None, width=None)
    gallery = made(tmp_path, of)
    (column,) = scored(gallery, tmp_path, clip=["emoji-clip"]).columns
    wanted = clip_score(AnytorchClip(WEIGHTS), gallery.load(BASELINE), ["class 1", "class 2"])
    assert column.scores["full"].value == pytest.approx(np.mean(wanted.values))


def test_inception_brings_its_score_where_it_has_a_classifier(tmp_path):
    gallery = made(tmp_path, subject(texts=TEXTS[:2]))
    network = empty_network().eval()
    for name, metric in (("whole", "not shown below 5000 samples, got 2"), ("headless", "needs a classifier")):
        if name == "headless":
            nn.init.zeros_(network.fc.weight)
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
        columns = labelled(scored(gallery, tmp_path, features=f"inception:{tmp_path / f'{name}.pth'}"))
        assert list(columns) == ["FID", "KID", "precision", "recall", "Inception Score"]
        assert metric in columns["Inception Score"].withheld()[0]
        assert "no statistics of real pictures" in columns["FID"].withheld()[0]


class Brightness(nn.Linear):
    """Stands in for the model of the package ImageReward, which installs beside old versions of transformers only."""

    blip = SimpleNamespace(tokenizer=lambda text: {"input_ids": text.split()})

    def score(self, prompt, image):
        return np.asarray(image).mean() / 255


def test_image_reward_is_asked_if_it_is_wanted(few, tmp_path, monkeypatch):
    with pytest.raises(ImportError, match="pip install image-reward"):
        scored(few, tmp_path, features="none", image_reward=True)
    package = SimpleNamespace(load=lambda name, device: Brightness(1, 1))
    monkeypatch.setitem(sys.modules, "ImageReward", package)
    (column,) = scored(few, tmp_path, features="none", image_reward=True).columns
    wanted = few.load(FEWER).mean((1, 2, 3, 4)) / 255
    assert (column.label, column.scores["2 steps"].value) == ("ImageReward", pytest.approx(wanted.mean()))


# --- the cache -----------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Which judges are asked, and whose pictures are read: a note for each chunk."""
    calls: list[str] = []

    def noted(original: Callable[..., Any], what: Callable[..., str]) -> Callable[..., Any]:
        return lambda *arguments: calls.append(what(*arguments)) or original(*arguments)

    for cls in Judge.__subclasses__():
        monkeypatch.setattr(cls, "look", noted(cls.look, lambda judge, *_: judge.metrics[0]))
    monkeypatch.setattr(Gallery, "load", noted(Gallery.load, lambda _, variant, place: variant.name))
    return calls


def test_what_is_scored_is_not_scored_again(few, tmp_path, asked):
    first = scored(few, tmp_path, clip=["emoji-clip"])
    assert sorted(asked) == sorted(["FID", "CLIP score"] * 2 + ["2 steps", "full"])
    asked.clear()
    assert scored(few, tmp_path, clip=["emoji-clip"]) == first
    assert asked == []


def test_only_what_is_new_is_scored(few, tmp_path, asked, tiny_clip):
    scored(few, tmp_path, clip=["emoji-clip"])
    asked.clear()
    scored(few, tmp_path, clip=["emoji-clip", str(tiny_clip)])
    assert sorted(asked) == ["2 steps", "CLIP score", "CLIP score", "full"]
    other = replace(few, subject=replace(few.subject, weights="other"))
    asked.clear()
    with pytest.raises(ValueError, match="need at least one array"):
        scored(other, tmp_path, clip=["emoji-clip"])  # those pictures were never made


def test_a_figure_that_is_lost_is_computed_again(few, tmp_path, asked):
    first = scored(few, tmp_path)
    asked.clear()
    (lost,) = (tmp_path / "quality").glob("full_recall-*.json")
    lost.unlink()
    assert scored(few, tmp_path) == first
    assert asked == ["full", "FID"]


def test_another_reference_is_another_figure(many, tmp_path, asked):
    whole = load_reference(EMOJI).features
    half = Features(whole.tag, whole.values[::2], torch.arange(len(whole.values[::2])))
    half.save(tmp_path / "half.safetensors")
    first = labelled(scored(many, many.store.folder))
    asked.clear()
    second = labelled(scored(many, many.store.folder, reference=tmp_path / "half.safetensors"))
    assert asked == ["2 steps", "FID"] * 3 + ["full", "FID"] * 3, "130 samples, 64 at a time"
    assert first["FID"].scores != second["FID"].scores and first["FID"].tag != second["FID"].tag


def test_other_code_computes_anew(few, tmp_path, asked, monkeypatch):
    scored(few, tmp_path)
    asked.clear()
    for module in ("stage", "fidelity"):
        monkeypatch.setattr(f"toca.eval.scoring.{module}.scoring_fingerprint", lambda: "other")
    scored(few, tmp_path)
    assert "FID" in asked


text = st.text(max_size=8)
tags = st.builds(ExtractorTag, text, text, text, st.integers(1, 4096))
number = st.floats(allow_nan=False, allow_infinity=False)
figures = st.one_of(
    st.builds(Refusal, text, text),
    st.builds(SetScore, text, number, st.none() | number, st.builds(ResultTag, tags, text, st.integers(0, 10**6))),
    st.builds(SampleScores, text, st.lists(number).map(tuple), tags, st.none() | st.integers(0, 100)),
)


@given(figures)
def test_a_figure_comes_back_from_the_cache_as_it_was(figure):
    assert from_data(json.loads(json.dumps(to_data(figure)))) == figure


def test_what_is_no_figure_is_refused():
    with pytest.raises(ValueError, match="'Plan' is no kind of figure: delete the file"):
        from_data({"kind": "Plan"})


def test_cached_figures_of_different_judges_are_never_put_together():
    ours = ExtractorTag("a", "a" * 64, "none", 2)
    found = {name: SampleScores("CLIP score", (1.0,), replace(ours, name=name)) for name in "ab"}
    cached = {name: from_data(json.loads(json.dumps(to_data(figure)))) for name, figure in found.items()}
    with pytest.raises(DifferentTags, match="name: a and b"):
        score_column(cached, [0])


# --- fidelity ------------------------------------------------------------------------------------------------------


def test_small_pictures_have_no_ms_ssim_and_the_notes_say_why(few, tmp_path):
    found = scored(few, tmp_path)
    perceptual = Judges.of(ScoreSettings(), few.subject).perceptual
    assert found.fidelity["2 steps"] == fidelity(*floats(few), perceptual)
    assert list(found.metrics) == list(found.fidelity["2 steps"]) == ["psnr", "ssim", "perceptual"]
    assert found.perceptual == "encoder of the pipeline's own VAE"
    assert found.fidelity["full"]["psnr"] == [None] * 5
    (note,) = found.notes
    assert note.startswith("MS-SSIM is not shown below 176 pixels, got 64 x 64: ")


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Gallery:
    return made(tmp_path_factory.mktemp("large"), subject(texts=TEXTS[:3], height=192, width=192))


def test_large_pictures_have_ms_ssim(large, tmp_path):
    found = scored(large, tmp_path)
    assert found.fidelity["2 steps"]["ms_ssim"] == ms_ssim(*floats(large))
    assert found.fidelity["full"]["ms_ssim"] == pytest.approx([1, 1, 1], abs=1e-5)
    assert (found.metrics["ms_ssim"].label, found.metrics["ms_ssim"].sign, found.notes) == ("MS-SSIM", 1, [])


# --- videos --------------------------------------------------------------------------------------------------------


class Colours(nn.Module):
    """A network of videos that looks at the mean colour."""

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        return videos.mean((2, 3, 4))


@pytest.fixture(scope="module")
def fvd(tmp_path_factory, videos) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("fvd")
    torch.jit.script(Colours()).save(str(folder / "i3d.pt"))
    real = np.random.default_rng(0).integers(0, 256, (8, FRAMES, 32, 32, 3), dtype=np.uint8)
    extract(i3d(folder / "i3d.pt", FRAMES, trust_torchscript=True), as_videos(real)).save(folder / "real.safetensors")
    return {"i3d": folder / "i3d.pt", "i3d_reference": folder / "real.safetensors", "trust_torchscript": True}


def test_videos_have_fvd_temporal_consistency_and_motion(videos, tmp_path, fvd):
    found = scored(videos, tmp_path, features="emoji-clip", reference=EMOJI, clip=["emoji-clip"], **fvd)
    columns, pictures = labelled(found), videos.load(FEWER)
    wanted = temporal_consistency(clip_pictures(WEIGHTS), pictures)
    shown = columns["temporal consistency"].scores["2 steps"]
    assert shown.value == pytest.approx(np.mean(wanted.values)) and shown.difference is not None
    extractor = i3d(fvd["i3d"], FRAMES, trust_torchscript=True)
    distance = fid(Moments.of(extract(extractor, as_videos(pictures))), load_reference(fvd["i3d_reference"]), FVD)
    assert columns["FVD"].scores["2 steps"].value == pytest.approx(distance.value)
    assert f"n = {len(pictures)}" in columns["FVD"].tag
    assert found.fidelity["2 steps"]["motion_psnr"] == motion_psnr(*floats(videos))
    assert found.metrics["motion_psnr"].label == "motion PSNR dB"
    assert columns["CLIP score"].scores["full"].value > 0
    assert f"got {len(pictures) * FRAMES}" in columns["FID"].withheld()[0]
    assert columns["FID"].note == f"n counts frames, {FRAMES} of each video, which are not independent."


def test_pictures_have_no_fvd_and_the_report_says_so(few, tmp_path, fvd):
    columns = labelled(scored(few, tmp_path, features="none", **fvd))
    assert columns["FVD"].withheld() == ["FVD is of videos, and these samples are pictures. (2 variants)"]


def test_a_length_that_is_not_told_is_the_pipelines_own():
    assert making._frames(subject(tiny_latte_pipeline(), "tiny/latte")) == 16
    assert making._frames(subject()) == 1


# --- chunks --------------------------------------------------------------------------------------------------------


LONG = "a very " * 80 + "red owl"
"""Too long for CLIP and for ImageReward."""


def scored_in_chunks(gallery: Gallery, folder: Path, size: int, **wanted: Any) -> Scores:
    """Computed anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "CHUNK", size)
        return scored(gallery, folder / f"{size}", **wanted)


def test_chunks_of_whole_batches_give_the_figures_of_all_samples_at_once(many, tmp_path):
    whole = scored_in_chunks(many, tmp_path, len(many.items), clip=["emoji-clip"])
    assert scored_in_chunks(many, tmp_path, chunking.CHUNK, clip=["emoji-clip"]) == whole
    shown = labelled(whole)
    assert all(set(shown[label].scores) == {"2 steps", "full"} for label in ("FID", "KID", "precision", "recall"))
    distance = Judges.of(ScoreSettings(), many.subject).perceptual
    assert whole.fidelity["2 steps"] == fidelity(*floats(many), distance)


@pytest.fixture(scope="module")
def chunked(tmp_path_factory) -> Gallery:
    """Videos whose prompts come again in other chunks, one that is cut among them."""
    frames = {"height": LATTE_SIZE["height"], "width": LATTE_SIZE["width"], "num_frames": FRAMES}
    of = subject(tiny_latte_pipeline(), "tiny/latte", ("a red owl", LONG, "a dog"), **frames)
    return made(tmp_path_factory.mktemp("chunked"), of, samples=3, batch=9)


@pytest.fixture(scope="module")
def every_judge(tmp_path_factory) -> Any:
    """Settings for all judges that work offline. Batches are of one, so that any size is a whole number of them."""
    folder, model = tmp_path_factory.mktemp("every"), Brightness(1, 1)
    torch.jit.script(Colours()).save(str(folder / "i3d.pt"))
    real = np.random.default_rng(0).integers(0, 256, (8, FRAMES, 32, 32, 3), dtype=np.uint8)
    extract(i3d(folder / "i3d.pt", FRAMES, trust_torchscript=True), as_videos(real)).save(folder / "real.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ImageReward", SimpleNamespace(load=lambda name, device: model))
        patch.setattr(extract, "__defaults__", (None, 1))
        for module, name in ((clip_anytorch, "BATCH"), (perceptual, "CHUNK"), (judging, "VIDEOS")):
            patch.setattr(module, name, 1)
        yield {
            "features": "emoji-clip",
            "reference": EMOJI,
            "clip": ["emoji-clip"],
            "image_reward": True,
            "i3d": folder / "i3d.pt",
            "i3d_reference": folder / "real.safetensors",
            "trust_torchscript": True,
        }


@pytest.fixture(scope="module")
def at_once(chunked, tmp_path_factory, every_judge) -> Scores:
    return scored_in_chunks(chunked, tmp_path_factory.mktemp("at_once"), len(chunked.items), **every_judge)


@hypothesis.settings(max_examples=3, deadline=None)
@given(size=st.integers(1, 10))
def test_figures_do_not_depend_on_chunks(chunked, tmp_path_factory, every_judge, at_once, size):
    assert scored_in_chunks(chunked, tmp_path_factory.mktemp("chunks"), size, **every_judge) == at_once


def test_at_once_every_judge_finds_what_the_metrics_find(chunked, every_judge, at_once):
    found, pictures = labelled(at_once), chunked.load(FEWER)
    prompts, ids = [item.prompt.text for item in chunked.items], [item.prompt.id for item in chunked.items]
    wanted = {
        "CLIP score": clip_score(AnytorchClip(WEIGHTS), pictures, prompts),
        "temporal consistency": temporal_consistency(clip_pictures(WEIGHTS), pictures),
        "ImageReward": ImageReward()(pictures, prompts),
    }
    for label, scores in wanted.items():
        assert found[label].scores["2 steps"].value == mean_interval(scores.values, ids).mean
    assert wanted["CLIP score"].truncated == wanted["ImageReward"].truncated == 1
    assert all(found[label].note.startswith("1 prompts were too long") for label in ("CLIP score", "ImageReward"))
    assert found["FVD"].scores.keys() == {"2 steps", "full"}
    perceptual = Judges.of(ScoreSettings(), chunked.subject).perceptual
    pair = floats(chunked)
    assert at_once.fidelity["2 steps"] == {**fidelity(*pair, perceptual), "motion_psnr": motion_psnr(*pair)}


def test_large_pictures_have_the_same_ms_ssim_in_chunks(large, tmp_path):
    pair = floats(large)
    found = scored_in_chunks(large, tmp_path, 2, features="none")
    assert found.fidelity["2 steps"]["ms_ssim"] == ms_ssim(*pair)
    assert found.fidelity["2 steps"]["ssim"] == fidelity(*pair, None)["ssim"]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_of_each_variant_no_more_than_one_chunk_is_in_memory(few, tmp_path, monkeypatch, size):
    original, alive, most = Gallery.load, [], []

    def watched(self: Gallery, variant: Variant, place: slice = ALL) -> np.ndarray:
        # Before it is read: whatever is there now is there beside it.
        there = [(name, at) for name, at, array in alive if array() is not None]
        assert variant.name not in [name for name, _ in there] and {at for _, at in there} <= {place.start}
        taken = original(self, variant, place)
        alive.append((variant.name, place.start, weakref.ref(taken)))
        most.append(len(taken))
        return taken

    monkeypatch.setattr(Gallery, "load", watched)
    scored_in_chunks(few, tmp_path, size, clip=["emoji-clip"])
    # The CLIP looks at the pictures of two variants; fidelity takes them a few at a time, before they were rounded.
    assert max(most) == size and sum(most) == 2 * len(few.items)
    assert all(array() is None for _, _, array in alive)


# --- the report ----------------------------------------------------------------------------------------------------


@pytest.fixture
def columns() -> list[ScoreColumn]:
    tag = ExtractorTag("net", "a" * 64, "none", 2)
    values = {"random": (3.0, 5.0, 4.0), "20 steps": (3.0, 2.0, 1.0)}
    found = {name: SampleScores("CLIP score", taken, tag, 1) for name, taken in values.items()}
    refused = {name: Refusal("FID", "FID is not shown below 2 samples.") for name in values}
    return [score_column(found, [0, 1, 2], "20 steps"), score_column(refused, [])]


def given_report(columns: list[ScoreColumn]) -> Report:
    return Report(results(), MACHINE, scores=columns)


def test_differences_to_the_full_run_have_a_column(columns):
    told = {column.label: column for column in quality_columns(columns)}
    assert list(told) == ["CLIP score", "CLIP score, to full", "FID"]
    random = next(row for row in ROWS if row.name == "random")
    cell = told["CLIP score, to full"].cell(random)
    assert cell.text == "+2.00" and cell.detail.startswith("[+0.00, +3.00") and cell.order == 2
    full = named("20 steps", "fewer steps", 2.0, [None] * 3)
    assert told["CLIP score, to full"].cell(full).text == told["FID"].cell(full).text == "–"
    assert told["CLIP score"].cell(full).text == "2.00"


def test_quality_stands_in_markdown(columns):
    page = markdown(results(), MACHINE, [], columns)
    part = page.split("## Quality\n")[1].split("\n## ")[0]
    line = next(line for line in part.splitlines() if line.startswith("| random |"))
    assert [cell.strip() for cell in line.strip("|").split("|")][1:] == [
        "4.00 [3.00, 5.00]",
        "+2.00 [+0.00, +3.00]",
        "–",
    ]
    assert "- CLIP score: net (2-d, none, weights aaaaaaaaaaaa)." in part
    assert "- CLIP score: 1 prompts were too long" in part
    assert "- FID is not shown below 2 samples. (2 variants)" in part
    assert "## Quality" not in markdown(results(), MACHINE, [])


def test_differences_are_in_the_csv_and_come_back_from_json(columns, tmp_path, without_plots):
    report = given_report(columns)
    lines = {line["variant"]: line for line in csv.DictReader(io.StringIO(variants_csv(report)))}
    assert float(lines["random"]["CLIP score_to_full"]) == 2
    assert lines["20 steps"]["CLIP score_to_full"] == ""
    paths = write_report(report, tmp_path)
    assert "## Quality" in paths[1].read_text(encoding="utf-8")
    assert read_report(paths[-1]).scores == columns
