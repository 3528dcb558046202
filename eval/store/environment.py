"""What a result was taken on, and with which code."""

from __future__ import annotations

import hashlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import toca
from toca.eval.metrics.tags import file_digest
from toca.eval.store.masking import masked
from toca.pipelines import metadata

ROOT = Path(__file__).parents[1]
_SOURCES = ("../toca", "../pipelines", ".", ":(exclude)results")
MEASURING = (
    "counting/*", "metrics/fidelity", "metrics/lpips", "metrics/perceptual", "peers/*", "samples/noise",
    "samples/pictures", "samples/running", "store/environment", "timing/latency", "timing/parts", "timing/speed",
)  # fmt: skip
"""The modules that figures depend on. The others only choose and show them."""


def machine(device: torch.device) -> dict[str, str | int]:
    """What the figures were taken on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "toca": toca.__version__}


def _processor() -> str:
    """The processor's name, where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def environment(device: torch.device) -> dict[str, Any]:
    """Machine, versions and revision, for the record."""
    versions = metadata.versions() | {name: version(name) for name in ("numpy", "torchmetrics")}
    return {**machine(device), "platform": platform.platform(), "versions": versions, "git": git_revision()}


def git_revision() -> str | None:
    """The commit of the checkout, with `-dirty` if library, pipelines or evaluation differ from it, recorded results
    aside; `None` outside a checkout."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return None
    return f"{commit}-dirty" if _git("status", "--porcelain", "--", *_SOURCES) else commit


def command_line() -> str:
    """What was typed, for the record; without the passwords of URLs."""
    program = Path(sys.argv[0])
    name = "python -m toca.eval" if program.name == "__main__.py" else program.name
    return f"{name} {shlex.join(map(masked, sys.argv[1:]))}"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def code_fingerprint() -> str:
    """A hash of the sources that figures depend on: a cached result of other code is not used again."""
    library = Path(toca.__file__).parent
    measuring = [path for name in MEASURING for path in ROOT.glob(f"{name}.py")]
    return fingerprint([*library.rglob("*.py"), *Path(metadata.__file__).parent.glob("*.py"), *measuring])


def scoring_fingerprint() -> str:
    """A hash of the sources that scores depend on beside those of `code_fingerprint`."""
    return fingerprint([*(ROOT / "metrics").glob("*.py"), *(ROOT / "scoring").rglob("*.py")])


def fingerprint(files: Iterable[Path]) -> str:
    """A hash of the files' names and contents, in the order of their paths."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.name} {file_digest(path)} ".encode())
    return digest.hexdigest()
