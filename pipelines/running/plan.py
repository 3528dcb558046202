"""`toca plan`: what a method would do, and what it would cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from toca.checks import cleaned
from toca.files.figures import figure_format
from toca.kernels.narrow import cache_dtype_of
from toca.methods.presets import DEFAULT
from toca.pipelines.arguments import require_argument
from toca.pipelines.calibration import with_calibration
from toca.pipelines.call_sizes import call_sizes
from toca.pipelines.commands.console import errors, output, print_json
from toca.pipelines.loading import pick_device, pick_dtype
from toca.pipelines.method_options import find_method, method_name, override
from toca.pipelines.planning import plan_of
from toca.pipelines.registry import DEFAULT_MODEL
from toca.pipelines.request import Request, foreign_note, own_config, preset_for
from toca.pipelines.skeleton import load_skeleton
from toca.plan.kept import cache_device_of


def run(request: Request, save: Path | None, draw: Path | None, as_json: bool) -> None:
    """Show the plan of a request's method on its model.

    Args:
        request (`Request`): What would be made, and how.
        save (`Path`, *optional*): Where the plan is saved.
        draw (`Path`, *optional*): Where it is drawn.
        as_json (`bool`): Whether for a program.

    Raises:
        ValueError, OSError: For anything that cannot be; one sentence each.
    """
    if draw is not None:
        figure_format(draw)
    cache_dtype_of(request.cache_dtype)
    kept_on = cache_device_of(request.cache_device)
    model = DEFAULT_MODEL if request.model is None else request.model
    request = replace(request, model=model)
    skeleton = load_skeleton(model)
    for name in ("guidance_scale", "height", "width", "num_frames"):
        if getattr(request, name) is not None:
            require_argument(skeleton.pipeline_class, name)
    chosen = with_calibration(_chosen(request, skeleton.transformer), model)
    config = own_config(request, model, skeleton.pipeline_class, chosen)
    made = plan_of(chosen, skeleton, config)
    dtype = pick_dtype(request.dtype, model, pick_device())
    sizes = call_sizes(skeleton, config, dtype)
    most, narrow = request.max_cache_bytes, request.cache_dtype
    kept_in = narrow if most is None else made.fitting_dtype(most, narrow, **sizes, cache_device=kept_on)
    note = foreign_note(request.method, skeleton.transformer)
    if note is not None:
        errors.print(f"Note: {note}", style="yellow")
    cost = made.cost(**sizes, cache_dtype=kept_in, cache_device=kept_on)
    files = _written(made, save, draw, _title(request, chosen, model), sizes)
    computes_in = str(dtype).removeprefix("torch.")
    if as_json:
        facts = {"model": model, "method": method_name(chosen), "dtype": computes_in}
        kept = {"cache_dtype": kept_in, "cache_device": kept_on}
        print_json({**facts, **kept, **_plain(made, cost), "files": [str(path) for path in files]})
        return
    output.print(str(made))
    output.print(f"One sample: {cost} in {kept_in or computes_in}")
    if kept_on is not None:
        output.print(f"  of it {cost.placed_text}")
    for path in files:
        output.print(f"Saved {path}")


def _chosen(request: Request, transformer: Any) -> Any:
    if request.method is None or request.method == DEFAULT:
        return preset_for(str(request.model), transformer, request.settings)
    return override(find_method(request.method), request.settings)


def _title(request: Request, chosen: Any, model: str) -> str:
    """What was asked for, with the preset where the method was chosen for the model."""
    named = method_name(chosen) if request.method in (None, DEFAULT) else request.method
    return cleaned(" ".join([f"{named}", *request.settings, "on", model]), 100)


def _written(plan: Any, save: Path | None, draw: Path | None, title: str, sizes: dict[str, Any]) -> list[Path]:
    """The files that were asked for, once they are there."""
    if save is not None:
        plan.save(save)
    if draw is not None:
        plan.draw(draw, title, **sizes)
    return [path for path in (save, draw) if path is not None]


def _plain(plan: Any, cost: Any) -> dict[str, Any]:
    return {
        "num_inference_steps": plan.num_inference_steps,
        "steps": plan.steps,
        "flops": cost.flops,
        "full_flops": cost.flops_full,
        "flops_speedup": cost.flops_speedup,
        "speedup_is_a_bound": cost.decides_online,
        "tokens_recomputed": cost.tokens_recomputed,
        "cache_bytes": cost.cache_bytes,
        "ram_bytes": cost.ram_bytes,
        "device_bytes": cost.device_bytes,
        "copied_bytes": cost.copied_bytes,
    }
