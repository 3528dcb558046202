"""Triton kernels against their plain forms on a GPU, at the sizes of published models.

`python -m toca.eval.benchmarks.kernels` prints a table and writes `eval/results/kernels.json`. The two forms take
turns; how many times as fast the kernel is are ratios turn by turn, with quartiles. A kernel that is no faster is to
be taken out; one that is, is named with its figure in `toca.kernels.choice.MEASURED`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from toca.axes.fills.renewal import differences
from toca.eval.benchmarks.tables import print_table
from toca.eval.store.environment import machine
from toca.eval.store.sealed import write_json
from toca.eval.timing.latency import Timing, interleaved, paired_ratio
from toca.kernels import choice
from toca.kernels.scores import column_mass
from toca.kernels.series import weighted_sum

CALLS = 10
"""In one turn, after which the device is waited for."""

Forms = tuple[Callable[[], Any], Callable[[], Any]]
"""An operation in plain torch, and as a kernel."""


@dataclass(frozen=True)
class Size:
    """Tokens of a model's block, as they are when its features are forecast or its attention is measured."""

    model: str
    rows: int
    tokens: int
    heads: int
    head_dim: int


SIZES = (
    Size("FLUX.1-dev, 1024 x 1024", 1, 4096 + 512, 24, 128),
    Size("SD3.5-large, 1024 x 1024, both branches", 2, 4096 + 333, 38, 64),
    Size("Wan2.1-1.3B, 832 x 480 x 81 frames", 1, 21 * 30 * 52, 12, 128),
)


@dataclass(frozen=True)
class Row:
    """One operation at one size. Seconds are medians of a call; `largest_difference` is between the two forms, in
    parts of the largest number."""

    operation: str
    size: Size
    torch_seconds: float
    torch_quartiles: tuple[float, float]
    triton_seconds: float
    triton_quartiles: tuple[float, float]
    times_as_fast: float
    times_as_fast_quartiles: tuple[float, float]
    largest_difference: float


def operations(size: Size, device: torch.device, dtype: torch.dtype) -> dict[str, Forms]:
    """Every operation on random features, a forecast of order 2."""
    from toca.kernels.triton_kernels import column_mass as mass_kernel
    from toca.kernels.triton_kernels import differences as differences_kernel
    from toca.kernels.triton_kernels import weighted_sum as sum_kernel

    shape = (size.rows, size.tokens, size.heads * size.head_dim)
    value, before, first, second = (torch.randn(shape, device=device).to(dtype) for _ in range(4))
    summed = (value, [first, second], [1.0, 3.0, 4.5])
    renewed = (value, before, [first, second], [0.25, 0.25])
    attended = [each.unflatten(-1, (size.heads, -1)).transpose(1, 2) for each in (value, before)]
    return {
        "weighted_sum": (partial(weighted_sum, *summed), partial(sum_kernel.weighted_sum, *summed)),
        "differences": (partial(differences, *renewed), partial(differences_kernel.differences, *renewed)),
        "column_mass": (partial(column_mass, *attended), partial(mass_kernel.column_mass, *attended)),
    }


@torch.no_grad()
def measure(size: Size, device: torch.device, dtype: torch.dtype, repeats: int) -> list[Row]:
    """All operations at one size."""
    with choice.using("torch"):
        return [_row(name, size, forms, repeats) for name, forms in operations(size, device, dtype).items()]


def _row(name: str, size: Size, forms: Forms, repeats: int) -> Row:
    difference = _largest_difference(*(form() for form in forms))
    variants = {form: partial(_often, run) for form, run in zip(("torch", "triton"), forms, strict=True)}
    timings = interleaved(variants, repeats, warmups=3)
    plain, fused = (Timing(tuple(taken / CALLS for taken in timings[form].seconds)) for form in ("torch", "triton"))
    faster, first, third = paired_ratio(plain, fused)
    return Row(name, size, plain.median, plain.iqr, fused.median, fused.iqr, faster, (first, third), difference)


def _often(run: Callable[[], Any]) -> None:
    for _ in range(CALLS):
        run()


def _largest_difference(plain: Any, fused: Any) -> float:
    """In parts of the largest number; the forms give a tensor each, or a list of them."""
    pairs = zip(plain, fused, strict=True) if isinstance(plain, list) else [(plain, fused)]
    return max(((ours - its).abs().max() / its.abs().max()).item() for its, ours in pairs)


def print_rows(about: str, rows: list[Row]) -> None:
    """The table people read."""
    columns = ("operation", "size", "torch, µs (quartiles)", "Triton, µs (quartiles)", "times as fast", "difference")
    print_table(about, columns, map(_cells, rows), width=160, names=2)


def _cells(row: Row) -> list[str]:
    low, high = row.times_as_fast_quartiles
    return [
        row.operation,
        row.size.model,
        _microseconds(row.torch_seconds, row.torch_quartiles),
        _microseconds(row.triton_seconds, row.triton_quartiles),
        f"{row.times_as_fast:.2f} ({low:.2f}-{high:.2f})",
        f"{row.largest_difference:.1e}",
    ]


def _microseconds(median: float, quartiles: tuple[float, float]) -> str:
    return f"{median * 1e6:.0f} ({quartiles[0] * 1e6:.0f}-{quartiles[1] * 1e6:.0f})"


def main(
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
    repeats: int = 30,
    output: Annotated[Path, typer.Option(help="JSON file.")] = Path("eval/results/kernels.json"),
) -> None:
    """Time every kernel against its plain form, and print a table."""
    if not torch.cuda.is_available():
        typer.echo("Triton kernels are timed on a GPU, and torch sees no CUDA device here.", err=True)
        raise typer.Exit(1)
    if not choice.wanted("triton"):
        typer.echo("Triton is not installed here.", err=True)
        raise typer.Exit(1)
    device, precision = torch.device("cuda"), getattr(torch, dtype, None)
    if precision not in choice.DTYPES:
        raise typer.BadParameter(f"there are no kernels for {dtype}.")
    rows = [row for size in SIZES for row in measure(size, device, precision, repeats)]
    where = machine(device) | {"triton": version("triton")}
    print_rows(f"{where['device']}, {dtype}", rows)
    write_json(output, {"machine": where, "dtype": dtype, "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    typer.run(main)
