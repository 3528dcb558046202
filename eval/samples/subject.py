"""The pipeline that a table is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from toca.eval.config.settings import Settings
from toca.eval.samples.prompts import Prompt, find_prompts
from toca.eval.samples.weights import weights_of
from toca.eval.store.store import Store
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
        weights (`str`): What `toca.eval.samples.weights.weights_of` tells.
        dtype (`str`): Precision of the weights.
        inputs (`Mapping[str, Any]`, *optional*): What its call is given in the place of prompts, sizes and guidance,
            for as many samples as are made at a time; of a model with random weights, which reads no text.
    """

    name: str
    pipe: Any
    config: GenerationConfig
    prompts: list[Prompt]
    weights: str
    dtype: str
    inputs: Mapping[str, Any] | None = None

    @property
    def steps(self) -> int:
        """Denoising steps of the full run."""
        return self.config.num_inference_steps

    def identity(self) -> dict[str, Any]:
        """What results depend on, as plain data."""
        return {"model": self.name, "weights": self.weights, "dtype": self.dtype, "config": asdict(self.config)}


def load_subject(model: str, settings: Settings, store: Store) -> Subject:
    """Load a pipeline; what the settings leave out is the model's own.

    Args:
        model (`str`): A name, a folder or a hub id.
        settings (`Settings`): How it is called, and which prompts it has.
        store (`Store`): Where hashes of its weights are kept.

    Raises:
        ValueError, OSError: If it cannot be loaded or has no prompts; one sentence.
    """
    # The prompt only stands for those that come with each call.
    prepared = prepare(replace(settings.request(), model=model, prompt=model))
    weights = weights_of(resolve_source(model), prepared.pipe, store)
    listed = settings.prompts_file, settings.prompts_sha256, settings.prompts_expected
    prompts = find_prompts(model, prepared.pipe, *listed)
    return Subject(model, prepared.pipe, prepared.config, prompts, weights, prepared.dtype)
