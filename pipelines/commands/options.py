"""The options that more than one command has."""

from __future__ import annotations

from typing import Annotated

import typer

from toca.pipelines.commands.completion import method_beginning, model_beginning
from toca.pipelines.config import LARGEST_SEED, LARGEST_SIDE, MOST_FRAMES, MOST_STEPS

ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME|FOLDER|HUB_ID", help="See `toca models`.", autocompletion=model_beginning),
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A name, a folder or a hub id; see `toca models`.", autocompletion=model_beginning
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="A preset, a method or a plan file; see `toca methods`.",
        autocompletion=method_beginning,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
SpeedupOption = Annotated[
    float | None, typer.Option("--speedup", metavar="X", help="The best that is X times as fast; see `toca tune`.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the method; repeatable.")
]
StepsOption = Annotated[int | None, typer.Option("--steps", min=1, max=MOST_STEPS, help="Denoising steps.")]
GuidanceOption = Annotated[float | None, typer.Option("--guidance-scale", help="Classifier-free guidance.")]
HeightOption = Annotated[int | None, typer.Option("--height", min=1, max=LARGEST_SIDE, help="Pixels.")]
WidthOption = Annotated[int | None, typer.Option("--width", min=1, max=LARGEST_SIDE, help="Pixels.")]
DtypeOption = Annotated[str | None, typer.Option("--dtype", help="float32, float16 or bfloat16.")]
CacheDtypeOption = Annotated[
    str | None, typer.Option("--cache-dtype", help="What the cache is kept in: bf16, fp16 or fp8.")
]
CacheDeviceOption = Annotated[
    str | None, typer.Option("--cache-device", help="Where the cache lies: cpu for the machine's memory.")
]
CacheBytesOption = Annotated[
    int | None, typer.Option("--max-cache-bytes", min=0, help="Narrow the cache until it fits, or refuse.")
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="For example cpu or cuda:0.")]
FramesOption = Annotated[int | None, typer.Option("--num-frames", min=1, max=MOST_FRAMES, help="Frames of a video.")]
SeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Number i starts from the noise of seed + i.")
]
PicklesOption = Annotated[
    bool, typer.Option("--pickled-weights", help="Read weights that are pickles; only of models that you trust.")
]
