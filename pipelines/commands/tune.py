"""`toca tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toca.pipelines.commands import options
from toca.pipelines.commands.completion import method_beginning
from toca.pipelines.commands.joining import command
from toca.pipelines.registry import DEFAULT_MODEL

SpeedupOption = Annotated[
    float | None, typer.Option("--speedup", metavar="X", help="One to tell of, and to mark in the drawing.")
]
CountOption = Annotated[
    int | None,
    typer.Option("--prompts", metavar="N", help="How many of the model's own prompts; 12 by default."),
]
FileOption = Annotated[
    Path | None, typer.Option("--prompts-file", metavar="FILE.txt", help="Prompts, or names of classes, one a line.")
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="Find thresholds of this method too, or alone if there is a front.",
        autocompletion=method_beginning,
    ),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", metavar="FILE.json", help="Save the front there as well.")
]
DrawOption = Annotated[
    Path | None, typer.Option("--draw", metavar="FILE.png|pdf|svg", help="Draw quality over speed-up.")
]


@command(place=45)
def tune(
    model: options.ModelArgument = DEFAULT_MODEL,
    speedup: SpeedupOption = None,
    prompts: CountOption = None,
    prompts_file: FileOption = None,
    method: MethodOption = None,
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
    """Search a model for the best plan at every speed: then `toca generate --speedup` takes it."""
    from toca.pipelines.request import Request
    from toca.pipelines.running.tune import Wishes, run

    request = Request(
        None, None, model, None, None, [], steps, guidance_scale, height, width, num_frames, seed, None, None, dtype,
        device, pickled_weights,
    )  # fmt: skip
    run(request, Wishes(speedup, prompts, prompts_file, tuple(method or ()), output_path, draw))
