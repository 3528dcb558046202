"""Features: extracted, saved, and put together from shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from toca.eval.metrics.extractors import ModuleExtractor
from toca.eval.metrics.features import Features, extract, load_features, merge
from toca.eval.metrics.moments import Moments, load_moments
from toca.eval.metrics.pictures import as_pictures, check_pair
from toca.eval.metrics.reference import load_reference
from toca.eval.metrics.tags import DifferentTags, ExtractorTag, file_digest, weights_digest

TAG = ExtractorTag("test", "a" * 64, "none", 3)


def some(count: int, seed: int = 0) -> Features:
    values = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return Features(TAG, values, torch.arange(count))


def part(features: Features, index: list[int]) -> Features:
    return Features(features.tag, features.values[index], torch.tensor(index, dtype=torch.int64))


def pictures(count: int = 3, side: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)


class Means(nn.Module):
    """The mean of each channel."""

    def forward(self, x):
        return x.mean((2, 3))


# --- extractors ----------------------------------------------------------------------------------------------------


def test_a_module_sees_pictures_of_its_size_normalised():
    images = pictures()
    found = extract(ModuleExtractor(Means(), "means", 8, (0.5, 0.25, 0.0), (2.0, 1.0, 4.0)), images, batch=2)
    wanted = (images.float() / 255).mean((2, 3)) - torch.tensor([0.5, 0.25, 0.0])
    assert torch.allclose(found.values, wanted / torch.tensor([2.0, 1.0, 4.0]), atol=1e-6)
    assert found.index.tolist() == [0, 1, 2]


def test_pictures_of_another_size_are_resized_on_uint8():
    images = pictures(side=12)
    seen = []
    module = ModuleExtractor(Means(), "means", 6)
    module._module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    module(images)
    small = F.interpolate(images.float(), (6, 6), mode="bicubic", antialias=True).round().clamp(0, 255)
    assert torch.allclose(seen[0] * 255, small, atol=1e-4)
    assert module.tag.resize == "bicubic with antialiasing to 6 x 6, on uint8"


def test_a_modules_tag_tells_its_weights():
    modules = [nn.Sequential(Means(), nn.Linear(3, 5)) for _ in range(2)]
    first, second = (ModuleExtractor(module, "net", 4).tag for module in modules)
    assert first == ExtractorTag("net", weights_digest(modules[0]), first.resize, 5)
    assert first.weights != second.weights


def test_a_module_in_train_mode_is_not_left_so():
    module = nn.Sequential(Means(), nn.Dropout(0.9))
    extractor, images = ModuleExtractor(module, "net", 8), pictures()
    assert torch.equal(extractor(images), extractor(images))


def test_what_does_not_return_vectors_is_refused():
    with pytest.raises(ValueError, match=r"maps must return \(N, dimension\) for N pictures, got \(1, 3, 8, 8\)"):
        ModuleExtractor(nn.Identity(), "maps", 8)


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, 3, dtype=torch.uint8)])
def test_what_are_no_pictures_is_refused(images):
    with pytest.raises(ValueError, match="Pictures must be a uint8 tensor"):
        extract(ModuleExtractor(Means(), "means", 8), images)


def test_no_pictures_have_no_features():
    found = extract(ModuleExtractor(Means(), "means", 8), pictures(0))
    assert found.values.shape == (0, 3) and len(found) == 0


def test_samples_become_pictures_frame_by_frame():
    samples = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), dtype=np.uint8)
    assert torch.equal(as_pictures(samples)[4], torch.from_numpy(samples[1, 1]).permute(2, 0, 1))
    with pytest.raises(ValueError, match=r"got float64 of \(2, 3, 4, 5, 3\)"):
        as_pictures(samples.astype(float))
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 5, 3\) cannot be compared with \(1, 3, 4, 5, 3\)"):
        check_pair(samples, samples[:1])


# --- shards --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.permutations(range(6)))
def test_any_split_over_ranks_gives_the_same(count: int, world: int, order: list[int]):
    whole = some(count)
    shards = [part(whole, list(range(rank, count, world))) for rank in sorted(range(world), key=order.index)]
    merged = merge(shards)
    assert torch.equal(merged.values, whole.values) and torch.equal(merged.index, whole.index)
    sums = Moments.of(shards[0])
    for shard in shards[1:]:
        sums += Moments.of(shard)
    wanted = Moments.of(whole)
    assert sums.count == wanted.count == count
    assert torch.allclose(sums.total, wanted.total, rtol=1e-12, atol=1e-12)
    assert torch.allclose(sums.outer, wanted.outer, rtol=1e-12, atol=1e-12)


def test_moments_give_mean_and_unbiased_covariance():
    features = some(50)
    found, values = Moments.of(features).gaussian(), features.values.double().numpy()
    assert np.allclose(found.mean, values.mean(0), atol=1e-14)
    assert np.allclose(found.covariance, np.cov(values, rowvar=False), atol=1e-14)
    assert found.covariance.dtype == torch.float64


def test_a_covariance_needs_two_pictures():
    with pytest.raises(ValueError, match="at least 2 pictures, got 1"):
        Moments.of(some(1)).gaussian()


def test_a_picture_counts_once():
    whole = some(5)
    with pytest.raises(ValueError, match="Picture 3 is there twice"):
        merge([whole, part(whole, [3])])
    with pytest.raises(ValueError, match="2 pictures need as many numbers, got 1"):
        extract(ModuleExtractor(Means(), "means", 8), pictures(2), [7])


def test_features_that_are_no_numbers_are_refused():
    class Broken(nn.Module):
        def forward(self, x):
            means = x.mean((2, 3))
            return means / means

    images = pictures() // 2 + 1
    extractor = ModuleExtractor(Broken(), "broken", 8)
    assert extract(extractor, images).values.eq(1).all()
    images[1] = 0
    with pytest.raises(ValueError, match="Picture 5 has features that are no numbers: look at it, and at broken"):
        extract(extractor, images, [9, 5, 7])


def test_what_was_not_extracted_alike_is_not_merged():
    whole = some(5)
    other = replace(part(whole, [0]), tag=replace(TAG, resize="other"))
    with pytest.raises(DifferentTags, match="resize: none and other"):
        merge([part(whole, [1]), other])
    with pytest.raises(DifferentTags, match="resize"):
        Moments.of(whole) + Moments.of(other)
    with pytest.raises(ValueError, match="no features"):
        merge([])


# --- files ---------------------------------------------------------------------------------------------------------


def test_features_come_back_from_a_file(tmp_path):
    saved = part(some(9), [1, 4, 8])
    saved.save(tmp_path / "f.safetensors")
    loaded = load_features(tmp_path / "f.safetensors")
    assert loaded.tag == TAG
    assert torch.equal(loaded.values, saved.values) and loaded.index.tolist() == [1, 4, 8]


def test_moments_come_back_from_a_file(tmp_path):
    saved = Moments.of(some(9))
    saved.save(tmp_path / "m.safetensors")
    loaded = load_moments(tmp_path / "m.safetensors")
    assert (loaded.tag, loaded.count) == (TAG, 9)
    assert torch.equal(loaded.total, saved.total) and torch.equal(loaded.outer, saved.outer)


def test_a_reference_is_known_by_its_hash(tmp_path):
    path = tmp_path / "reference.safetensors"
    some(9).save(path)
    reference = load_reference(path, TAG, file_digest(path))
    assert reference.sha256 == file_digest(path)
    assert len(reference.features) == reference.gaussian.count == 9
    with pytest.raises(ValueError, match="expected 000"):
        load_reference(path, sha256="0" * 64)
    with pytest.raises(DifferentTags, match="name: other and test"):
        load_reference(path, replace(TAG, name="other"))


def test_the_reference_of_a_pipeline_is_read(tmp_path):
    """As `examples/train/common/reference.py` writes it."""
    path, values = tmp_path / "reference.safetensors", some(20).values.half()
    extractor = f"emoji-clip, picture tower, sha256 {'e' * 64}"
    metadata = {"about": "x", "extractor": extractor, "resize": "as it is", "count": "20", "pictures": "sha256 f"}
    save_file({"features": values}, path, metadata=metadata)
    reference = load_reference(path)
    assert reference.tag == ExtractorTag("emoji-clip, picture tower", "e" * 64, "as it is", 3)
    assert torch.equal(reference.features.values, values.float())


def test_a_reference_of_sums_has_no_features(tmp_path):
    Moments.of(some(9)).save(tmp_path / "m.safetensors")
    reference = load_reference(tmp_path / "m.safetensors")
    assert reference.features is None
    assert torch.allclose(reference.gaussian.covariance, Moments.of(some(9)).gaussian().covariance)


def test_mean_and_covariance_of_an_npz_need_to_be_told_what_made_them(tmp_path):
    path = tmp_path / "stats.npz"
    np.savez(path, mu=np.arange(3.0), sigma=np.eye(3))
    with pytest.raises(ValueError, match="name the extractor"):
        load_reference(path)
    reference = load_reference(path, TAG)
    assert reference.gaussian.mean.tolist() == [0, 1, 2] and reference.gaussian.count is None
    with pytest.raises(ValueError, match="not those of 4 features, which test has"):
        load_reference(path, replace(TAG, dimension=4))


@pytest.mark.parametrize("name", ["file.safetensors", "file.npz"])
def test_another_file_is_no_reference(tmp_path, name):
    (tmp_path / name).write_text("hello")
    with pytest.raises(ValueError, match=name):
        load_reference(tmp_path / name, TAG)


def test_a_file_without_the_names_is_no_reference(tmp_path):
    np.savez(tmp_path / "other.npz", mu=np.zeros(3))
    save_file({"x": torch.zeros(2, 3)}, tmp_path / "other.safetensors")
    save_file({"features": torch.zeros(2, 3)}, tmp_path / "untold.safetensors")
    for name, says in (("other.npz", "sigma"), ("other.safetensors", "features"), ("untold.safetensors", "extractor")):
        with pytest.raises(ValueError, match=says):
            load_reference(tmp_path / name, TAG)
    with pytest.raises(FileNotFoundError):
        load_reference(Path("nowhere.safetensors"))
