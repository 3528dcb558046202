"""What the times of Triton kernels are made of, and that there are none without a GPU."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from toca.eval.benchmarks import kernels
from toca.eval.store.sealed import write_json


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_times_without_a_gpu(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(kernels.main)
    result = CliRunner().invoke(app, ["--output", str(tmp_path / "kernels.json")])
    assert result.exit_code == 1 and not any(tmp_path.iterdir())
    assert "torch sees no CUDA device here" in result.output


def test_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = [0, 0]

    def plain() -> list[torch.Tensor]:
        calls[0] += 1
        return [torch.tensor([1.0, -8.0]), torch.ones(2)]

    def fused() -> list[torch.Tensor]:
        calls[1] += 1
        return [torch.tensor([1.0, -6.0]), torch.ones(2)]

    row = kernels._row("differences", kernels.SIZES[0], (plain, fused), repeats=2)
    assert calls == [1 + 5 * kernels.CALLS] * 2
    assert row.largest_difference == 0.25
    assert row.times_as_fast_quartiles[0] <= row.times_as_fast <= row.times_as_fast_quartiles[1]
    kernels.print_rows("here", [row])
    assert "FLUX.1-dev" in capsys.readouterr().out
    write_json(tmp_path / "rows.json", [asdict(row)])
