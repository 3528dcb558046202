"""The commands that make a row of the table again, and a picture by its method."""

from __future__ import annotations

import shlex

from toca.eval.findings.results import Results, Row
from toca.eval.labels import VariantRecipe
from toca.eval.samples.held_out import SAME_CLASSES
from toca.eval.store.typed import of_all_stages, without
from toca.methods.presets import DEFAULT, presets
from toca.pipelines.method_options import from_record
from toca.pipelines.setting_text import settings_of

_OWN = ("--model", "--variant", "--output")
_OUTPUT = "outputs/again"
"""Where a row is made again. In the folder of its run it would be taken from there, and its page replace the run's."""
_SET = "--set"
_NO_METHOD = VariantRecipe("none")


def commands(row: Row, results: Results, command: str) -> list[str]:
    """The run of this row and, where there is one, the picture by its method."""
    picture = generation(row, results)
    return [evaluation(row, results, command), *([] if picture is None else [picture])]


def evaluation(row: Row, results: Results, command: str) -> str:
    """The run that has this row alone: a method beside the runs without a cache that it is matched with, and one of
    these beside the full run.

    It is of the same samples. So a tuned plan comes along where there was one: what its search saw is left out of the
    prompts.

    Args:
        row (`Row`): The row.
        results (`Results`): Of the run.
        command (`str`): What made all of its rows.
    """
    words = _without_methods(without(of_all_stages(command) or ["toca", "eval", "run"], _OWN))
    words += ["--output", _OUTPUT, "--model", results.model]
    for recipe in _variants(row, results):
        words += ["--variant", recipe.argument]
    words += [_SET, "peers=false"]
    if row.recipe is None:
        words += [_SET, f"fewer_steps={[] if row.name == results.uncached[-1].name else [row.num_inference_steps]}"]
    return shlex.join(words)


def _variants(row: Row, results: Results) -> list[VariantRecipe]:
    """The row's own, and one of each front that the others have; where there is neither a method that does nothing,
    as all methods run where none is named."""
    fronts = {} if SAME_CLASSES in results.notes else {_front(each): each.recipe for each in reversed(results.methods)}
    beside = [recipe for front, recipe in fronts.items() if recipe is not None and front not in ("", _front(row))]
    return [recipe for recipe in (row.recipe, *beside) if recipe is not None] or [_NO_METHOD]


def _front(row: Row) -> str:
    """The file of the front that a row's plan is out of; empty for any other method."""
    return str((row.method or {}).get("fields", {}).get("front") or "")


def _without_methods(words: list[str]) -> list[str]:
    """A command that names no methods by `--set`, which has the last word."""
    kept: list[str] = []
    for word in words:
        if word.removeprefix(f"{_SET}=").partition("=")[0].strip() != "methods":
            kept.append(word)
        elif not word.startswith(_SET):
            kept.pop()
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
    settings = [word for setting in _settings(row, row.recipe) for word in (_SET, setting)]
    return shlex.join([*words, "--method", row.recipe.base, *settings])


def _settings(row: Row, recipe: VariantRecipe) -> list[str]:
    """What `--set` has to say. The default method is another one for each model: all in which they differ."""
    if recipe.base != DEFAULT or row.method is None:
        return list(recipe.settings)
    method = from_record(row.method)
    others = (preset for name, preset in presets().items() if name.startswith(f"{DEFAULT}/"))
    return list(dict.fromkeys(setting for other in others for setting in settings_of(method, other)))
