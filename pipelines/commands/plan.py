"""`toca plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toca.pipelines.commands import options
from toca.pipelines.commands.joining import command

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
    cache_device: options.CacheDeviceOption = None,
    max_cache_bytes: options.CacheBytesOption = None,
    save: SaveOption = None,
    draw: DrawOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show what a method would do and cost on a model, without running it: no weights are loaded."""
    from toca.pipelines.request import Request
    from toca.pipelines.running.plan import run

    request = Request(
        prompt, model=model, method=method, settings=settings or [], steps=steps, guidance_scale=guidance_scale,
        height=height, width=width, num_frames=num_frames, dtype=dtype, cache_dtype=cache_dtype,
        cache_device=cache_device, max_cache_bytes=max_cache_bytes,
    )  # fmt: skip
    run(request, save, draw, as_json)
