"""Distances between sets of features, where the answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from toca.eval.metrics.distribution import fid, inception_score, kid, precision, recall
from toca.eval.metrics.features import Features
from toca.eval.metrics.manifold import coverage
from toca.eval.metrics.moments import Gaussian, Moments
from toca.eval.metrics.quality import quality
from toca.eval.metrics.reference import Reference
from toca.eval.metrics.scores import Refusal, SetScore
from toca.eval.metrics.tags import DifferentTags, ExtractorTag, ResultTag


def tag(dimension: int) -> ExtractorTag:
    return ExtractorTag("test", "a" * 64, "none", dimension)


def features(values: torch.Tensor) -> Features:
    return Features(tag(values.shape[1]), values.float(), torch.arange(len(values)))


def reference(values: torch.Tensor) -> Reference:
    found = features(values)
    return Reference(found.tag, "b" * 64, Moments.of(found).gaussian(), found)


def white(count: int, dimension: int, seed: int = 0) -> torch.Tensor:
    """Points whose mean is exactly 0 and whose covariance is exactly 1."""
    x = torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov(correction=1))).T


def cloud(count: int, dimension: int, seed: int, at: float = 0.0) -> torch.Tensor:
    return at + torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))


# --- FID -----------------------------------------------------------------------------------------------------------


def test_fid_of_two_gaussians_is_the_closed_form():
    ours, theirs = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([3.0, 1.0, 0.5])
    shift = torch.tensor([0.0, 1.0, -2.0])
    found = fid(Moments.of(features(white(40, 3) * ours)), reference(white(50, 3, 1) * theirs + shift))
    # Of axis-aligned Gaussians: the squared distances of the means and of the standard deviations.
    assert found.value == pytest.approx(float(shift.square().sum() + (ours - theirs).square().sum()), rel=1e-5)
    assert found.tag == ResultTag(tag(3), "b" * 64, 40)
    assert found.std is None


def test_fid_agrees_with_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Features8(nn.Identity):
        num_features = 8

    mix = torch.randn(8, 8, dtype=torch.float64)
    ours, theirs = (cloud(60, 8, 1).double() @ mix).float(), cloud(70, 8, 2, 0.3)
    metric = FrechetInceptionDistance(feature=Features8())
    metric.update(theirs.double(), real=True)
    metric.update(ours.double(), real=False)
    assert fid(Moments.of(features(ours)), reference(theirs)).value == pytest.approx(float(metric.compute()), rel=1e-8)


def test_fid_of_a_set_to_itself_is_zero():
    values = cloud(30, 5, 0)
    assert fid(Moments.of(features(values)), reference(values)).value == pytest.approx(0, abs=1e-9)


def test_fid_of_merged_sums_is_fid_at_once():
    values, real = cloud(60, 5, 0), reference(cloud(50, 5, 1, 0.5))
    shards = [Moments.of(features(values[rank::3])) for rank in range(3)]
    merged = fid(shards[2] + shards[0] + shards[1], real)
    assert merged.value == pytest.approx(fid(Moments.of(features(values)), real).value, rel=1e-12)
    assert merged.tag.samples == 60


def test_fid_is_not_shown_below_the_rank_of_its_covariance():
    few, enough = cloud(15, 16, 0), cloud(16, 16, 0)
    found = fid(Moments.of(features(few)), reference(enough))
    assert found.reason == (
        "FID is not shown below 16 samples, got 15: the covariance of 16 features needs at least as many."
    )
    assert "16 pictures in the reference, got 15" in fid(Moments.of(features(enough)), reference(few)).reason
    assert isinstance(fid(Moments.of(features(enough)), reference(enough)), SetScore)


def test_a_reference_of_mean_and_covariance_serves_fid_only():
    values = white(120, 4)
    plain = Reference(tag(4), "c" * 64, Gaussian(torch.zeros(4).double(), torch.eye(4).double(), None), None)
    assert fid(Moments.of(features(values)), plain).value == pytest.approx(0, abs=1e-6)
    for metric in (kid, precision, recall):
        assert (
            "holds only their mean and covariance: give a file of features" in metric(features(values), plain).reason
        )


# --- KID -----------------------------------------------------------------------------------------------------------


def squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate, written out."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    inside = [
        sum(kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j) / (len(z) * (len(z) - 1))
        for z in (x, y)
    ]
    return sum(inside) - 2 * sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))


def test_kid_is_the_mean_over_subsets_of_the_unbiased_estimate():
    ours, theirs = cloud(60, 4, 0, 1.0), cloud(60, 4, 1)
    found = kid(features(ours), reference(theirs))
    wanted = squared_mmd(ours.double().numpy(), theirs.double().numpy())
    assert abs(found.value - wanted) < 3 * found.std / math.sqrt(100)
    assert 0.1 < found.std < found.value


def test_kid_of_one_distribution_is_near_zero():
    values = cloud(400, 4, 0)
    same, other = kid(features(values), reference(values)), kid(features(values), reference(cloud(400, 4, 1)))
    far = kid(features(values), reference(cloud(400, 4, 2, 1.0)))
    assert abs(other.value) < 2 * other.std
    assert far.value > 5 * far.std
    # Of a set to itself it lies below zero, for each picture has its likeness in the other set.
    alone = (values.square().mean(1) + 1).pow(3).mean() - ((values @ values.T / 4 + 1) ** 3).mean()
    assert same.value == pytest.approx(-2 * float(alone) / 400, abs=3 * same.std / math.sqrt(100))
    assert abs(same.value) < far.value / 20


def test_kid_draws_alike_and_leaves_the_generator_alone():
    ours, theirs = features(cloud(60, 4, 0)), reference(cloud(60, 4, 1))
    state = torch.get_rng_state()
    first = kid(ours, theirs)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    assert kid(ours, theirs) == first


def test_kid_of_few_is_not_shown():
    found = kid(features(cloud(49, 4, 0)), reference(cloud(80, 4, 1)))
    assert found == Refusal("KID", "KID is not shown below 50 samples, got 49: of fewer pictures it is all noise.")


# --- precision and recall ------------------------------------------------------------------------------------------


def test_precision_and_recall_of_one_set_are_one_and_of_distant_sets_zero():
    values = cloud(120, 4, 0)
    near, far = reference(values), reference(values + 100)
    assert (precision(features(values), near).value, recall(features(values), near).value) == (1, 1)
    assert (precision(features(values), far).value, recall(features(values), far).value) == (0, 0)


def test_samples_of_one_mode_of_two_are_precise_and_recall_half():
    one, two = cloud(150, 2, 0), cloud(150, 2, 1, 50.0)
    samples, real = features(cloud(150, 2, 2)), reference(torch.cat([one, two]))
    assert precision(samples, real).value > 0.85
    assert recall(samples, real).value == pytest.approx(0.5, abs=0.08)
    assert recall(samples, real).value <= 0.5


def test_coverage_is_that_of_balls_to_the_third_neighbour():
    centres = torch.tensor([[0.0], [1.0], [2.0], [3.0], [100.0]])
    # Radii: 3, 2, 2, 3 and 99.
    points = torch.tensor([[-3.0], [-3.5], [6.0], [150.0], [200.0]])
    assert [coverage(point[None], centres) for point in points] == [1, 0, 1, 1, 0]


def test_precision_and_recall_agree_with_torch_fidelity():
    prc = pytest.importorskip("torch_fidelity.metric_prc")
    ours, theirs = cloud(200, 6, 0), cloud(220, 6, 1, 0.7)
    options = {"prc_neighborhood": 3, "prc_batch_size": 64, "save_cpu_ram": True, "verbose": False}
    wanted = prc.prc_features_to_metric(ours.double(), theirs.double(), **options)
    samples, real = features(ours), reference(theirs)
    assert precision(samples, real).value == pytest.approx(wanted["precision"], abs=1e-6)
    assert recall(samples, real).value == pytest.approx(wanted["recall"], abs=1e-6)
    assert 0.1 < wanted["recall"] < 0.9


def test_precision_of_few_is_not_shown():
    found = precision(features(cloud(99, 4, 0)), reference(cloud(200, 4, 1)))
    assert "precision is not shown below 100 samples, got 99" in found.reason


# --- Inception Score -----------------------------------------------------------------------------------------------


def test_inception_score_is_the_number_of_classes_that_are_clear_and_equally_frequent():
    sure = 50.0 * torch.eye(4).repeat(1250, 1)
    assert inception_score(sure, tag(4)).value == pytest.approx(4, rel=0.01)
    assert inception_score(torch.zeros(5000, 4), tag(4)).value == pytest.approx(1)
    one = torch.zeros(5000, 4)
    one[:, 2] = 50
    found = inception_score(one, tag(4))
    assert found.value == pytest.approx(1)
    assert found.tag == ResultTag(tag(4), "none", 5000)


def test_inception_score_of_few_is_not_shown():
    assert "below 5000 samples, got 4999" in inception_score(torch.zeros(4999, 4), tag(4)).reason


# --- together ------------------------------------------------------------------------------------------------------


def test_what_was_not_extracted_alike_is_not_compared():
    samples = features(cloud(200, 4, 0))
    other = replace(reference(cloud(200, 4, 1)), tag=replace(tag(4), weights="f" * 64))
    for metric in (kid, precision, recall):
        with pytest.raises(DifferentTags, match="weights: aaa.* and fff"):
            metric(samples, other)
    with pytest.raises(DifferentTags, match="weights"):
        fid(Moments.of(samples), other)


def test_quality_shows_what_can_be_shown_and_says_why_the_rest_cannot():
    found = quality(features(cloud(60, 8, 0)), reference(cloud(300, 8, 1)))
    assert [score.metric for score in found] == ["FID", "KID", "precision", "recall"]
    assert [isinstance(score, Refusal) for score in found] == [False, False, True, True]
    assert found[1].std > 0
