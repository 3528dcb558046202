"""`toca plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toca.files.figures import figure_format
from toca.kernels.narrow import cache_dtype_of
from toca.methods.presets import DEFAULT
from toca.pipelines.arguments import require_argument
from toca.pipelines.calibration import with_calibration
from toca.pipelines.call_sizes import call_sizes
from toca.pipelines.commands import options
from toca.pipelines.commands.console import errors, output
from toca.pipelines.commands.joining import command
from toca.pipelines.loading import pick_device, pick_dtype
from toca.pipelines.method_options import find_method, override
from toca.pipelines.planning import plan_of
from toca.pipelines.registry import DEFAULT_MODEL
from toca.pipelines.request import Request, foreign_note, own_config, preset_for
from toca.pipelines.skeleton import load_skeleton

SaveOption = Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="Save the plan, for `--plan`.")]
DrawOption = Annotated[Path | None, typer.Option(metavar="FILE.png|pdf|svg", help="Draw the plan as a heat map.")]
PromptArgument = Annotated[
    str | None, typer.Argument(help="What would be made; its length counts for some models.", show_default=False)
]


@command(place=40)
def plan(
    prompt: PromptArgument = None,
    model: options.ModelOption = None,
    method: options.MethodOption = None,
    settings: options.SetOption = None,
    steps: options.StepsOption = None,
    guidance_scale: options.GuidanceOption = None,
    height: options.HeightOption = None,
    width: options.WidthOption = None,
    num_frames: options.FramesOption = None,
    dtype: options.DtypeOption = None,
    cache_dtype: options.CacheDtypeOption = None,
    max_cache_bytes: options.CacheBytesOption = None,
    save: SaveOption = None,
    draw: DrawOption = None,
) -> None:
    """Show what a method would do and cost on a model, without running it: no weights are loaded."""
    if draw is not None:
        figure_format(draw)
    cache_dtype_of(cache_dtype)
    model = DEFAULT_MODEL if model is None else model
    request = Request(prompt, model=model, settings=settings or [], steps=steps, guidance_scale=guidance_scale,
                      height=height, width=width, num_frames=num_frames)  # fmt: skip
    skeleton = load_skeleton(model)
    for name in ("guidance_scale", "height", "width", "num_frames"):
        if getattr(request, name) is not None:
            require_argument(skeleton.pipeline_class, name)
    chosen = with_calibration(_chosen(request, method, skeleton.transformer), model)
    config = own_config(request, model, skeleton.pipeline_class, chosen)
    made = plan_of(chosen, skeleton, config)
    sizes = call_sizes(skeleton, config, pick_dtype(dtype, model, pick_device()))
    kept_in = cache_dtype if max_cache_bytes is None else made.fitting_dtype(max_cache_bytes, cache_dtype, **sizes)
    note = foreign_note(method, skeleton.transformer)
    if note is not None:
        errors.print(f"Note: {note}", style="yellow")
    output.print(str(made))
    output.print(f"One sample: {made.cost(**sizes, cache_dtype=kept_in)}{f' in {kept_in}' if kept_in else ''}")
    for path, write in ((save, made.save), (draw, lambda path: made.draw(path, **sizes))):
        if path is not None:
            write(path)
            output.print(f"Saved {path}")


def _chosen(request: Request, method: str | None, transformer: Any) -> Any:
    if method is None or method == DEFAULT:
        return preset_for(str(request.model), transformer, request.settings)
    return override(find_method(method), request.settings)
