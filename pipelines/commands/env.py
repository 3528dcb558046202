"""`toca env`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError

import torch
from rich.table import Table

from toca.files.versions import version
from toca.pipelines.commands.console import errors, output
from toca.pipelines.commands.joining import command
from toca.pipelines.tested_versions import untested

_PACKAGES = (
    "toca",
    "torch",
    "triton",
    "diffusers",
    "transformers",
    "accelerate",
    "huggingface-hub",
    "safetensors",
    "numpy",
    "torchmetrics",
    "torchvision",
    "imageio",
    "imageio-ffmpeg",
)


@command(place=60)
def env() -> None:
    """Show versions and devices, and which of the versions are not tested."""
    table = Table("what", "which", show_header=False)
    table.add_row("python", f"{platform.python_version()} on {platform.platform()}")
    for package in _PACKAGES:
        table.add_row(package, _version(package))
    for name, about in devices().items():
        table.add_row(name, about)
    output.print(table)
    for sentence in untested(("python", *_PACKAGES)):
        errors.print(sentence)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def devices() -> dict[str, str]:
    """Every device that `--device` takes, with what it is."""
    found = {"cpu": f"{platform.machine()}, {torch.get_num_threads()} threads"}
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        found[f"cuda:{i}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found
