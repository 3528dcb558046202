"""What is installed: the wheel in a clean place, and the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import toca

ROOT = Path(__file__).parents[1]
PACKAGES = {"toca": "toca", "pipelines": "toca/pipelines", "eval": "toca/eval"}
# An embedded model to come, with a file of every kind that one may have.
STAND_IN = ("README.md", "model_index.json", "samples.png", "clip.pt", "part/w.safetensors", "part/config.json")
MODULES = ("toca", "toca.methods", "toca.models", "toca.hooks", "toca.kernels", "toca.pipelines.cli", "toca.eval")


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources(folder: str) -> list[Path]:
    """All files of a package in the checkout that an installation needs: no bytecode, no benchmark results."""
    files = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "results" not in path.parts)
    return [path for path in files if path.suffix != ".pyc" and not path.name.startswith(".")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that no leftover of an earlier build gets in and the checkout stays as it is."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in PACKAGES:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in STAND_IN:
        path = copy / "pipelines" / "stand-in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    pip = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", copy / "dist", copy, cwd=copy)
    [path] = (copy / "dist").glob("toca_diffusion-*.whl")
    return path


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel):
    expected = {
        (Path(target) / path.relative_to(ROOT / folder)).as_posix()
        for folder, target in PACKAGES.items()
        for path in sources(folder)
    } | {f"toca/pipelines/stand-in/{name}" for name in STAND_IN}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert found == expected
    assert "toca/py.typed" in found
    assert licences


def test_the_wheel_holds_no_weights_twice(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = [info for info in archive.infolist() if info.filename.endswith((".safetensors", ".pt"))]
    contents = [(info.file_size, info.CRC) for info in files if info.file_size]  # the stand-in's are empty
    assert len(contents) > 8 and len(set(contents)) == len(contents)
    assert wheel.stat().st_size < 40e6


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """The wheel installed in a place of its own."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    run(*pip, "--target", folder / "site", wheel, cwd=folder)
    return folder / "site"


def run_installed(site: Path, program: str) -> str:
    """Run a program with the wheel before an editable install; -I keeps the working directory and the user's paths
    out."""
    before = f"import sys; sys.path.insert(0, {str(site)!r})\n"
    return run(sys.executable, "-I", "-c", before + program, cwd=site.parent)


def test_the_wheel_imports_away_from_the_checkout(wheel, site):
    program = f"""
import importlib, json
from importlib.metadata import version
versions = [version("toca-diffusion"), importlib.import_module("toca").__version__]
print(json.dumps([importlib.import_module(name).__file__ for name in {MODULES}] + versions))
"""
    *files, version, said = json.loads(run_installed(site, program))
    assert all(Path(file).is_relative_to(site) for file in files), files
    assert version == said and wheel.name.startswith(f"toca_diffusion-{version}-")


def test_the_wheel_brings_every_command_along(site):
    program = "sys.argv = ['toca', 'eval', '--help']; from toca.pipelines.cli import main; main()"
    assert "random-weights" in run_installed(site, program)
    listed = run_installed(site, program.replace("'eval', ", ""))
    commands = ("generate", "methods", "models", "plan", "calibrate", "env", "eval")
    places = [listed.index(f"│ {name}") for name in commands]
    assert places == sorted(places)


def test_whoever_cites_it_cites_this_release():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    assert cited == toca.__version__
    assert f"{cited}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("where", ["root", "elsewhere"])
def test_the_installed_packages_import_from_the_root_and_from_elsewhere(tmp_path, where):
    program = "import toca.pipelines, toca.eval; print(toca.pipelines.__file__)"
    file = run(sys.executable, "-c", program, cwd=ROOT if where == "root" else tmp_path).strip()
    assert Path(file).parent.name == "pipelines"


def test_nothing_names_a_package_index():
    for name in ("pyproject.toml", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert "http" not in text and "--index" not in text and "find-links" not in text, name
