"""What the choice of tokens is worth: Coast against chance, turns, an oracle, and what chooses none, at equal shares.

`python -m toca.eval.benchmarks.tokens emoji --prompts 12` makes the samples of an embedded pipeline with each, all in
turns in one run; times are those of the denoising loop, and PSNR is of the float pictures to the full run's, with what
95 % of resampled prompts lie between.

The oracle knows the full run: it takes the tokens whose forecast lies furthest from what the full run made of them in
that step, times (1 + staleness) as Coast does. It bounds what a score can find out.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import typer
from torch import nn

import toca
from toca.axes.selections import Group, Grouping, Selection
from toca.axes.selections.drifting import ByDrift, DriftingTokens
from toca.eval.benchmarks.tables import print_table
from toca.eval.metrics.bootstrap import mean_interval
from toca.eval.store.environment import environment
from toca.eval.store.sealed import write_json
from toca.files.writing import atomic_path
from toca.methods.coast import Coast
from toca.methods.presets import default_for
from toca.models import family_of, walk_blocks
from toca.pipelines.arguments import call_arguments, class_id
from toca.pipelines.config import GenerationConfig
from toca.pipelines.generate import cached_for, progress_bar
from toca.pipelines.loading import load, resolve_source
from toca.pipelines.prompts import known_prompts
from toca.tuning.clock import LoopClock
from toca.tuning.turns import take_turns

FULL = "full run"


@dataclass(frozen=True)
class Result:
    """What one method gave, a row of the table with a field a column.

    Args:
        name (`str`): What it is.
            steps (`str`): A letter each.
        flops_speedup (`float`): FLOPs of the full run over its own.
        seconds (`tuple[float, ...]`): Of the denoising loop, one a turn.
        speedups (`tuple[float, ...]`): Seconds of the full run in the same turn over its own.
        psnr (`float` or `None`): Mean over the samples.
        psnr_low, psnr_high (`float` or `None`): What 95 % of resampled prompts lie between.
    """

    name: str
    steps: str
    flops_speedup: float
    seconds: tuple[float, ...]
    speedups: tuple[float, ...]
    psnr: float | None
    psnr_low: float | None
    psnr_high: float | None


@dataclass(frozen=True)
class Made:
    """Samples (N, ...), floats from 0 to 1, the seconds that they took, and what the cache did."""

    samples: np.ndarray
    seconds: float
    steps: str = ""
    flops_speedup: float = 1.0


class FullRun:
    """What all blocks together added to the image's tokens in each call of the full run, and what an oracle makes of
    it: how far from it a straight line lies that was known before.

    Args:
        transformer (`nn.Module`): Of the pipeline.
    """

    def __init__(self, transformer: nn.Module) -> None:
        spec = family_of(transformer)
        assert spec is not None, "the embedded pipelines are of known families"
        self.transformer, self.spec = transformer, spec
        blocks = [found[3:] for found in walk_blocks(transformer, spec)]
        (self.first, self.first_spec), (self.last, self.last_spec) = blocks[0], blocks[-1]
        self.added: list[torch.Tensor] = []
        self.groups = 0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Take down the calls of the pipeline, which runs in full."""
        self.added.clear()
        hooks = [
            self.transformer.register_forward_pre_hook(self._called, with_kwargs=True),
            self.first.register_forward_pre_hook(self._entered, with_kwargs=True),
            self.last.register_forward_hook(self._left),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _called(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._shape = self.spec.call_shape(module, _by_name(module, args, kwargs))

    def _entered(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = _by_name(module, args, kwargs)
        streams = tuple(call[name] for name in self.first_spec.streams)
        self._before = self.first_spec.image_of(streams, self._shape)

    def _left(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        streams = output if isinstance(output, tuple) else (output,)
        self.added.append(self.last_spec.image_of(streams, self._shape) - self._before)

    def misses(self, full: list[bool]) -> list[list[torch.Tensor]]:
        """For each call of a step those steps that are not full, and for each (rows, tokens, 1): how far off a line
        through the last two full steps lies."""
        calls = len(self.added) // len(full)
        found: list[list[torch.Tensor]] = [[] for _ in range(calls)]
        for call in range(calls):
            nodes: list[int] = []
            for step, computed in enumerate(full):
                if computed:
                    nodes = [*nodes[-1:], step]
                    continue
                values = [self.added[node * calls + call] for node in nodes]
                line = values[-1]
                if len(nodes) > 1:
                    line = line + (line - values[0]) * ((step - nodes[1]) / (nodes[1] - nodes[0]))
                found[call].append((self.added[step * calls + call] - line).norm(dim=-1, keepdim=True))
        return found

    def concentration(self, full: list[bool], share: float) -> float:
        """How much of the squared miss the tokens hold that are furthest off, this share of a row, on average: what
        a choice could be rid of at best."""
        held = []
        for miss in (miss for call in self.misses(full) for miss in call):
            squares = miss[..., 0].square().sort(dim=1, descending=True).values
            held.append((squares[:, : int(share * squares.shape[1])].sum(dim=1) / squares.sum(dim=1)).mean().item())
        return sum(held) / len(held)


def _by_name(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    names = tuple(inspect.signature(type(module).forward).parameters)[1:]
    return dict(zip(names, args, strict=False)) | kwargs


@dataclass
class Knowledge:
    """What the oracle is told before a generation: the misses of each call of a step, and how many have asked."""

    misses: list[list[torch.Tensor]]
    asked: int = 0


KNOWLEDGE = Knowledge([])


@dataclass(frozen=True)
class ByMiss(ByDrift):
    """In the place of drift: how far the forecast of a token lies from what the full run made of it."""

    name: ClassVar[str] = "miss"

    def groups(self, grouping: Grouping) -> list[Group]:
        KNOWLEDGE.asked += 1
        return [MissedTokens(self, grouping, KNOWLEDGE.misses[KNOWLEDGE.asked - 1])]


class MissedTokens(DriftingTokens):
    """Those that are furthest off."""

    def __init__(self, selection: ByMiss, grouping: Grouping, misses: list[torch.Tensor]):
        super().__init__(selection, grouping)
        self.misses = misses

    def rated(self, shown: torch.Tensor) -> torch.Tensor:
        return super().rated(self.misses[self.choices])


@dataclass(frozen=True)
class Oracle(Coast):
    """Coast that knows the full run."""

    name: ClassVar[str] = "oracle"

    def selection(self) -> Selection:
        return ByMiss(shared_cfg=self.shared_cfg)


def variants(own: toca.Method, shares: tuple[float, ...], intervals: tuple[int, ...]) -> dict[str, toca.Method]:
    """What is compared, by name.

    Args:
        own (`Method`): ToCa's setting for the model.
        shares (`tuple[float, ...]`): Of the tokens that are computed in steps that are not full.
        intervals (`tuple[int, ...]`): Between full steps where no token is computed; tokens go with the longest.
    """
    longest = max(intervals)
    found: dict[str, toca.Method] = {}
    for interval in intervals:
        found[f"none, sites reused (FORA), every {interval}"] = toca.FORA(interval=interval)
        found[f"none, stack reused, every {interval}"] = Coast(interval=interval, fresh_ratio=0, order=0)
        found[f"none, stack forecast, every {interval}"] = Coast(interval=interval, fresh_ratio=0)
    for share in shares:
        here: dict[str, Any] = {"interval": longest, "fresh_ratio": share}
        found[f"ToCa, {share:.0%}"] = replace(own, **here)  # type: ignore[type-var]
        found[f"chance, {share:.0%}"] = Coast(score="chance", **here)
        found[f"turns, {share:.0%}"] = Coast(score="staleness", **here)
        found[f"drift (Coast), {share:.0%}"] = Coast(**here)
        found[f"oracle, {share:.0%}"] = Oracle(**here)
    return found


def _transformer(pipe: Any) -> Any:
    """That of a pipeline which has one, and whose type does not say so."""
    return pipe.transformer


class Maker:
    """Makes the same samples in several ways.

    Args:
        model (`str`): An embedded pipeline.
        count (`int`): How many samples, each of another prompt or class.
    """

    def __init__(self, model: str, count: int):
        self.pipe: Any = load(model, dtype="float32", device=torch.device("cpu"))
        config = GenerationConfig(prompt=model)
        classes = len(getattr(self.pipe, "labels", None) or range(10))
        names = known_prompts(resolve_source(model)) or [str(i % classes) for i in range(count)]
        prompts = [names[(2 * i + 1) * len(names) // (2 * count)] for i in range(count)]
        config = replace(config, prompt=prompts[0])
        self.arguments = call_arguments(self.pipe, config, range(count)) | {"output_type": "np"}
        if "class_labels" in self.arguments:
            self.arguments["class_labels"] = [class_id(self.pipe, prompt) for prompt in prompts]
        else:
            self.arguments["prompt"] = prompts
        self.steps: int = self.arguments["num_inference_steps"]
        self.full_run = FullRun(_transformer(self.pipe))
        with self.full_run.recording():
            self.reference = self.make(None).samples

    @torch.no_grad()
    def make(self, method: toca.Method | None) -> Made:
        """The samples by a method, or in full."""
        numbers = range(len(self.arguments["generator"]))
        arguments = self.arguments | {"generator": [torch.Generator().manual_seed(i) for i in numbers]}
        if isinstance(method, Oracle):
            KNOWLEDGE.asked, KNOWLEDGE.misses = 0, self.full_run.misses(self.full_steps(method))
        with progress_bar(self.pipe, None), cached_for(self.pipe, method, self.steps):
            with LoopClock(self.pipe) as clock:
                output = self.pipe(**arguments)
            samples = np.asarray(output[0] if isinstance(output, tuple) else next(iter(output.values())))
            if method is None:
                return Made(samples, clock.seconds)
            told = toca.summary(self.pipe)
        return Made(samples, clock.seconds, told.steps, told.flops_speedup)

    def full_steps(self, method: toca.Method) -> list[bool]:
        """Which steps a method computes in full."""
        plan = method.plan(self.pipe.transformer, self.steps)
        return [row == plan.full_row for row in plan.table]

    def psnr(self, samples: np.ndarray) -> list[float | None]:
        """Of each sample to the full run's."""
        axes = tuple(range(1, samples.ndim))
        errors = ((samples.astype(float) - self.reference) ** 2).mean(axis=axes)
        return [float(-10 * np.log10(error)) if error else None for error in errors]


def measure(maker: Maker, methods: dict[str, toca.Method], repeats: int) -> list[Result]:
    """All ways of making the samples, in turns, the full run among them."""
    ways: dict[str, Callable[[], Made]] = {FULL: partial(maker.make, None)}
    ways |= {name: partial(maker.make, method) for name, method in methods.items()}
    made = take_turns(ways, repeats, warmups=0)
    return [_result(name, made, maker) for name in ways]


def _result(name: str, made: dict[str, list[Made]], maker: Maker) -> Result:
    mine, full = made[name], made[FULL]
    first, values = mine[0], maker.psnr(mine[0].samples)
    interval = mean_interval(values, range(len(values)))
    return Result(
        name=name,
        steps=first.steps,
        flops_speedup=first.flops_speedup,
        seconds=tuple(each.seconds for each in mine),
        speedups=tuple(whole.seconds / each.seconds for each, whole in zip(mine, full, strict=True)),
        psnr=None if interval is None else interval.mean,
        psnr_low=None if interval is None else interval.low,
        psnr_high=None if interval is None else interval.high,
    )


COLUMNS = ("tokens by", "steps", "FLOPs", "clock (spread)", "PSNR (95 %)")


def _cells(row: Result) -> tuple[str, ...]:
    psnr = "equal" if row.psnr is None else f"{row.psnr:.1f}"
    if row.psnr_low is not None:
        psnr += f" ({row.psnr_low:.1f}-{row.psnr_high:.1f})"
    clock = f"{np.median(row.speedups):.2f} ({min(row.speedups):.2f}-{max(row.speedups):.2f})"
    return row.name, row.steps, f"{row.flops_speedup:.2f}", clock, psnr


def as_markdown(title: str, rows: list[Result], held: dict[float, float]) -> str:
    """A section with the table, and what the tokens that are furthest off hold of the squared miss, by their share."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, rows)]
    bounds = [f"{share:.0%} hold {part:.0%} ({-10 * math.log10(1 - part):.1f} dB)" for share, part in held.items()]
    said = (
        f"Of the squared miss of the forecast, the tokens furthest off hold a part: {', '.join(bounds)}. In brackets "
        "is what a step would gain that were rid of it."
    )
    return "\n".join([f"## {title}", "", *("| " + " | ".join(line) + " |" for line in lines), "", said, ""])


def main(
    models: Annotated[list[str], typer.Argument(help="Embedded pipelines.")],
    prompts: int = 12,
    repeats: int = 1,
    shares: Annotated[list[float] | None, typer.Option(help="Of the tokens; 0.1, 0.3 and 0.6 by default.")] = None,
    intervals: Annotated[list[int] | None, typer.Option(help="Between full steps; tokens: the longest.")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file; a Markdown file is written beside it.")] = None,
) -> None:
    """Measure every way on every pipeline, and print a table of each."""
    sections: dict[str, Any] = {}
    written: list[str] = []
    for model in models:
        maker = Maker(model, prompts)
        own = default_for(maker.full_run.spec).method
        methods = variants(own, tuple(shares or (0.1, 0.3, 0.6)), tuple(intervals or (2, 3)))
        rows = measure(maker, methods, repeats)
        title = f"{model}: {prompts} prompts, {maker.steps} steps, {repeats} turns"
        print_table(title, COLUMNS, map(_cells, rows), width=119)
        full = maker.full_steps(Coast(interval=max(intervals or (2, 3))))
        held = {share: maker.full_run.concentration(full, share) for share in shares or (0.1, 0.3, 0.6)}
        sections[model] = {"rows": [asdict(row) for row in rows], "share_of_the_miss": held}
        written.append(as_markdown(title, rows, held))
        if output is not None:
            write_json(output, {"environment": environment(torch.device("cpu")), "models": sections})
            with atomic_path(output.with_suffix(".md")) as path:
                path.write_text("\n".join(["# What the choice of tokens is worth", "", *written]))


if __name__ == "__main__":
    typer.run(main)
