"""Figures of each sample: MS-SSIM, video, and the adapters of other packages."""

from __future__ import annotations

import json
import math
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from toca.eval.metrics.clip_anytorch import AnytorchClip, clip_pictures
from toca.eval.metrics.distribution import FVD, fid
from toca.eval.metrics.extractors import ModuleExtractor
from toca.eval.metrics.features import extract
from toca.eval.metrics.hps import HumanPreference
from toca.eval.metrics.image_reward import ImageReward
from toca.eval.metrics.moments import Moments
from toca.eval.metrics.ms_ssim import ms_ssim
from toca.eval.metrics.reference import load_reference
from toca.eval.metrics.scores import Refusal
from toca.eval.metrics.tags import file_digest
from toca.eval.metrics.vbench import vbench_scores
from toca.eval.metrics.video import motion_psnr, temporal_consistency
from toca.eval.metrics.video_features import as_videos, i3d


def videos(samples: int = 3, frames: int = 4, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (samples, frames, side, side, 3), dtype=np.uint8)


class Means(nn.Module):
    """The mean of each channel."""

    def forward(self, x):
        return x.mean((2, 3))


# --- MS-SSIM -------------------------------------------------------------------------------------------------------


def test_ms_ssim_is_that_of_each_sample():
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    a = np.repeat(np.repeat(videos(2, 2, side=11), 16, axis=2), 16, axis=3)
    b = np.clip(a.astype(int) + videos(2, 2, side=176, seed=1) // 4 - 30, 0, 255).astype(np.uint8)
    b[0, 0] = a[0, 0]

    def of_frame(i: int, j: int, dtype: torch.dtype) -> float:
        ours, theirs = (torch.from_numpy(x[i, j]).permute(2, 0, 1)[None].to(dtype) for x in (a, b))
        return multiscale_structural_similarity_index_measure(ours, theirs, data_range=255.0).item()

    frames = [of_frame(i, j, torch.float32) for i in range(2) for j in range(2)]
    assert frames[3] == pytest.approx(of_frame(1, 1, torch.float64), abs=1e-5)
    assert frames[0] == pytest.approx(1, abs=1e-5) and 0.1 < frames[3] < 0.99
    assert ms_ssim(a, b) == pytest.approx([np.mean(frames[:2]), np.mean(frames[2:])], abs=1e-5)


def test_ms_ssim_of_small_pictures_is_refused_with_the_size():
    found = ms_ssim(videos(side=175), videos(side=175))
    assert isinstance(found, Refusal)
    assert "not shown below 176 pixels, got 175 x 175" in found.reason


def test_pictures_of_two_sizes_are_not_compared():
    for metric in (ms_ssim, motion_psnr):
        with pytest.raises(ValueError, match="cannot be compared with"):
            metric(videos(), videos(side=9))


# --- video ---------------------------------------------------------------------------------------------------------


def test_temporal_consistency_is_the_mean_cosine_of_neighbouring_frames():
    taken = videos()
    taken[1] = taken[1, :1]
    extractor = ModuleExtractor(Means(), "means", 8)
    means = taken.astype(float).mean((2, 3)) / 255
    wanted = [
        np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(video[1:], video[:-1], strict=True)])
        for video in means
    ]
    found = temporal_consistency(extractor, taken)
    assert found.values == pytest.approx(wanted, abs=1e-5)
    assert found.values[1] == pytest.approx(1) and found.values[0] < 0.9999
    assert (found.tag, found.truncated) == (extractor.tag, None)


def test_motion_psnr_is_that_of_the_changes():
    a, b = videos(), videos(seed=1)
    changes = [np.diff(x[0].astype(float), axis=0) for x in (a, b)]
    wanted = 10 * math.log10(255**2 / ((changes[0] - changes[1]) ** 2).mean())
    assert motion_psnr(a, b)[0] == pytest.approx(wanted)


def test_an_error_that_stays_in_place_is_no_motion():
    a = videos() // 2
    b = a.copy()
    b[0] += videos(1, 1)[0] // 4  # the same in every frame
    b[1, 2] += 9  # in one frame
    found = motion_psnr(b, a)
    assert found[0] is None and found[2] is None
    # Two changes of three are off by 9.
    assert found[1] == pytest.approx(10 * math.log10(255**2 / (81 * 2 / 3)))


def test_a_picture_has_no_motion():
    extractor = ModuleExtractor(Means(), "means", 8)
    for found in (motion_psnr(videos(frames=1), videos(frames=1)), temporal_consistency(extractor, videos(frames=1))):
        assert "needs at least 2 frames, got 1" in found.reason


class Still(nn.Module):
    """A network of videos that looks at the mean colour and how it changes."""

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        colour = videos.mean((3, 4))
        return torch.cat([colour.mean(2), colour[:, :, 1:].sub(colour[:, :, :-1]).square().mean(2)], 1)


class Switched(nn.Module):
    """As StyleGAN-V's file: features only if asked for."""

    def forward(self, videos: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        means = videos.mean((2, 3, 4))
        return means if return_features else means[:, :1]


class Touching:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def script(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))
    return path


def test_fvd_is_the_frechet_distance_of_an_i3d_that_the_user_names(tmp_path):
    extractor = i3d(script(Still(), tmp_path / "my-i3d.pt"), frames=4, trust_torchscript=True)
    assert (extractor.tag.name, extractor.tag.dimension) == ("my-i3d", 6)
    assert extractor.tag.weights == file_digest(tmp_path / "my-i3d.pt")
    assert extractor.tag.resize == "bilinear to 224 x 224, on float; 4 frames"
    real, same = (extract(extractor, as_videos(videos(8, seed=seed)), batch=3) for seed in (0, 1))
    dark = extract(extractor, as_videos(videos(8, seed=2) // 4))
    real.save(tmp_path / "reference.safetensors")
    reference = load_reference(tmp_path / "reference.safetensors")
    near, far = (fid(Moments.of(features), reference, metric=FVD) for features in (same, dark))
    assert near.metric == "FVD" and near.value < far.value / 5
    means = as_videos(videos(8)).double().mean((1, 3, 4)) / 127.5 - 1
    assert torch.allclose(real.values[:, :3].double(), means, atol=1e-5)
    few = extract(extractor, as_videos(videos(5)))
    assert "FVD is not shown below 6 samples, got 5" in fid(Moments.of(few), reference, metric=FVD).reason


def test_a_switch_for_features_is_set(tmp_path):
    extractor = i3d(script(Switched(), tmp_path / "i3d.pt"), frames=2, trust_torchscript=True)
    assert extractor.tag.dimension == 3


def test_videos_of_another_length_are_refused(tmp_path):
    extractor = i3d(script(Still(), tmp_path / "i3d.pt"), frames=4, trust_torchscript=True)
    with pytest.raises(ValueError, match=r"\(N, 4, 3, height, width\), got torch.uint8 of \(3, 5, 3, 8, 8\)"):
        extract(extractor, as_videos(videos(frames=5)))


def test_a_file_that_is_no_torchscript_is_refused(tmp_path):
    (tmp_path / "i3d.pt").write_text("hello")
    with pytest.raises(ValueError, match="i3d.pt is no TorchScript file"):
        i3d(tmp_path / "i3d.pt", frames=4)


def test_a_program_that_nobody_trusts_is_refused(tmp_path):
    path = script(Still(), tmp_path / "i3d.pt")
    for load in (partial(i3d, frames=4), AnytorchClip, clip_pictures):
        with pytest.raises(ValueError, match="i3d.pt is a TorchScript program.*--trust-torchscript"):
            load(path)


def test_a_pickle_that_runs_code_is_no_clip(tmp_path):
    torch.save({"weight": Touching(tmp_path / "touched")}, tmp_path / "clip.pt")
    with pytest.raises(ValueError, match="clip.pt is no file of CLIP weights"):
        AnytorchClip(tmp_path / "clip.pt")
    assert not (tmp_path / "touched").exists()


def test_a_network_that_returns_maps_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"maps must return \(N, dimension\) for N videos, got \(1, 3, 2, 224, 224\)"):
        i3d(script(nn.Identity(), tmp_path / "maps.pt"), frames=2, trust_torchscript=True)


# --- adapters ------------------------------------------------------------------------------------------------------


class Brightness(nn.Linear):
    """Stands in for the package's model."""

    blip = SimpleNamespace(tokenizer=lambda text: {"input_ids": text.split()})

    def score(self, prompt, image):
        return np.asarray(image).mean() * len(prompt)


def test_image_reward_is_asked_for_every_frame(monkeypatch):
    asked = []
    package = SimpleNamespace(load=lambda name, device: asked.append((name, device)) or Brightness(1, 1))
    monkeypatch.setitem(sys.modules, "ImageReward", package)
    taken, prompts = videos(3), ["ab", "owl " * 36, "ab"]
    found = ImageReward()(taken, prompts)
    assert asked == [("ImageReward-v1.0", "cpu")]
    wanted = [taken[i].astype(float).mean() * len(prompt) for i, prompt in enumerate(prompts)]
    assert found.values == pytest.approx(wanted)
    assert (found.truncated, found.tag.name) == (1, "ImageReward-v1.0")
    with pytest.raises(ValueError, match="got 1 for 3 samples"):
        ImageReward()(taken, ["ab"])


class Likeness(nn.Linear):
    """Stands in for the network of HPS: returns what version 1.2.0 of its package reads from it."""

    def forward(self, pictures, tokens):
        features = pictures.mean((1, 2, 3), keepdim=True).flatten(1)
        return {"image_features": features, "text_features": tokens.float()}


def test_hps_keeps_one_model_and_asks_it_for_every_frame(monkeypatch, tmp_path):
    network, made = Likeness(1, 1), []
    torch.save({"state_dict": {"weight": torch.ones(1, 1), "bias": torch.zeros(1)}, "epoch": 3}, tmp_path / "hps.pt")
    package = SimpleNamespace(
        initialize_model=lambda: made.append(network),
        model_dict={"model": network, "preprocess_val": lambda picture: torch.tensor(np.array(picture) / 255).float()},
        get_tokenizer=lambda name: lambda texts: torch.tensor([[len(text)] for text in texts]),
        hps_version_map={"v2.1": "HPS_v2.1_compressed.pt"},
    )
    monkeypatch.setitem(sys.modules, "hpsv2", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "hpsv2.img_score", package)
    taken, prompts = videos(3), ["ab", "owl", "ab"]
    judge = HumanPreference(weights=str(tmp_path / "hps.pt"))
    found = judge(taken, prompts)
    wanted = [taken[i].astype(float).mean() / 255 * len(prompt) for i, prompt in enumerate(prompts)]
    assert found.values == pytest.approx(wanted) and found.tag.name == "HPS v2.1"
    assert made == [network] and network.weight.item() == 1
    with pytest.raises(ValueError, match="got 1 for 3 samples"):
        judge(taken, ["ab"])


class FakeVBench:
    """Writes what VBench writes."""

    def __init__(self, device, full_info_dir, output_path):
        self.output = Path(output_path)

    def evaluate(self, videos_path, name, prompt_list, dimension_list, mode):
        assert mode == "custom_input"
        files = [{"video_path": f"{videos_path}/{file}", "video_results": len(p)} for file, p in prompt_list.items()]
        written = {dimension: [0.5, files] for dimension in dimension_list}
        (self.output / f"{name}_eval_results.json").write_text(json.dumps(written))


def test_vbench_scores_the_files_of_a_folder(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "vbench", SimpleNamespace(VBench=FakeVBench))
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "p0.mp4").touch()
    (folder / "p1.mp4").touch()
    (folder / "notes.txt").touch()
    prompts = {"p0.mp4": "an owl", "p1.mp4": "owl"}
    found = vbench_scores(folder, prompts, tmp_path, ["motion_smoothness"], "cpu")
    assert found == {"motion_smoothness": {"p0.mp4": 6, "p1.mp4": 3}}
    with pytest.raises(ValueError, match="differ by 'p1.mp4'"):
        vbench_scores(folder, {"p0.mp4": "an owl"}, tmp_path)
    with pytest.raises(ValueError, match="no 'scene' of any video: choose from subject_consistency"):
        vbench_scores(folder, prompts, tmp_path, ["scene"])


def test_without_the_packages_it_says_what_to_install(monkeypatch, tmp_path):
    for name in ("ImageReward", "vbench", "hpsv2.img_score"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="ImageReward needs the module ImageReward .*pip install image-reward"):
        ImageReward()
    with pytest.raises(ImportError, match="HPSv2 needs the module hpsv2.img_score .*pip install hpsv2"):
        HumanPreference()
    with pytest.raises(ImportError, match="VBench needs the module vbench .*pip install vbench"):
        vbench_scores(tmp_path, {}, tmp_path)
