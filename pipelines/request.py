"""From what a user asked for, with everything else left out, to a generation that can run."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from typing import Any

import toca
from toca.kernels.narrow import cache_dtype_of
from toca.methods.presets import DEFAULT, Choice, default_for, foreign_to
from toca.models import family_of, known_family
from toca.pipelines.arguments import takes_argument
from toca.pipelines.budget import check_budget, with_budget
from toca.pipelines.calibration import with_calibration
from toca.pipelines.config import GenerationConfig
from toca.pipelines.generate import FREELY, Keeping
from toca.pipelines.loading import load, no_transformer, pick_device, pick_dtype
from toca.pipelines.metadata import Recipe
from toca.pipelines.method_options import find_method, load_plan, method_name, override
from toca.pipelines.registry import DEFAULT_MODEL, find_model
from toca.plan.kept import cache_device_of


@dataclass(frozen=True)
class Request:
    """The options of `toca generate`, a field each; `None` is an option that was not given."""

    prompt: str | None = None
    class_label: str | None = None
    model: str | None = None
    method: str | None = None
    plan: str | None = None
    settings: list[str] = field(default_factory=list)
    steps: int | None = None
    guidance_scale: float | None = None
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    seed: int | None = None
    batch_size: int | None = None
    num_images: int | None = None
    dtype: str | None = None
    device: str | None = None
    pickled_weights: bool = False
    speedup: float | None = None
    cache_dtype: str | None = None
    cache_device: str | None = None
    max_cache_bytes: int | None = None


@dataclass(frozen=True)
class PreparedGeneration:
    """A loaded pipeline and what to do with it.

    Args:
        model (`str`): as the user named it.
        pipe: the diffusers pipeline, on its device.
        config (`GenerationConfig`): what to generate.
        method: a method object or plan; `None` for the full model.
        label (`str`): what was asked for: a preset or a method by its name, with the settings that were changed.
        keep (`tuple[int, ...]` or `None`): indices of the samples to save; `None` for all.
        dtype, device (`str`): as recorded in metadata.
        keeping (`Keeping`): what features are kept in.
    """

    model: str
    pipe: Any
    config: GenerationConfig
    method: Any | None
    label: str
    keep: tuple[int, ...] | None
    dtype: str
    device: str
    keeping: Keeping = FREELY

    @property
    def full_config(self) -> GenerationConfig:
        """What the full model is asked for beside it: the steps of the run that a tuned plan was compared to."""
        origin = getattr(self.method, "origin", None)
        return self.config if origin is None else replace(self.config, num_inference_steps=origin.reference_steps)


def prepare(request: Request, recipe: Recipe | None = None) -> PreparedGeneration:
    """Load the pipeline and settle every setting: the request's, else the recipe's, else the model's own.

    Args:
        request (`Request`): what was asked for.
        recipe (`Recipe` or `None`): of a picture that is to be made again.

    Raises:
        ValueError, OSError: for anything that cannot be done; one sentence each.
    """
    if recipe is None and not ((request.prompt or "").strip() or request.class_label):
        raise ValueError("Give a prompt, a --class-label, or --from with the PNG of an earlier run.")
    # What no model can do is told before one is loaded.
    with_request(recipe.config if recipe else GenerationConfig(), request)
    cache_dtype_of(request.cache_dtype)
    cache_device_of(request.cache_device)
    method = _chosen_method(request, recipe)
    model = request.model
    if model is None:
        model = recipe.model if recipe else DEFAULT_MODEL
    device = pick_device(request.device or _recorded_device(recipe))
    dtype = pick_dtype(request.dtype or (recipe.dtype if recipe else None), model, device)
    pipe = load(model, dtype, device, request.pickled_weights)
    if not hasattr(pipe, "transformer"):
        parts: Any = getattr(pipe, "components", {})
        raise no_transformer(model, type(pipe), [type(part).__name__ for part in parts.values()])
    label = _label(request, model, method, pipe)
    if method is _OF_BUDGET:
        method, label = _budgeted(request, recipe, model, pipe)
    elif method is _PRESET_OF_MODEL:
        method = preset_for(model, pipe.transformer, request.settings, pipe)
    method = with_calibration(method, model)
    config = _from_recipe(request, recipe.config) if recipe else own_config(request, model, type(pipe), method)
    keep = (recipe.index,) if recipe and _same_batch(request) else None
    if recipe and keep is None:
        config = replace(config, first_index=0 if request.seed is not None else recipe.index)
    facts = str(dtype).removeprefix("torch."), device.type
    return PreparedGeneration(model, pipe, config, method, label, keep, *facts, _keeping(request, recipe, method))


def _keeping(request: Request, recipe: Recipe | None, method: Any | None) -> Keeping:
    """What features are kept in. Raises `ValueError` where the full model is asked to keep them in something."""
    asked = {
        "--cache-dtype": request.cache_dtype,
        "--cache-device": request.cache_device,
        "--max-cache-bytes": request.max_cache_bytes,
    }
    for option, value in asked.items():
        if method is None and value is not None:
            raise ValueError(f"The full model keeps nothing: {option} needs a method.")
    kept_in = request.cache_dtype or (recipe.cache_dtype if recipe else None)
    return Keeping(kept_in, request.cache_device, request.max_cache_bytes)


_PRESET_OF_MODEL = object()
_OF_BUDGET = object()


def _chosen_method(request: Request, recipe: Recipe | None) -> Any:
    """The method that the request or the recipe names, before anything is loaded."""
    if request.speedup is not None:
        check_budget(request.speedup, request.method, request.plan, request.settings)
        return _OF_BUDGET
    if request.plan is not None and request.method is not None:
        raise ValueError("Give --method or --plan, not both.")
    if request.plan is not None:
        return override(load_plan(request.plan), request.settings)
    if request.method is not None:
        named = override(find_method(request.method), request.settings)
        return _PRESET_OF_MODEL if request.method == DEFAULT else named
    if recipe is None:
        return _PRESET_OF_MODEL
    if recipe.method is None and request.settings:
        raise ValueError("That picture was made without a method: --set needs --method beside it.")
    return recipe.method if recipe.method is None else override(recipe.method, request.settings)


def _budgeted(request: Request, recipe: Recipe | None, model: str, pipe: Any) -> tuple[Any, str]:
    """What reaches the speed-up that was asked for, and what to call it."""
    assert request.speedup is not None, "a budget was given"
    steps = request.steps or (recipe.config.num_inference_steps if recipe else None)
    usual = own_config(replace(request, steps=None), model, type(pipe), None).num_inference_steps
    return with_budget(pipe, model, request.speedup, request.method, request.settings, steps, usual)


def _label(request: Request, model: str, method: Any, pipe: Any) -> str:
    """What to call the method of a generation: as it was asked for, else as it is known."""
    if method is _OF_BUDGET:
        return ""
    if method is _PRESET_OF_MODEL:
        return label_of(_named_so(request, choice_for(model, pipe.transformer, pipe)), request.settings)
    if request.method is not None and not isinstance(method, toca.Plan):
        return label_of(request.method, request.settings)
    return "none" if method is None else label_of(method_name(method), request.settings)


def label_of(name: str, settings: list[str]) -> str:
    """A method by its name, with what was changed of it."""
    return " ".join([name, *settings])


def _named_so(request: Request, choice: Choice) -> str:
    """A choice by its name; in full where only the method was named."""
    return choice.about if request.method is not None else choice.name


def choice_for(model: str, transformer: Any, pipeline: Any = None) -> Choice:
    """The method that suits a model: the one it has in the list of models, else that of its family. Raises
    `ValueError` if it has no family; it names the pipeline, where it is told."""
    entry = find_model(model)
    if entry is None:
        return default_for(known_family(transformer, pipeline))
    return Choice(find_method(entry.method), entry.method, f"{DEFAULT}, the preset {entry.method}")


def preset_for(model: str, transformer: Any, settings: list[str], pipeline: Any = None) -> Any:
    """The method that suits a model, with some of its fields set."""
    return override(choice_for(model, transformer, pipeline).method, settings)


def foreign_note(name: str | None, transformer: Any) -> str | None:
    """What to say of a preset that a user named, if it was made for other models."""
    family = family_of(transformer)
    return None if name is None or family is None else foreign_to(name, family.name)


def _recorded_device(recipe: Recipe | None) -> str | None:
    """The device type a picture was made on, if this machine has it too."""
    if recipe is None:
        return None
    try:
        return pick_device(recipe.device).type
    except ValueError:
        return None


def _same_batch(request: Request) -> bool:
    return request.seed is None and request.num_images is None and request.batch_size is None


def own_config(request: Request, model: str, pipeline_class: type, method: Any) -> GenerationConfig:
    """What a request asks of a model, with the model's own settings where it is silent."""
    entry = find_model(model)
    planned = getattr(method, "num_inference_steps", None)
    own = GenerationConfig(
        num_inference_steps=planned or (entry.steps if entry else default_steps(pipeline_class)),
        guidance_scale=entry.guidance_scale if entry else None,
    )
    sizes = own_sizes(model, pipeline_class)
    own = replace(own, height=sizes.get("height"), width=sizes.get("width"), num_frames=sizes.get("num_frames"))
    return with_request(own, request)


def own_sizes(model: str, pipeline_class: type) -> dict[str, int | None]:
    """The sizes of a named model, those that its pipeline takes."""
    names = (name for name in ("height", "width", "num_frames") if takes_argument(pipeline_class, name))
    entry = find_model(model)
    return {name: getattr(entry, name) for name in names} if entry else {}


def default_steps(pipeline_class: Any) -> int:
    """The number of steps that a class of pipelines takes when it is not told. Raises `ValueError` if none."""
    parameter = inspect.signature(pipeline_class.__call__).parameters.get("num_inference_steps")
    if parameter is None:
        raise ValueError(f"{pipeline_class.__name__} takes no number of steps, so there is nothing to cache.")
    return parameter.default


def _from_recipe(request: Request, config: GenerationConfig) -> GenerationConfig:
    if not _same_batch(request):
        config = replace(config, num_images=1, batch_size=1)
    if request.prompt is not None:
        config = replace(config, class_label=None)
    return with_request(config, request)


def with_request(config: GenerationConfig, request: Request) -> GenerationConfig:
    """A configuration with what was asked for. Raises `ValueError` for what no model can do."""
    options: dict[str, Any] = {
        "prompt": request.prompt,
        "class_label": request.class_label,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "height": request.height,
        "width": request.width,
        "num_frames": request.num_frames,
        "seed": request.seed,
        "num_images": request.num_images,
        "batch_size": request.batch_size,
    }
    return replace(config, **{name: value for name, value in options.items() if value is not None})
