"""`toca which`: the method to take, by the best evidence that is at hand. What is not known is said to be unknown."""

from __future__ import annotations

import shlex
from types import SimpleNamespace
from typing import Any

from rich.table import Table

from toca.checks import checked
from toca.pipelines.commands.console import output
from toca.pipelines.evidence import PSNR, Evaluation, PresetFacts, evaluation_of, presets_for
from toca.pipelines.loading import resolve_source
from toca.pipelines.registry import DEFAULT_MODEL
from toca.pipelines.request import Request, choice_for, own_config
from toca.pipelines.running.fronts import print_front
from toca.pipelines.skeleton import Skeleton, load_skeleton
from toca.pipelines.tuning import BUDGETS
from toca.plan.bounds import Budget
from toca.plan.front import Front
from toca.tuning.saved import Found, find_front


def run(model: str, speedup: float | None) -> None:
    """Tell which method to take on a model.

    Args:
        model (`str`): A name, a folder or a hub id; its weights are not loaded.
        speedup (`float`, *optional*): How many times as fast, at least; several are told of otherwise.

    Raises:
        ValueError, OSError: If the model is none that a cache works on, or nothing that was measured is so fast.
    """
    checked(speedup, Budget | None, "speedup")
    skeleton = load_skeleton(model)
    found, why = _front(skeleton)
    if found is not None:
        _tell_front(found, model, speedup)
        return
    evaluation = evaluation_of(model)
    if evaluation is not None:
        _tell_evaluation(evaluation, model, speedup)
    else:
        _tell_presets(skeleton, model, speedup)
    output.print(f"To know better: {why}")


def _front(skeleton: Skeleton) -> tuple[Found | None, str]:
    """The front that `--speedup` would take, or why there is none."""
    steps = own_config(
        Request(model=skeleton.model), skeleton.model, skeleton.pipeline_class, None
    ).num_inference_steps
    named = SimpleNamespace(
        transformer=skeleton.transformer,
        scheduler=skeleton.scheduler,
        name_or_path=resolve_source(skeleton.model),
    )
    try:
        return find_front(named, usual_steps=steps, called=skeleton.model), ""
    except ValueError as error:
        return None, str(error)


def _tell_front(found: Found, model: str, speedup: float | None) -> None:
    front, held_out = found.front, found.front.searched.held_out
    output.print(f"{model}: plans that `toca tune` found on this model, {found.path}")
    quality = f"PSNR to the full run [95 %] of {held_out} prompts that the search never saw"
    output.print(f"{quality}; speed by the clock of the machine that tuned it.")
    print_front(front, BUDGETS if speedup is None else (speedup,))
    wanted = 2.0 if speedup is None else speedup
    entry = front.at(speedup=wanted)
    steps = _as_good(front, wanted, entry.psnr)
    if steps is not None:
        output.print(f"Fewer steps are as good at that speed. Take: {_generate(model)} --method none --steps {steps}")
        return
    output.print(f"Take: {_generate(model)} --speedup {wanted:g}")


def _as_good(front: Front, speedup: float, psnr: float) -> int | None:
    """The steps of the full model that do as well at a speed as the plan, if any do."""
    fast = [each for each in front.fewer if each.speedup >= speedup and each.psnr >= psnr]
    return max(fast, key=lambda each: each.psnr).num_inference_steps if fast else None


def _tell_evaluation(evaluation: Evaluation, model: str, speedup: float | None) -> None:
    output.print(f"{model}: what `toca eval run` found, {evaluation.path}: {evaluation.about()}")
    wanted = 2.0 if speedup is None else speedup
    row = evaluation.best(wanted)
    if row is None:
        fastest = evaluation.methods()[-1]
        reached = f"{fastest['name']} reaches {fastest['loop_speedup'][0]:.2f}x"
        raise ValueError(f"Nothing that was evaluated is {wanted:g} times as fast: {reached}.")
    told = {budget: evaluation.best(budget) for budget in (BUDGETS if speedup is None else (speedup,))}
    columns = ["asked", "method", "by the clock", "PSNR", "over fewer steps in the same time"]
    _print_table(columns, [_evaluated(budget, best) for budget, best in told.items() if best is not None])
    if _gain(row) is not None and _gain(row)["high"] < 0:
        output.print("Fewer steps are better at that speed than any method that was evaluated.")
        return
    recipe = row["recipe"]
    settings = "".join(f" --set {shlex.quote(setting)}" for setting in recipe["settings"])
    output.print(f"Take: {_generate(model)} --method {shlex.quote(recipe['base'])}{settings}")


def _evaluated(budget: float, row: dict[str, Any]) -> list[str]:
    middle, low, high = row["loop_speedup"]
    return [
        f"{budget:g}x", row["name"], f"{middle:.2f}x ({low:.2f}-{high:.2f})", _decibels(row["fidelity"][PSNR], ""),
        "not known" if _gain(row) is None else _decibels(_gain(row), "+"),
    ]  # fmt: skip


def _gain(row: dict[str, Any]) -> Any:
    """What a method gains over fewer steps in the same time, if that was found."""
    return ((row.get("at_latency") or {}).get("gains") or {}).get(PSNR)


def _decibels(value: dict[str, float], sign: str) -> str:
    return f"{value['mean']:{sign}.1f} dB [{value['low']:{sign}.1f}, {value['high']:{sign}.1f}]"


def _tell_presets(skeleton: Skeleton, model: str, speedup: float | None) -> None:
    output.print(f"{model}: nothing was measured on it here. Published for its kind, and not measured by us:")
    known = presets_for(skeleton)
    _print_table(["preset", "FLOPs of its plan", "published"], [_published(facts) for facts in known])
    enough = [facts for facts in known if facts.flops_speedup is not None and facts.flops_speedup >= (speedup or 1)]
    if speedup is None:
        own = choice_for(model, skeleton.transformer).name
        output.print(f"Take, where nothing is known: {_generate(model)} --method {own}")
    elif enough:
        # A setting whose quality somebody has told is better known than one that only takes few FLOPs.
        least = min(enough, key=lambda facts: (not facts.published, facts.at_most))
        said = f"published: {least.published}" if least.published else "its quality is not known here"
        output.print(f"By FLOPs, which a clock does not reach: {_generate(model)} --method {least.name} ({said})")
    else:
        output.print(f"None of them is known to take {speedup:g} times fewer FLOPs.")


def _published(facts: PresetFacts) -> list[str]:
    bound = "at most " if facts.flops_speedup is None else ""
    return [facts.name, f"{bound}{facts.at_most:.2f}x fewer", facts.published or "no figures here"]


def _generate(model: str) -> str:
    where = "" if model == DEFAULT_MODEL else f" --model {shlex.quote(model)}"
    return f'toca generate "..."{where}'


def _print_table(columns: list[str], lines: list[list[str]]) -> None:
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for line in lines:
        table.add_row(*line)
    output.print(table)
