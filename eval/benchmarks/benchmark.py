"""Latency of a transformer's generation: uncached, with the engine on and every step full, and with each method.

`python -m toca.eval.benchmarks.benchmark dit-small` prints a table and writes `eval/results/`-style JSON with
`--output`. All figures of a table come from one run on one machine, in turns; speed-ups are ratios turn by turn, with
quartiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

import toca
from toca.eval.architectures.making import compile_all
from toca.eval.benchmarks.cases import CASES, Calls, Case
from toca.eval.benchmarks.tables import print_table
from toca.eval.store.environment import machine
from toca.eval.store.sealed import write_json
from toca.eval.timing.latency import Timing, interleaved, paired_ratio
from toca.methods import Method

BASELINE = "uncached"
ALL_FULL = "engine on, every step full"


@dataclass(frozen=True)
class Latency:
    """One variant of a case. Seconds are medians of a generation; speed-ups are against `BASELINE`."""

    variant: str
    steps: str
    seconds: float
    seconds_quartiles: tuple[float, float]
    wall_speedup: float
    wall_speedup_quartiles: tuple[float, float]
    flops_speedup: float
    tokens_recomputed: float
    cache_bytes: int

    @property
    def ratio(self) -> float:
        """Wall-clock speed-up over FLOPs speed-up: 1 where a cached step costs what its FLOPs say."""
        return self.wall_speedup / self.flops_speedup


def run_case(
    case: Case, device: torch.device, dtype: torch.dtype, repeats: int, compile_blocks: bool
) -> list[Latency]:
    """Time all variants of a case in turns."""
    transformer, calls = case.build(device, dtype)
    if compile_blocks:
        compile_all(transformer, case.blocks)
    summaries: dict[str, toca.Summary] = {}
    # A case without methods is of a family that the engine cannot be put on either.
    engine = {ALL_FULL: toca.NoCache()} if case.methods else {}
    methods = {BASELINE: None, **engine, **{name: toca.preset(name) for name in case.methods}}
    variants = {name: _variant(transformer, calls, case, name, method, summaries) for name, method in methods.items()}
    timings = interleaved(variants, repeats, warmups=2 if compile_blocks else 1)
    return [_row(name, timings, summaries.get(name)) for name in variants]


def _variant(
    transformer: nn.Module,
    calls: Calls,
    case: Case,
    name: str,
    method: Method | None,
    summaries: dict[str, toca.Summary],
) -> Callable[[], None]:
    @torch.no_grad()
    def run() -> None:
        if method is None:
            _generate(transformer, calls)
            return
        with toca.cached(transformer, method, num_inference_steps=calls.steps, batched_cfg=case.batched_cfg):
            _generate(transformer, calls)
            summaries[name] = toca.summary(transformer)

    return run


def _generate(transformer: nn.Module, calls: Calls) -> None:
    for call in calls:
        transformer(**call)


def _row(name: str, timings: dict[str, Timing], summary: toca.Summary | None) -> Latency:
    timing = timings[name]
    speedup, first, third = paired_ratio(timings[BASELINE], timing)
    return Latency(
        variant=name,
        steps=summary.steps if summary else "",
        seconds=timing.median,
        seconds_quartiles=timing.iqr,
        wall_speedup=speedup,
        wall_speedup_quartiles=(first, third),
        flops_speedup=summary.flops_speedup if summary else 1.0,
        tokens_recomputed=summary.tokens_recomputed if summary else 1.0,
        cache_bytes=summary.cache_bytes if summary else 0,
    )


def print_rows(case: Case, rows: list[Latency]) -> None:
    """The table people read."""
    columns = ("variant", "seconds (quartiles)", "wall speed-up", "FLOPs speed-up", "wall / FLOPs", "cache MiB")
    print_table(case.about, columns, map(_cells, rows), width=119)


def _cells(row: Latency) -> list[str]:
    first, third = row.seconds_quartiles
    low, high = row.wall_speedup_quartiles
    return [
        row.variant,
        f"{row.seconds:.3f} ({first:.3f}-{third:.3f})",
        f"{row.wall_speedup:.3f} ({low:.3f}-{high:.3f})",
        f"{row.flops_speedup:.3f}",
        f"{row.ratio:.3f}",
        f"{row.cache_bytes / 2**20:.1f}",
    ]


def main(
    names: Annotated[list[str], typer.Argument(help=f"Cases: {', '.join(CASES)}.")],
    device: str = "cpu",
    dtype: str = "float32",
    repeats: int = 5,
    compile_blocks: Annotated[bool, typer.Option("--compile", help="Compile the blocks with fullgraph.")] = False,
    output: Annotated[Path | None, typer.Option(help="JSON file; written anew after each case.")] = None,
) -> None:
    """Time the cases and print a table of each."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise typer.BadParameter(f"there is no case {unknown[0]!r}; the cases are {', '.join(CASES)}.")
    where, precision = torch.device(device), getattr(torch, dtype)
    cases: dict[str, dict[str, Any]] = {}
    results = {"machine": machine(where), "dtype": dtype, "compiled": compile_blocks, "cases": cases}
    for name in names:
        try:
            rows = run_case(CASES[name], where, precision, repeats, compile_blocks)
        except ValueError as error:
            raise typer.BadParameter(f"{error}") from error
        print_rows(CASES[name], rows)
        cases[name] = {
            "about": CASES[name].about,
            "rows": [{**asdict(row), "wall_over_flops": row.ratio} for row in rows],
        }
        if output is not None:
            write_json(output, results)


if __name__ == "__main__":
    typer.run(main)
