"""`toca calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toca.pipelines.commands import options
from toca.pipelines.commands.completion import method_beginning
from toca.pipelines.commands.joining import command

MethodOption = Annotated[
    str, typer.Option("--method", metavar="NAME", help="What to calibrate for.", autocompletion=method_beginning)
]
PromptsOption = Annotated[
    Path | None, typer.Option("--prompts", metavar="FILE.txt", help="Prompts, or names of classes, one a line.")
]
PromptOption = Annotated[list[str] | None, typer.Option("--prompt", metavar="TEXT", help="A prompt; repeatable.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", metavar="FILE.json", help="By default the names of method and model.")
]
DrawOption = Annotated[
    Path | None, typer.Option("--draw", metavar="FILE.png|pdf|svg", help="Draw what was measured, and what follows.")
]


@command(place=50)
def calibrate(
    method: MethodOption,
    model: options.ModelOption = None,
    prompts: PromptsOption = None,
    prompt: PromptOption = None,
    settings: options.SetOption = None,
    steps: options.StepsOption = None,
    guidance_scale: options.GuidanceOption = None,
    height: options.HeightOption = None,
    width: options.WidthOption = None,
    num_frames: options.FramesOption = None,
    seed: options.SeedOption = None,
    dtype: options.DtypeOption = None,
    device: options.DeviceOption = None,
    output_path: OutputOption = None,
    draw: DrawOption = None,
    pickled_weights: options.PicklesOption = False,
) -> None:
    """Measure a model for a method that must know it: the uncached model runs on prompts."""
    from toca.pipelines.request import Request
    from toca.pipelines.running.calibrate import run

    request = Request(
        None, None, model, method, None, settings or [], steps, guidance_scale, height, width, num_frames, seed, None,
        None, dtype, device, pickled_weights,
    )  # fmt: skip
    run(request, prompts, prompt or [], output_path, draw)
