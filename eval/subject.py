"""The pipeline that a table is about."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toca.eval.environment import fingerprint
from toca.eval.prompts import Prompt, find_prompts
from toca.pipelines.config import GenerationConfig
from toca.pipelines.loading import resolve_source
from toca.pipelines.registry import models
from toca.pipelines.request import Request, prepare


@dataclass(frozen=True)
class Subject:
    """A loaded pipeline, how it is called, and what it is asked for.

    Args:
        name (`str`): Name, folder or hub id.
        pipe: The diffusers pipeline, on its device.
        config (`GenerationConfig`): Steps, guidance and size of the full run; prompts and seeds come from elsewhere.
        prompts (`list[Prompt]`): All prompts there are to choose from.
        weights (`str`): Hash of the pipeline's folder, or the hub id.
        dtype (`str`): Precision of the weights.
    """

    name: str
    pipe: Any
    config: GenerationConfig
    prompts: list[Prompt]
    weights: str
    dtype: str

    @property
    def steps(self) -> int:
        """Denoising steps of the full run."""
        return self.config.num_inference_steps

    def identity(self) -> dict[str, Any]:
        """What results depend on, as plain data."""
        return {"model": self.name, "weights": self.weights, "dtype": self.dtype, "config": asdict(self.config)}


def embedded_models() -> list[str]:
    """Names of the pipelines that lie on this machine as a part of the library."""
    return [name for name, entry in models().items() if Path(entry.source).is_dir()]


def load_subject(model: str, request: Request, prompts: Path | None = None) -> Subject:
    """Load a pipeline; what the request leaves out is the model's own.

    Args:
        model (`str`): A name, a folder or a hub id.
        request (`Request`): Steps, guidance, size, device, dtype.
        prompts (`Path`, *optional*): File of prompts, one a line.

    Raises:
        ValueError, OSError: If it cannot be loaded or has no prompts; one sentence.
    """
    # The prompt only stands for those that come with each call.
    job = prepare(replace(request, model=model, prompt=model))
    source = Path(resolve_source(model))
    weights = fingerprint(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else str(source)
    return Subject(model, job.pipe, job.config, find_prompts(model, job.pipe, prompts), weights, job.dtype)
