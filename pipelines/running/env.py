"""`toca env`: versions and devices."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError

import torch
from rich.table import Table

from toca.files.versions import version
from toca.pipelines.commands.console import errors, output, print_json
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


def run(as_json: bool) -> None:
    """Show versions and devices.

    Args:
        as_json (`bool`): Whether for a program.
    """
    versions = {package: _version(package) for package in _PACKAGES}
    sentences = list(untested(("python", *_PACKAGES)))
    if as_json:
        system = {"python": platform.python_version(), "platform": platform.platform()}
        print_json({**system, "packages": versions, "devices": devices(), "untested": sentences})
        return
    table = Table("what", "which", show_header=False)
    table.add_row("python", f"{platform.python_version()} on {platform.platform()}")
    for name, about in {**versions, **devices()}.items():
        table.add_row(name, about or "not installed")
    output.print(table)
    for sentence in sentences:
        errors.print(sentence)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def devices() -> dict[str, str]:
    """Every device that `--device` takes, with what it is."""
    found = {"cpu": f"{platform.machine()}, {torch.get_num_threads()} threads"}
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        found[f"cuda:{i}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found
