"""The pipeline that a table is about."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toca.eval.config import Settings
from toca.eval.environment import fingerprint
from toca.eval.prompts import Prompt, find_prompts
from toca.pipelines.config import GenerationConfig
from toca.pipelines.loading import resolve_source
from toca.pipelines.request import prepare


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


def load_subject(model: str, settings: Settings) -> Subject:
    """Load a pipeline; what the settings leave out is the model's own.

    Args:
        model (`str`): A name, a folder or a hub id.
        settings (`Settings`): How it is called, and which prompts it has.

    Raises:
        ValueError, OSError: If it cannot be loaded or has no prompts; one sentence.
    """
    # The prompt only stands for those that come with each call.
    job = prepare(replace(settings.request(), model=model, prompt=model))
    source = Path(resolve_source(model))
    weights = fingerprint(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else str(source)
    prompts = find_prompts(model, job.pipe, settings.prompts_file, settings.prompts_sha256, settings.prompts_expected)
    return Subject(model, job.pipe, job.config, prompts, weights, job.dtype)
