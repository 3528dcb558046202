"""Trains a router that says, for every step and site, whether to compute or to reuse. See README.md beside this file.

python -m examples.routers.train --smoke
python -m examples.routers.train --recipe learning-to-cache --model emoji-flux
python -m examples.routers.train --recipe harmonica --output router.json
"""

from __future__ import annotations

import argparse
import inspect
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich import print
from rich.progress import track
from torch import Tensor

from toca.files.writing import atomic_path
from toca.methods.router import RECIPES, Router
from toca.models import describe, family_of
from toca.models.fingerprint import fingerprint
from toca.pipelines.loading import load, resolve_source
from toca.pipelines.prompts import known_prompts
from toca.pipelines.registry import find_model
from toca.plan.schedulers import SchedulerMark

from .blending import Blender
from .conditions import split_prompts
from .harmonica import HarmoniCa
from .learning_to_cache import LearningToCache
from .loop import mean_losses, train
from .recipe import Recipe, Settings
from .trajectory import Denoiser

PUBLISHED = {"learning-to-cache": Settings(64, 1e-3, 5e-6), "harmonica": Settings(64, 1e-2, 7e-8)}
FOLDER = Path(".data/routers")
SMOKE = {"batch": 2, "iterations": 40, "latents": 4}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="learning-to-cache")
    parser.add_argument("--output", type=Path, help="the router's file; .data/routers/MODEL-RECIPE.json if not given")
    parser.add_argument("--model", default="emoji", help="a name, a folder or a hub id, as for toca generate")
    parser.add_argument("--prompts", type=Path, help="captions, one a line; the model's prompts.json if not given")
    parser.add_argument("--steps", type=int, default=20, help="the number of steps the router is for")
    parser.add_argument("--guidance-scale", type=float, help="what suits the model, if not given")
    parser.add_argument("--size", type=int, help="of the pictures in pixels; what suits the model, if not given")
    parser.add_argument("--iterations", type=int, default=2000, help="steps of the optimizer")
    parser.add_argument("--batch", type=int, help="samples in an iteration; 64 if not given")
    parser.add_argument("--lr", type=float, help="the published one if not given: 1e-3 (L2C), 1e-2 (HarmoniCa)")
    parser.add_argument("--weight", type=float, help="of sum r; published: 5e-6 at 20 steps (L2C), 7e-8 (HarmoniCa)")
    parser.add_argument("--threshold", type=float, default=0.1, help="r above which a site counts as computed")
    parser.add_argument("--latents", type=int, default=256, help="clean latents generated for learning-to-cache")
    parser.add_argument("--proxy-every", type=int, default=500, help="iterations between image errors (HarmoniCa)")
    parser.add_argument("--proxy-batch", type=int, default=4, help="samples that they are measured on, at most")
    parser.add_argument("--start", type=Path, help="a router of the same model and steps to go on from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="the best one here if not given")
    parser.add_argument("--work", type=Path, help="folder of checkpoint, log and the routers on the way")
    parser.add_argument("--smoke", action="store_true", help=f"a trial of a minute, which learns nothing: {SMOKE}")
    options = parser.parse_args(arguments)
    name = f"{Path(options.model).name}-{options.recipe}{'-smoke' if options.smoke else ''}"
    options.output = options.output or FOLDER / f"{name}.json"
    options.work = options.work or FOLDER / options.output.stem
    if options.smoke:
        vars(options).update(SMOKE)
    return options


def settings_of(options: argparse.Namespace) -> Settings:
    """The published settings with what the command line changes."""
    given = {name: getattr(options, name) for name in ("batch", "lr", "weight", "threshold", "seed")}
    return Settings(**{**asdict(PUBLISHED[options.recipe]), **{k: v for k, v in given.items() if v is not None}})


def training_prompts(options: argparse.Namespace) -> list[str]:
    """The captions to train with."""
    if options.prompts is not None:
        lines = options.prompts.read_text(encoding="utf-8").splitlines()
        return split_prompts([line.strip() for line in lines if line.strip()])[0]
    return split_prompts(known_prompts(resolve_source(options.model)))[0]


def guidance_scale(options: argparse.Namespace, pipe: Any) -> float:
    """The scale asked for, else the model's, else the pipeline's."""
    if options.guidance_scale is not None:
        return options.guidance_scale
    entry = find_model(options.model)
    own = inspect.signature(type(pipe).__call__).parameters["guidance_scale"].default
    return entry.guidance_scale if entry else own


def clean_latents(denoiser: Denoiser, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Latents that the model itself made in full steps, with the index of each one's caption; made once."""
    path = options.work / f"latents-{denoiser.steps}-steps-{options.latents}-seed-{options.seed}.pt"
    if not path.exists():
        generator = torch.Generator().manual_seed(options.seed)
        captions = denoiser.captions(options.latents, generator)
        parts = captions.split(16)
        made = [denoiser.sampling(part, generator).finish() for part in track(parts, "making clean latents")]
        with atomic_path(path) as temporary:
            torch.save((torch.cat(made).cpu(), captions), temporary)
    clean, captions = torch.load(path, weights_only=True)
    return clean.to(denoiser.device), captions


def recipe_of(options: argparse.Namespace, denoiser: Denoiser, blender: Blender) -> Recipe:
    """The recipe with its data, at its beginning."""
    recipe = _new_recipe(options, denoiser, blender)
    if options.start is not None:
        recipe.logits.start_from(Router.load(options.start).scores)
    return recipe


def _new_recipe(options: argparse.Namespace, denoiser: Denoiser, blender: Blender) -> Recipe:
    settings = settings_of(options)
    if options.recipe == "harmonica":
        proxy = {"proxy_every": options.proxy_every, "proxy_batch": min(options.proxy_batch, settings.batch)}
        return HarmoniCa(denoiser, blender, settings, **proxy)
    clean, captions = clean_latents(denoiser, options)
    return LearningToCache(denoiser, blender, settings, clean=clean, captions=captions)


def made_with(options: argparse.Namespace, denoiser: Denoiser) -> dict[str, Any]:
    """All that decides, with the iterations, what comes out."""
    own = {"proxy_every": options.proxy_every} if options.recipe == "harmonica" else {"latents": options.latents}
    model = {"model": options.model, "guidance_scale": denoiser.guidance_scale}
    model |= {} if options.start is None else {"start": options.start.name}
    model |= {} if options.size is None else {"size": options.size}
    return {**model, **asdict(settings_of(options)), **own}


def router_of(recipe: Recipe, pipe: Any, made_with: dict[str, Any]) -> Router:
    """What the file says."""
    losses = {"losses": mean_losses(recipe.losses)}  # iteration, loss, error
    return Router(
        recipe=recipe.name,
        model=fingerprint(describe(pipe.transformer, family_of(pipe.transformer))),
        num_inference_steps=recipe.denoiser.steps,
        scheduler=SchedulerMark.of(pipe.scheduler),
        scores=recipe.logits.table(),
        training={"iterations": recipe.iteration, **made_with, **recipe.facts(), **losses},
    )


def run(options: argparse.Namespace) -> Router:
    """Train, and write the router; those on the way lie in `routers` in the folder of the run."""
    print(f"loading {options.model}")
    pipe = load(options.model, dtype="float32", device=options.device)
    pipe.set_progress_bar_config(disable=True)
    denoiser = Denoiser(pipe, training_prompts(options), options.steps, guidance_scale(options, pipe), options.size)
    facts = made_with(options, denoiser)
    (options.work / "routers").mkdir(parents=True, exist_ok=True)
    with Blender(pipe.transformer) as blender:
        recipe = recipe_of(options, denoiser, blender)
        made_by = {"recipe": recipe.name, "steps": options.steps, **facts}

        def put_aside(iteration: int) -> None:
            router_of(recipe, pipe, facts).save(options.work / "routers" / f"{iteration:06d}.json")

        train(recipe, options.iterations, options.work, made_by, put_aside)
    router = router_of(recipe, pipe, facts)
    router.save(options.output)
    print(f"saved {options.output}: {recipe.logits.share(options.threshold):.1%} of the learned entries computed.")
    return router


def main(arguments: list[str] | None = None) -> None:
    try:
        run(parse(arguments))
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
