"""From settings to judges. All of them are made before the first picture is scored, so that every missing package,
missing file and file of another kind is told at once."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from toca.eval.config.scores import EMOJI_CLIP, INCEPTION, NO_FEATURES, ScoreSettings
from toca.eval.metrics.clip_anytorch import AnytorchClip, clip_pictures
from toca.eval.metrics.clip_score import ClipModel
from toca.eval.metrics.clip_transformers import TransformersClip
from toca.eval.metrics.distribution import FVD
from toca.eval.metrics.distribution import INCEPTION as INCEPTION_SCORE
from toca.eval.metrics.extractors import Extractor
from toca.eval.metrics.inception import FEATURES, Inception
from toca.eval.metrics.judge import Judge
from toca.eval.metrics.lpips import Lpips
from toca.eval.metrics.perceptual import PerceptualDistance, vae_distance
from toca.eval.metrics.quality import against_real
from toca.eval.metrics.reference import Reference, load_reference
from toca.eval.metrics.scores import Refusal
from toca.eval.metrics.video_features import i3d
from toca.eval.samples.subject import Subject
from toca.eval.scoring.judges.pictures import PictureJudge, TemporalJudge
from toca.eval.scoring.judges.prompts import ClipJudge
from toca.eval.scoring.judges.videos import VideoJudge
from toca.pipelines import registry
from toca.pipelines.arguments import makes_video
from toca.pipelines.loading import resolve_source

REFERENCE = "reference.safetensors"
"""What a pipeline's folder calls its statistics of real pictures."""
TRANSFORMERS = "transformers:"
WEIGHTS = Path(registry.__file__).parent / "emoji-clip" / "emoji-clip.pt"


@dataclass
class Judges:
    """Who judges a pipeline's samples.

    Args:
        judges (`list[Judge]`): Of quality.
        refusals (`list[Refusal]`): Figures that no variant can have, and why.
        perceptual (`PerceptualDistance`, *optional*): A metric of fidelity beside PSNR and SSIM.
    """

    judges: list[Judge] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    perceptual: PerceptualDistance | None = None

    @staticmethod
    def of(settings: ScoreSettings, subject: Subject) -> Judges:
        """The judges of one pipeline, on its device.

        Args:
            settings (`ScoreSettings`): Which ones.
            subject (`Subject`): The pipeline, whose folder may hold a reference of its own.

        Raises:
            ValueError: If a file is not what it should be, or a reference has no extractor; it says which.
            OSError: If a file is missing or cannot be read.
            ImportError: If a package is missing; it says what to install.
            DifferentTags: If the reference that is named was made by another extractor.
        """
        settings.check_files()
        device, frames = subject.pipe.device, _frames(subject)
        made = _of_features(settings, Path(resolve_source(subject.name)), device, frames)
        made.judges += _of_prompts(settings, device)
        made.judges += [metric.make(device) for metric in settings.asked]
        videos = _of_videos(settings, device, frames)
        perceptual = vae_distance(subject.pipe) if settings.lpips is None else Lpips(settings.lpips, device)
        return Judges(made.judges + videos.judges, made.refusals + videos.refusals, perceptual)


def _frames(subject: Subject) -> int:
    """Of each sample: what is asked for, or what the pipeline makes when it is not told; 1 of pictures."""
    if not makes_video(type(subject.pipe)):
        return 1
    parameters = inspect.signature(type(subject.pipe).__call__).parameters
    own = next(parameters[name].default for name in ("num_frames", "video_length") if name in parameters)
    return subject.config.num_frames or own


def _of_features(settings: ScoreSettings, source: Path, device: torch.device, frames: int) -> Judges:
    own = source / REFERENCE if (source / REFERENCE).is_file() else None
    _check_reference(settings, own)
    features = settings.features or (EMOJI_CLIP if own is not None else NO_FEATURES)
    if features == NO_FEATURES:
        return Judges()
    extractor = _extractor(settings, features, device)
    reference, refusals = _reference(settings, own, extractor)
    classify, unclassified = _classifier(extractor)
    judge = PictureJudge(extractor, reference, classify, frames)
    judges: list[Judge] = [judge] if judge.metrics else []
    judges += [TemporalJudge(extractor)] if frames > 1 else []
    return Judges(judges, refusals + unclassified)


def _check_reference(settings: ScoreSettings, own: Path | None) -> None:
    if settings.features is None and own is None and settings.reference is not None:
        raise ValueError(f"The features of {settings.reference} need an extractor for samples: name it as features.")
    if settings.reference_sha256 is not None and settings.reference is None and own is None:
        pin = settings.reference_sha256[:12]
        raise ValueError(f"reference_sha256 is {pin}, but the pipeline has no {REFERENCE}: name a file as reference.")


def _extractor(settings: ScoreSettings, features: str, device: torch.device) -> Extractor:
    if features == INCEPTION or settings.inception_file is not None:
        return Inception(settings.inception_file, device)
    return clip_pictures(WEIGHTS if features == EMOJI_CLIP else features, device, settings.trust_torchscript)


def _reference(
    settings: ScoreSettings, own: Path | None, extractor: Extractor
) -> tuple[Reference | None, list[Refusal]]:
    """What samples are compared with, or why there is nothing to compare them with."""
    if settings.reference is not None:
        return load_reference(settings.reference, extractor.tag, settings.reference_sha256), []
    if own is None:
        return None, _incomparable("there are no statistics of real pictures")
    reference = load_reference(own, sha256=settings.reference_sha256)
    if reference.tag != extractor.tag:
        return None, _incomparable(f"{own} holds features of {reference.tag}, not of {extractor.tag}")
    return reference, []


def _incomparable(why: str) -> list[Refusal]:
    reason = f"is not computed: {why}; name a file as reference."
    return [Refusal(metric, f"{metric} {reason}") for metric in against_real()]


def _classifier(extractor: Extractor) -> tuple[Callable[[Tensor], Tensor] | None, list[Refusal]]:
    """What Inception Score needs, or why there is none; other extractors are not asked for it."""
    if not isinstance(extractor, Inception):
        return None, []
    try:
        extractor.logits(torch.zeros(1, FEATURES))
    except ValueError as error:
        return None, [Refusal(INCEPTION_SCORE, f"{error}")]
    return extractor.logits, []


def _of_prompts(settings: ScoreSettings, device: torch.device) -> list[Judge]:
    names = [_name(source) for source in settings.clip]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"Two judges of the CLIP score are called {twice[0]!r}: give one of the files another name.")
    judges = zip(settings.clip, names, strict=True)
    return [ClipJudge(_clip(settings, source, device), name) for source, name in judges]


def _name(source: str) -> str:
    """What a judge is called in the report: a file or folder by its own name, all else as it is named."""
    named = source.removeprefix(TRANSFORMERS)
    path = Path(named)
    if path.is_dir():
        return path.name
    return path.stem if path.is_file() else named


def _clip(settings: ScoreSettings, source: str, device: torch.device) -> ClipModel:
    if source.startswith(TRANSFORMERS):
        return TransformersClip(source.removeprefix(TRANSFORMERS), device)
    return AnytorchClip(WEIGHTS if source == EMOJI_CLIP else source, device, settings.trust_torchscript)


def _of_videos(settings: ScoreSettings, device: torch.device, frames: int) -> Judges:
    if settings.i3d is None or settings.i3d_reference is None:
        return Judges()
    if frames < 2:
        return Judges(refusals=[Refusal(FVD, f"{FVD} is of videos, and these samples are pictures.")])
    extractor = i3d(settings.i3d, frames, device, settings.trust_torchscript)
    reference = load_reference(settings.i3d_reference, extractor.tag, settings.i3d_reference_sha256)
    return Judges([VideoJudge(extractor, reference)])
