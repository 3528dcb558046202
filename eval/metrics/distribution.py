"""How far the features of samples lie from those of real pictures: FID, KID, Inception Score, precision and recall.

Each returns a `SetScore`, or a `Refusal` that says why there is none. Nothing is shown below a least number of
pictures:

- FID and FVD: the dimension of the features (2048 for Inception, 128 for emoji-clip), samples and reference alike: of
  fewer pictures a covariance cannot have full rank;
- KID: `LEAST_KID`, which is unbiased at any size but of fewer pictures is all noise;
- precision and recall: `LEAST_MANIFOLD`: of fewer, balls around neighbours cover anything;
- Inception Score: `LEAST_INCEPTION`: 500 pictures in each split, against 1008 classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from toca.eval.metrics.features import Features
from toca.eval.metrics.frechet import frechet_distance
from toca.eval.metrics.manifold import coverage
from toca.eval.metrics.metric import Metric, ToReal
from toca.eval.metrics.moments import Moments
from toca.eval.metrics.reference import Reference
from toca.eval.metrics.registry import register
from toca.eval.metrics.scores import Refusal, SetScore
from toca.eval.metrics.tags import NO_REFERENCE, ExtractorTag, ResultTag, check_same

FID, FVD, KID, PRECISION, RECALL, INCEPTION = "FID", "FVD", "KID", "precision", "recall", "Inception Score"
LEAST_KID, LEAST_MANIFOLD, LEAST_INCEPTION = 50, 100, 5000
SUBSETS, SUBSET_SIZE = 100, 1000
SPLITS = 10


def fid(samples: Moments, reference: Reference, metric: str = FID) -> SetScore | Refusal:
    """Fréchet distance between Gaussians fitted to features (Heusel et al., arXiv 1706.08500); less is better.

    Args:
        samples (`Moments`): Of the samples, merged from all ranks.
        reference (`Reference`): Of real pictures.
        metric (`str`): Its name; "FVD" if the features are those of videos.

    Raises:
        DifferentTags: If their features were not extracted alike.
    """
    check_same(samples.tag, reference.tag)
    least = samples.tag.dimension
    why = f"the covariance of {least} features needs at least as many"
    if few := _too_few(metric, least, samples.count, reference.gaussian.count, why):
        return few
    value = frechet_distance(samples.gaussian(), reference.gaussian)
    return SetScore(metric, value, None, ResultTag(samples.tag, reference.sha256, samples.count))


def kid(samples: Features, reference: Reference) -> SetScore | Refusal:
    """Kernel distance (Binkowski et al., arXiv 1801.01401), by torchmetrics; less is better, and 0 on average for sets
    of one distribution.

    It is the mean over 100 subsets of 1000 pictures each, or of half the smaller set if that is less; `std` is the
    spread over the subsets. They are drawn alike in every call.

    Raises:
        DifferentTags: If their features were not extracted alike.
    """
    real = _features_of(KID, reference)
    if isinstance(real, Refusal):
        return real
    check_same(samples.tag, reference.tag)
    if few := _too_few(KID, LEAST_KID, len(samples), len(real), "of fewer pictures it is all noise"):
        return few
    # Imported late: it brings torch-fidelity along, which takes seconds.
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(SUBSET_SIZE, len(samples) // 2, len(real) // 2)
    with _drawn_alike():
        metric = KernelInceptionDistance(feature=nn.Identity(), subsets=SUBSETS, subset_size=size)
        metric.update(real.values.double(), real=True)
        metric.update(samples.values.double(), real=False)
        mean, std = metric.compute()
    return SetScore(KID, float(mean), float(std), ResultTag(samples.tag, reference.sha256, len(samples)))


def precision(samples: Features, reference: Reference) -> SetScore | Refusal:
    """Share of samples that lie among real pictures (Kynkäänniemi et al., arXiv 1904.06991, k = 3); more is better.

    Raises:
        DifferentTags: If their features were not extracted alike.
    """
    return _covered(PRECISION, samples, reference)


def recall(samples: Features, reference: Reference) -> SetScore | Refusal:
    """Share of real pictures that lie among samples (Kynkäänniemi et al., arXiv 1904.06991, k = 3); more is better.

    Raises:
        DifferentTags: If their features were not extracted alike.
    """
    return _covered(RECALL, samples, reference)


def inception_score(logits: Tensor, tag: ExtractorTag) -> SetScore | Refusal:
    """Inception Score (Salimans et al., arXiv 1606.03498), by torchmetrics; more is better.

    Args:
        logits (`Tensor`): (n, classes), from `Inception.logits`.
        tag (`ExtractorTag`): Of the extractor.

    Returns:
        `SetScore` or `Refusal`: The mean over 10 splits, drawn alike in every call; `std` is over the splits.
    """
    if few := _too_few(INCEPTION, LEAST_INCEPTION, len(logits), None, "each of its 10 splits needs 500"):
        return few
    from torchmetrics.image.inception import InceptionScore

    with _drawn_alike():
        metric = InceptionScore(feature=nn.Identity(), splits=SPLITS)
        metric.update(logits.double())
        mean, std = metric.compute()
    return SetScore(INCEPTION, float(mean), float(std), ResultTag(tag, NO_REFERENCE, len(logits)))


def _covered(metric: str, samples: Features, reference: Reference) -> SetScore | Refusal:
    real = _features_of(metric, reference)
    if isinstance(real, Refusal):
        return real
    check_same(samples.tag, reference.tag)
    few = _too_few(metric, LEAST_MANIFOLD, len(samples), len(real), "of fewer pictures neighbours lie too far apart")
    if few:
        return few
    points, centres = (samples, real) if metric == PRECISION else (real, samples)
    value = coverage(points.values, centres.values)
    return SetScore(metric, value, None, ResultTag(samples.tag, reference.sha256, len(samples)))


def _features_of(metric: str, reference: Reference) -> Features | Refusal:
    if reference.features is not None:
        return reference.features
    held = f"the reference {reference.sha256[:12]} holds only their mean and covariance"
    return Refusal(metric, f"{metric} needs the features of the real pictures, and {held}: give a file of features.")


def _too_few(metric: str, least: int, samples: int, real: int | None, why: str) -> Refusal | None:
    for count, what in ((samples, "samples"), (real, "pictures in the reference")):
        if count is not None and count < least:
            return Refusal(metric, f"{metric} is not shown below {least} {what}, got {count}: {why}.")
    return None


@contextmanager
def _drawn_alike() -> Iterator[None]:
    """torchmetrics draws subsets from the CPU's global generator, and warns that it keeps all features."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.default_generator.manual_seed(0)
        warnings.simplefilter("ignore")
        yield


def _fid(samples: Features, reference: Reference) -> SetScore | Refusal:
    return fid(Moments.of(samples), reference)


register(ToReal(key=FID, digits=2, sign=-1, place=110, compute=_fid))
register(Metric(key=FVD, digits=1, sign=-1, level="set", place=120))
register(ToReal(key=KID, digits=5, sign=-1, place=130, compute=kid))
register(ToReal(key=PRECISION, digits=3, sign=1, place=140, compute=precision))
register(ToReal(key=RECALL, digits=3, sign=1, place=150, compute=recall))
register(Metric(key=INCEPTION, digits=2, sign=1, level="set", place=160))
