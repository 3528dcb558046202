"""`toca plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import toca
from toca.figure_file import figure_format
from toca.models import family_of
from toca.pipelines.arguments import require_argument
from toca.pipelines.calibration import with_calibration
from toca.pipelines.commands import options
from toca.pipelines.commands.console import output
from toca.pipelines.loading import load_skeleton, pick_device, pick_dtype
from toca.pipelines.method_options import find_method, override
from toca.pipelines.registry import DEFAULT_MODEL, find_model
from toca.pipelines.request import default_steps, own_sizes, preset_for

SaveOption = Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="Save the plan, for `--plan`.")]
DrawOption = Annotated[Path | None, typer.Option(metavar="FILE.png|pdf|svg", help="Draw the plan as a heat map.")]


def plan(
    model: options.ModelOption = None,
    method: options.MethodOption = None,
    settings: options.SetOption = None,
    steps: options.StepsOption = None,
    height: options.HeightOption = None,
    width: options.WidthOption = None,
    num_frames: options.FramesOption = None,
    save: SaveOption = None,
    draw: DrawOption = None,
) -> None:
    """Show what a method would do and cost on a model, without running it: no weights are loaded."""
    if draw is not None:
        figure_format(draw)
    model = model or DEFAULT_MODEL
    pipeline_class, transformer, vae = load_skeleton(model)
    size = {"height": height, "width": width, "num_frames": num_frames}
    for name in (name for name, value in size.items() if value is not None):
        require_argument(pipeline_class, name)
    own = own_sizes(model, pipeline_class)
    size = {name: own.get(name) if value is None else value for name, value in size.items()}
    chosen = preset_for(model, transformer, settings or []) if method is None else _chosen(method, settings)
    chosen = with_calibration(chosen, model)
    made = make_plan(chosen, transformer, steps or _own_steps(model, pipeline_class, chosen))
    output.print(str(made))
    output.print(f"One sample: {_cost(made, model, transformer, vae, tuple(size.values()))}")
    for path, write in ((save, made.save), (draw, made.draw)):
        if path is not None:
            write(path)
            output.print(f"Saved {path}")


def _chosen(method: str, settings: list[str] | None) -> Any:
    return override(find_method(method), settings or [])


def _own_steps(model: str, pipeline_class: type, method: Any) -> int:
    planned = getattr(method, "num_inference_steps", None)
    if planned is not None:
        return planned
    entry = find_model(model)
    return entry.steps if entry else default_steps(pipeline_class)


def make_plan(method: Any, transformer: Any, steps: int) -> Any:
    """The plan of a method for a transformer; a plan is itself if its number of steps is right."""
    if not isinstance(method, toca.Plan):
        return method.plan(transformer, steps)
    if method.num_inference_steps != steps:
        raise ValueError(f"The plan is for {method.num_inference_steps} steps, not for {steps}.")
    return method


def _cost(plan: Any, model: str, transformer: Any, vae: dict[str, Any], size: tuple[int | None, ...]) -> Any:
    """The cost of one sample, with both guidance branches where the family's pipelines batch them."""
    height, width = (_latent(pixels, vae) for pixels in size[:2])
    family = family_of(transformer)
    batched = family is not None and family.batched_cfg
    return plan.cost(
        batch_size=2 if batched else 1,
        height=height,
        width=width,
        num_frames=size[2],
        batched_cfg=batched,
        dtype=pick_dtype(None, model, pick_device()),
    )


def _latent(pixels: int | None, vae: dict[str, Any]) -> int | None:
    """Pixels to latent pixels: a VAE halves the size between its levels."""
    factor = 2 ** (len(vae.get("block_out_channels", [0])) - 1)
    if pixels is None:
        return None
    if pixels % factor:
        raise ValueError(f"Height and width must be multiples of {factor} for this model, got {pixels}.")
    return pixels // factor
