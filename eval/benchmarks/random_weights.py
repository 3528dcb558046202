"""Real architectures with random weights: time, memory and FLOPs depend on shapes, not on what was learned.

`python -m toca.eval.benchmarks.random_weights flux-dev --method toca/flux --device cuda --dtype bfloat16` times text
encoders, denoiser, VAE and all of it together, and downloads nothing. `--scale 0.25` makes a quarter of the layers a
quarter as wide; with `--in-ram` each method is timed with its cache in the machine's memory too, in the same turns.
The models are those of `toca.eval.architectures`. `--method toca` is the setting for the model's family; a model whose
family toca does not know is timed uncached.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

import toca
from toca.eval.architectures import Architecture, Setting, architecture, names
from toca.eval.architectures.calls import Calls, Scene, calls_of
from toca.eval.architectures.making import compile_all, make_random
from toca.eval.architectures.memory import GIB, check_memory
from toca.eval.architectures.stock import latent_of
from toca.eval.benchmarks.tables import print_table
from toca.eval.store.environment import machine
from toca.eval.store.sealed import write_json
from toca.eval.timing.parts import DENOISER, REPEATS, TOTAL, WARMUPS, PartCosts, Workload, gain, measure_parts, spread
from toca.methods import Method
from toca.methods.presets import DEFAULT, default_for
from toca.models import FAMILIES
from toca.pipelines.commands.console import output as console
from toca.pipelines.loading import pick_device, pick_dtype
from toca.registry import named

UNCACHED = "uncached"
IN_RAM = ", in RAM"
"""After a method's name: with its cache in the machine's memory."""


@dataclass(frozen=True, eq=False)
class RandomModel:
    """A model of a published architecture with random weights; called, it does the work of one generation.

    It has a diffusers pipeline's `components`, and no scheduler: its latents turn by themselves, and what the VAE
    decodes is noise.

    Args:
        architecture (`Architecture`): What it is.
        components (`dict[str, nn.Module]`): All models, by their names in the pipeline.
        calls (`Calls`): Of the transformer, in one generation.
        texts (`dict[str, Tensor]`): Token ids (batch, tokens) of each text encoder, by its name.
        latents (`Tensor`): What is decoded, (batch, channels, height, width) or (batch, channels, frames, ...).
    """

    architecture: Architecture
    components: dict[str, nn.Module]
    calls: Calls
    texts: dict[str, Tensor]
    latents: Tensor

    @property
    def transformer(self) -> nn.Module:
        return self.components["transformer"]

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """Encode text, denoise, decode: pixels of noise, (batch, 3, height, width) or (batch, 3, frames, ...)."""
        # Unless the scale is an input of the model, the empty prompt is encoded as well.
        for _ in range(1 if self.architecture.guidance == "embedded" else 2):
            for name, ids in self.texts.items():
                self.components[name](input_ids=ids)
        for call in self.calls:
            self.transformer(**call)
        vae: Any = self.components["vae"]
        return vae.decode(self.latents, return_dict=False)[0]

    def cached(self, method: Method | str, **keeping: Any) -> AbstractContextManager[nn.Module]:
        """The method on the transformer, for the length of a `with` block; `keeping` as for `toca.enable_cache`.

        Raises:
            ValueError: If toca does not know the family.
        """
        check_cacheable(self.architecture)
        batched = self.architecture.guidance == "batched"
        options = {"num_inference_steps": self.calls.steps, "batched_cfg": batched, **keeping}
        return toca.cached(self.transformer, method, **options)

    def workload(self, method: Method | str | None = None, **keeping: Any) -> Workload:
        """What `toca.eval.timing.parts.measure_parts` measures: a generation with the method, uncached for `None`;
        `keeping` as for `toca.enable_cache`.

        Raises:
            ValueError: If toca does not know the family.
        """
        if method is None:
            return Workload(self)
        check_cacheable(self.architecture)
        on = partial(self.cached, method, **keeping)
        return Workload(self, on, lambda: toca.summary(self.transformer).cache_bytes)


def check_cacheable(model: Architecture) -> None:
    """Raises `ValueError` where toca does not know the family of a model."""
    if not model.cacheable:
        raise ValueError(
            f"{model.name} can only be timed uncached, because toca does not know {model.transformer.class_name}: "
            "leave the method out."
        )


def method_of(name: str, model: Architecture) -> Method:
    """A method by its name or a preset's; `"toca"` is the one that suits the model's family.

    Raises:
        ValueError: If there is none of this name.
    """
    spec = next((spec for spec in FAMILIES.values() if spec.transformer == model.transformer.class_name), None)
    return default_for(spec).method if name == DEFAULT and spec is not None else named(name)


def build(
    name: str,
    scale: float = 1.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    batch_size: int = 1,
    setting: Setting | None = None,
) -> RandomModel:
    """A published model with random weights, and the inputs of one generation.

    Args:
        name (`str`): One of `toca.eval.architectures.names()`.
        scale (`float`, defaults to 1.0): Share of the layers and of the width of every model, above 0 and up to 1.
            Heads keep their size; sizes, steps and the length of the text stay as they are.
        device, dtype: Of weights and inputs.
        batch_size (`int`, defaults to 1): Pictures or videos of one generation.
        setting (`Setting`, *optional*): Size, steps, guidance and text length; the architecture's own unless told.
            `dataclasses.replace(architecture(name).defaults, steps=4)` changes one of them.

    Raises:
        ValueError: If the name is unknown, a value cannot be, or the weights do not fit into the device's memory.
    """
    model, setting, place = _chosen(name, scale, device, batch_size, setting)
    check_memory(model.name, list(model.components.values()), scale, place, dtype)
    components = {part: make_random(component, scale, place, dtype) for part, component in model.components.items()}
    if model.vae.tiling:
        vae: Any = components["vae"]
        vae.enable_tiling()
    return RandomModel(
        architecture=model,
        components=components,
        calls=_calls(model, scale, place, dtype, batch_size, setting),
        texts=_texts(model, components, batch_size, place),
        latents=torch.randn(batch_size, *latent_of(model, setting), generator=_generator()).to(place, dtype),
    )


def build_denoiser(
    name: str,
    scale: float = 1.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    batch_size: int = 1,
    setting: Setting | None = None,
) -> tuple[nn.Module, Calls]:
    """The transformer of `build` alone, and its calls in one generation; the same arguments and errors."""
    model, setting, place = _chosen(name, scale, device, batch_size, setting)
    check_memory(model.name, [model.transformer], scale, place, dtype)
    transformer = make_random(model.transformer, scale, place, dtype)
    return transformer, _calls(model, scale, place, dtype, batch_size, setting)


def _chosen(
    name: str, scale: float, device: torch.device | str, batch_size: int, setting: Setting | None
) -> tuple[Architecture, Setting, torch.device]:
    """What the arguments of `build` mean, checked."""
    model = architecture(name)
    setting = setting or model.defaults
    _check(model, scale, batch_size, setting)
    return model, setting, torch.device(device)


def _check(model: Architecture, scale: float, batch_size: int, setting: Setting) -> None:
    if not 0 < scale <= 1:
        raise ValueError(f"`scale` must be above 0 and at most 1, got {scale:g}.")
    counts = {"batch_size": batch_size, "steps": setting.steps}
    if model.text_encoders:
        counts["text_tokens"] = setting.text_tokens
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    for name, value in (("height", setting.height), ("width", setting.width)):
        if value < 1 or value % model.pixels_per_token:
            raise ValueError(f"`{name}` must be a multiple of {model.pixels_per_token} for {model.name}, got {value}.")
    if model.vae.time == 1 and setting.frames != 1:
        raise ValueError(f"`frames` must be 1 for {model.name}, which makes pictures, got {setting.frames}.")
    if setting.frames < 1 or (setting.frames - 1) % model.vae.time:
        raise ValueError(
            f"`frames` must be 1 more than a multiple of {model.vae.time} for {model.name}, got {setting.frames}."
        )


def _calls(
    model: Architecture, scale: float, device: torch.device, dtype: torch.dtype, batch_size: int, setting: Setting
) -> Calls:
    scene = Scene(
        config=model.transformer.config_at(scale),
        samples=batch_size,
        latent=latent_of(model, setting),
        height=setting.height,
        width=setting.width,
        text_tokens=setting.text_tokens,
        guidance_scale=setting.guidance_scale,
        device=device,
        dtype=dtype,
    )
    return calls_of(model.transformer.class_name, scene, setting.steps)


def _texts(
    model: Architecture, components: dict[str, nn.Module], batch_size: int, device: torch.device
) -> dict[str, Tensor]:
    texts = {}
    for name, encoder in zip(components, model.text_encoders, strict=False):
        shape, vocabulary = (batch_size, encoder.tokens), encoder.component.config["vocab_size"]
        texts[name] = torch.randint(vocabulary, shape, generator=_generator()).to(device)
    return texts


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# --- command line --------------------------------------------------------------------------------------------------


def print_costs(about: str, costs: dict[str, PartCosts]) -> None:
    """The table people read: seconds of every part, and what the first workload pays more than the others."""
    full = next(iter(costs.values()))
    figures = ("denoiser speed-up", "wall / FLOPs", "peak GiB", "cache MiB", "compile s")
    rows = [_cells(name, full, cost) for name, cost in costs.items()]
    print_table(about, ["variant", *full.seconds, *figures], rows, width=160)
    if not full.enough:
        console.print(f"Too few rounds for a figure to rely on: take {WARMUPS} warm-ups and {REPEATS} repeats.")


def _cells(name: str, full: PartCosts, cost: PartCosts) -> list[str]:
    return [name, *(_seconds(cost, part) for part in cost.seconds), *_figures(full, cost)]


def _seconds(cost: PartCosts, part: str) -> str:
    of = spread(cost.seconds[part])
    return f"{of['median']:.3f} s, IQR {of['iqr']:.3f}, p90 {of['p90']:.3f}"


def _figures(full: PartCosts, cost: PartCosts) -> list[str]:
    gained = gain(full, cost)
    peak = cost.memory.allocated or cost.memory.resident
    return [
        f"{gained.wall[0]:.2f} ({gained.wall[1]:.2f}-{gained.wall[2]:.2f})",
        f"{gained.wall_over_flops:.2f}",
        f"{peak / GIB:.2f}" if peak else "–",
        f"{cost.cache_bytes / 2**20:.1f}",
        f"{cost.compile_seconds:.1f}",
    ]


def _title(model: Architecture, scale: float, batch_size: int, setting: Setting) -> str:
    frames = f"{setting.frames} frames of " if setting.frames > 1 else ""
    size = f"{frames}{setting.height} x {setting.width}, {setting.steps} steps, {batch_size} at a time"
    return f"{model.about}, random weights, scale {scale:g}, {size}"


def _given(**values: int | None) -> dict[str, int]:
    return {name: value for name, value in values.items() if value is not None}


def _record(model: RandomModel, costs: dict[str, PartCosts]) -> dict[str, Any]:
    full = costs[UNCACHED]
    gains = {
        name: {part: gain(full, cost, part).record() for part in (DENOISER, TOTAL)} for name, cost in costs.items()
    }
    weights = {name: sum(p.numel() for p in module.parameters()) for name, module in model.components.items()}
    return {
        "model": model.architecture.name,
        "parameters": weights,
        "machine": machine(model.latents.device),
        "dtype": str(model.latents.dtype).removeprefix("torch."),
        "jobs": {name: {**cost.record(), "gain": gains[name]} for name, cost in costs.items()},
    }


def main(
    name: Annotated[str, typer.Argument(help=f"Architecture: {', '.join(names())}.")],
    scale: Annotated[float, typer.Option(help="Share of layers and width, up to 1.")] = 1.0,
    method: Annotated[list[str] | None, typer.Option(help="Method or preset of toca; again for more.")] = None,
    device: Annotated[str | None, typer.Option(help="The best one here unless told.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 on a CPU, else bfloat16, unless told.")] = None,
    batch_size: int = 1,
    height: Annotated[int | None, typer.Option(help="Pixels.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels.")] = None,
    frames: Annotated[int | None, typer.Option(help="Of a video.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    compile_blocks: Annotated[bool, typer.Option("--compile", help="Compile the blocks with fullgraph.")] = False,
    cache_dtype: Annotated[str | None, typer.Option(help="What caches are kept in.")] = None,
    in_ram: Annotated[bool, typer.Option("--in-ram", help="Each method with its cache in RAM too.")] = False,
    repeats: int = REPEATS,
    warmups: int = WARMUPS,
    output: Annotated[Path | None, typer.Option(help="JSON file.")] = None,
) -> None:
    """Time a published architecture with random weights, uncached and with each method, part by part."""
    try:
        published = architecture(name)
        if method:
            check_cacheable(published)
        methods = {name: method_of(name, published) for name in method or ()}
        setting = replace(published.defaults, **_given(height=height, width=width, frames=frames, steps=steps))
        place = pick_device(device)
        precision = pick_dtype(dtype, name, place)
        model = build(name, scale, place, precision, batch_size=batch_size, setting=setting)
        if compile_blocks:
            compile_all(model.transformer, published.blocks)
        workloads = {UNCACHED: model.workload()}
        for preset, found in methods.items():
            workloads[preset] = model.workload(found, cache_dtype=cache_dtype)
            if in_ram:
                workloads[preset + IN_RAM] = model.workload(found, cache_dtype=cache_dtype, cache_device="cpu")
        costs = measure_parts(model.components, workloads, repeats, warmups)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    print_costs(_title(published, scale, batch_size, setting), costs)
    if output is not None:
        record = {**_record(model, costs), "scale": scale, "setting": asdict(setting), "compiled": compile_blocks}
        write_json(output, {**record, "batch_size": batch_size})
    idle = [preset for preset in methods if gain(costs[UNCACHED], costs[preset]).skipped_nothing]
    if idle:
        typer.echo(f"{', '.join(idle)} skipped nothing in {setting.steps} steps: take more steps.", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
