"""`toca eval`, and `python -m toca.eval` for launchers: what a run measures is in `config/`, how in `study.py`.

Imports are late: whoever only asks for help, or generates a picture, does not wait for the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toca.checks import cleaned, shown
from toca.eval.refusal import Refused
from toca.files.reading import parse_yaml
from toca.pipelines.commands.completion import method_beginning, model_beginning
from toca.pipelines.commands.options import JsonOption

if TYPE_CHECKING:
    from toca.eval.run import Stage

PRESETS = "smoke, default, methods-emoji, drawbench, partiprompts, coco-30k, imagenet-50k"

app = typer.Typer(
    help="Measure what speed costs: samples, times, scores and a report, in stages that resume where they stopped.",
    no_args_is_help=True,
)


def _stage(name: str, stages: Sequence[Stage], about: str) -> None:
    """Add a command that runs these stages. All commands have the same flags, so that one line serves all stages."""

    def command(
        config: Annotated[
            str | None, typer.Argument(metavar="[CONFIG.yaml|PRESET]", help=f"What to measure; presets: {PRESETS}.")
        ] = None,
        model: Annotated[
            list[str] | None,
            typer.Option(metavar="NAME|FOLDER|HUB_ID", help="A pipeline; repeatable.", autocompletion=model_beginning),
        ] = None,
        variant: Annotated[
            list[str] | None,
            typer.Option(
                metavar="NAME[:key=value,value;key=value]",
                help="A method; repeatable.",
                autocompletion=method_beginning,
            ),
        ] = None,
        prompts: Annotated[int | None, typer.Option(min=1, help="How many prompts, by chance.")] = None,
        prompts_file: Annotated[str | None, typer.Option(metavar="FILE|toca-200", help="A list of prompts.")] = None,
        samples: Annotated[int | None, typer.Option(min=1, help="Samples of each prompt.")] = None,
        seed: Annotated[int | None, typer.Option(help="Of prompts and noise.")] = None,
        batch_size: Annotated[int | None, typer.Option(min=1, help="Samples at a time.")] = None,
        repeats: Annotated[int | None, typer.Option(min=1, help="Timed rounds.")] = None,
        warmups: Annotated[int | None, typer.Option(min=1, help="Rounds before them.")] = None,
        steps: Annotated[int | None, typer.Option(min=3, help="Denoising steps of the full run.")] = None,
        guidance_scale: Annotated[float | None, typer.Option(help="Classifier-free guidance.")] = None,
        features: Annotated[
            str | None, typer.Option(metavar="emoji-clip|inception[:FILE]|FILE", help="For FID, KID and the like.")
        ] = None,
        reference: Annotated[Path | None, typer.Option(metavar="FILE", help="Statistics of real pictures.")] = None,
        clip: Annotated[
            list[str] | None, typer.Option(metavar="NAME|FILE|transformers:ID", help="Judge of the CLIP score.")
        ] = None,
        lpips: Annotated[
            Path | None, typer.Option(metavar="FILE", help="Weights of LPIPS; see eval/metrics/lpips.py.")
        ] = None,
        trust_torchscript: Annotated[
            bool, typer.Option("--trust-torchscript", help="Run files of judges that are programs of their authors'.")
        ] = False,
        device: Annotated[str | None, typer.Option(help="For example cpu or cuda:0.")] = None,
        dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")] = None,
        threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of torch.")] = None,
        settings: Annotated[
            list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other field of a configuration.")
        ] = None,
        output: Annotated[Path, typer.Option(metavar="FOLDER", help="Where everything goes.")] = Path("outputs/eval"),
        remote: Annotated[
            str | None,
            typer.Option(
                metavar="URL",
                help="An object store, such as s3://bucket/run: what lacks here is taken from there, what is made is "
                "put there.",
            ),
        ] = None,
        shard: Annotated[
            str | None, typer.Option(metavar="I/N", help="Make only this part of the samples, for job arrays.")
        ] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made, and make nothing.")] = False,
    ) -> None:
        run = _imported()
        flags = {
            "methods": variant, "prompts": prompts, "prompts_file": prompts_file, "samples": samples, "seed": seed,
            "batch_size": batch_size, "repeats": repeats, "warmups": warmups, "steps": steps,
            "guidance_scale": guidance_scale, "scores.features": features, "scores.reference": reference,
            "scores.clip": clip, "scores.lpips": lpips, "scores.trust_torchscript": trust_torchscript or None,
            "device": device, "dtype": dtype, "threads": threads,
        }  # fmt: skip
        given = {key: value for key, value in flags.items() if value not in (None, [])}
        command_line = _import("store.environment").command_line
        everything = given | _parsed(settings or [])
        run(stages, config, model or [], everything, output, shard, command_line(), dry_run, remote)

    app.command(name, help=about)(command)


def _imported() -> Callable[..., None]:
    return _import("run").run


def _import(module: str) -> Any:
    """A module of the evaluation, with all that it stands on."""
    try:
        return import_module(f"toca.eval.{module}")
    except ModuleNotFoundError as error:
        how = 'pip install ".[eval]" in the checkout'
        raise ImportError(f"`toca eval` needs the module {error.name}: {how}") from error


def _parsed(settings: list[str]) -> dict[str, Any]:
    """`KEY=VALUE`, the value in YAML."""
    found = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise Refused(f"--set takes KEY=VALUE, got {shown(setting)}.")
        try:
            found[key.strip()] = parse_yaml(value)
        except ValueError as error:
            raise Refused(f"--set {cleaned(key, 60)} has a value that cannot be read: {error}") from error
    return found


_stage("run", ("generate", "time", "score", "report"), "All stages: samples, times, scores, report.")
_stage("generate", ("generate",), "Make the samples, all or one shard of them; nothing is timed.")
_stage("time", ("time",), "Time every variant in turns with the full run; keep nothing else running.")
_stage("score", ("score",), "Compute fidelity and quality of the samples.")
_stage("report", ("report",), "Write the page, the tables and the plots of what was found.")


@app.command()
def status(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="The --output of a run; outputs/eval unless told.")
    ] = None,
    remote: Annotated[
        str | None, typer.Option(metavar="URL", help="Tell of a run's --remote, and not of a folder.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every picture and compare it with its hash.")] = False,
    as_json: JsonOption = False,
) -> None:
    """How far a run is, whether it runs or stopped: samples, times, scores, pace, time left, what is damaged."""
    _import("progress.showing").show(folder, as_json, verify, remote)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A run's folder, or a JSON file of its report.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another's, which is held against the first.")],
    as_json: JsonOption = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown.")] = False,
) -> None:
    """Two runs, sample by sample: by how much each variant is better in the second, with paired intervals."""
    _import("comparison.showing").show(first, second, as_json, as_markdown)


def _with_flags_of_its_own(name: str, module: str, about: str) -> None:
    """Add a command that a module of `benchmarks` holds; it is imported when it is asked for."""

    def command(context: typer.Context) -> Any:
        alone = typer.Typer(add_completion=False)
        alone.command()(_import(f"benchmarks.{module}").main)
        # The exit code, where it has one: of a command that was interrupted, too.
        return alone(context.args, prog_name=f"toca eval {name}", standalone_mode=False)

    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(name, help=about, context_settings=settings)(command)


_with_flags_of_its_own(
    "bench", "bench.command", "Our methods against the peers, by the clock, in one run: embedded pipelines and "
    "published architectures with random weights.",
)  # fmt: skip
_with_flags_of_its_own(
    "random-weights", "random_weights", "Time a published architecture with random weights, without a download.",
)  # fmt: skip
