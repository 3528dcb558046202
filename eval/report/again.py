"""The commands that make a row of the table again, and a picture by its method."""

from __future__ import annotations

import json
import shlex

from toca.eval.findings.results import Results, Row
from toca.eval.labels import VariantRecipe
from toca.eval.samples.held_out import SAME_CLASSES, front_of
from toca.eval.store.typed import of_all_stages, without
from toca.methods.presets import DEFAULT, presets
from toca.pipelines.method_options import from_record
from toca.pipelines.setting_text import settings_of

_OWN = ("--model", "--variant", "--output", "--remote")
_OUTPUT = "outputs/again"
"""Where a row is made again. In the folder of its run it would be taken from there, and its page replace the run's."""
_SET = "--set"
_OWN_SETS = ("methods", "unseen_by")


def commands(row: Row, results: Results, command: str) -> list[str]:
    """The run of this row and, where there is one, the picture by its method."""
    picture = generation(row, results)
    return [evaluation(row, results, command), *([] if picture is None else [picture])]


def evaluation(row: Row, results: Results, command: str) -> str:
    """The run that has this row alone: a method beside the runs without a cache that it is matched with, and one of
    these beside the full run.

    It is of the same samples: what the searches for the run's tuned plans saw is left out of the prompts, though these
    plans do not run again.

    Args:
        row (`Row`): The row.
        results (`Results`): Of the run.
        command (`str`): What made all of its rows.
    """
    words = _without_sets(without(of_all_stages(command) or ["toca", "eval", "run"], _OWN))
    words += ["--output", _OUTPUT, "--model", results.model]
    if row.recipe is None:
        fewer = [] if row.name == results.uncached[-1].name else [row.num_inference_steps]
        words += [_SET, "methods=[]", _SET, f"fewer_steps={fewer}"]
    else:
        words += ["--variant", row.recipe.argument]
    words += [_SET, "peers=false"]
    unseen_by = [argument for front, argument in _fronts(results).items() if front != front_of(row.method)]
    words += [_SET, f"unseen_by={json.dumps(unseen_by)}"] if unseen_by else []
    return shlex.join(words)


def _fronts(results: Results) -> dict[str, str]:
    """The fronts whose searches' prompts were left out, as `named_fronts` tells them; of a report that does not, those
    of its rows."""
    if "fronts" in results.config:
        return dict(results.config["fronts"])
    if SAME_CLASSES in results.notes:
        return {}
    found = [(front_of(each.method), each.recipe) for each in reversed(results.methods)]
    return {front: recipe.argument for front, recipe in found if front and recipe is not None}


def _without_sets(words: list[str]) -> list[str]:
    """A command that does not say by `--set`, which has the last word, what a row's command says."""
    kept: list[str] = []
    for word in words:
        if word.removeprefix(f"{_SET}=").partition("=")[0].strip() not in _OWN_SETS:
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
