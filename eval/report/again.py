"""The commands that make a row of the table again, and a picture by its method."""

from __future__ import annotations

import shlex

from toca.eval.findings.results import Results, Row
from toca.eval.labels import VariantRecipe
from toca.methods.presets import DEFAULT, presets
from toca.pipelines.method_options import from_record
from toca.pipelines.setting_text import settings_of

_OWN = ("--model", "--variant")


def commands(row: Row, results: Results, command: str) -> list[str]:
    """The run of this row and, where there is one, the picture by its method."""
    picture = generation(row, results)
    return [evaluation(row, results, command), *([] if picture is None else [picture])]


def evaluation(row: Row, results: Results, command: str) -> str:
    """The run that has this row alone beside those without a cache.

    Args:
        row (`Row`): The row.
        results (`Results`): Of the run.
        command (`str`): What made all of its rows.
    """
    if row.recipe is None:
        return command
    words = _without_own(shlex.split(command) or ["toca", "eval", "run"])
    return shlex.join([*words, "--model", results.model, "--variant", row.recipe.argument, "--set", "peers=false"])


def _without_own(words: list[str]) -> list[str]:
    """A command without its pipelines and variants."""
    kept: list[str] = []
    for place, word in enumerate(words):
        follows = place > 0 and words[place - 1] in _OWN
        if not follows and word not in _OWN and not word.startswith(tuple(f"{name}=" for name in _OWN)):
            kept.append(word)
    return kept


def generation(row: Row, results: Results) -> str | None:
    """The picture of the first prompt with these settings; `None` where another library's cache makes it."""
    config, steps = results.config["config"], str(row.num_inference_steps)
    words = ["toca", "generate", results.config["items"][0][2], "--model", results.model, "--steps", steps]
    if config.get("guidance_scale") is not None:
        words += ["--guidance-scale", f"{config['guidance_scale']:g}"]
    if row.recipe is None:
        return shlex.join([*words, "--method", "none"])
    if row.group.startswith("peer:"):
        return None
    settings = [word for setting in _settings(row, row.recipe) for word in ("--set", setting)]
    return shlex.join([*words, "--method", row.recipe.base, *settings])


def _settings(row: Row, recipe: VariantRecipe) -> list[str]:
    """What `--set` has to say. The default method is another one for each model: all in which they differ."""
    if recipe.base != DEFAULT or row.method is None:
        return list(recipe.settings)
    method = from_record(row.method)
    others = (preset for name, preset in presets().items() if name.startswith(f"{DEFAULT}/"))
    return list(dict.fromkeys(setting for other in others for setting in settings_of(method, other)))
