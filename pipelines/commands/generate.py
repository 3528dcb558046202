"""`toca generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toca.pipelines.commands import options
from toca.pipelines.commands.completion import list_beginning
from toca.pipelines.commands.joining import command
from toca.pipelines.config import LARGEST_BATCH, MOST_IMAGES

FileOption = Annotated[
    Path | None, typer.Option("--from", metavar="FILE.png", help="Make that picture again; other options override.")
]
PromptsOption = Annotated[
    str | None,
    typer.Option(
        "--prompts-file",
        metavar="FILE|toca-200",
        help="Prompts or classes, one a line, or a list of toca.",
        autocompletion=list_beginning,
    ),
]
OutputOption = Annotated[
    str | None, typer.Option("--output", metavar="FILE|FOLDER", help="Where to save; `outputs` by default.")
]


@command(place=10)
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What to make.", show_default=False)] = None,
    prompts_file: PromptsOption = None,
    class_label: Annotated[str | None, typer.Option(help="Number or name of a class, for models of classes.")] = None,
    model: options.ModelOption = None,
    method: options.MethodOption = None,
    plan: Annotated[str | None, typer.Option(metavar="FILE", help="A plan saved by `toca plan`.")] = None,
    speedup: options.SpeedupOption = None,
    settings: options.SetOption = None,
    steps: options.StepsOption = None,
    guidance_scale: options.GuidanceOption = None,
    height: options.HeightOption = None,
    width: options.WidthOption = None,
    num_frames: options.FramesOption = None,
    seed: options.SeedOption = None,
    batch_size: Annotated[int | None, typer.Option(min=1, max=LARGEST_BATCH, help="Images at a time.")] = None,
    num_images: Annotated[int | None, typer.Option(min=1, max=MOST_IMAGES, help="How many images.")] = None,
    dtype: options.DtypeOption = None,
    device: options.DeviceOption = None,
    cache_dtype: options.CacheDtypeOption = None,
    cache_device: options.CacheDeviceOption = None,
    max_cache_bytes: options.CacheBytesOption = None,
    output_path: OutputOption = None,
    compare: Annotated[bool, typer.Option("--compare", help="Also run the full model; show both.")] = False,
    from_file: FileOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the model and files that --from names.")] = False,
    pickled_weights: options.PicklesOption = False,
) -> None:
    """Generate images or a video from a prompt."""
    from toca.pipelines.request import Request
    from toca.pipelines.running.generate import run

    request = Request(
        prompt, class_label, model, method, plan, settings or [], steps, guidance_scale, height, width, num_frames,
        seed, batch_size, num_images, dtype, device, pickled_weights, speedup, cache_dtype, cache_device,
        max_cache_bytes,
    )  # fmt: skip
    run(request, prompts_file, output_path, compare, from_file, yes)
