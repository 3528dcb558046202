"""The tested releases are said in one place, the floors agree with them, and `toca env` knows what lies outside."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from toca.pipelines import tested_versions
from toca.pipelines.running.env import run
from toca.pipelines.tested_versions import pins, untested

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, to which pytest brings it
    import tomli as tomllib

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(*lists: list[str]) -> dict[str, SpecifierSet]:
    """What the lists ask for, by package."""
    found: dict[str, SpecifierSet] = {}
    for requirement in map(Requirement, sum(lists, [])):
        name = canonicalize_name(requirement.name)
        found[name] = found.get(name, SpecifierSet()) & requirement.specifier
    del found[canonicalize_name(PROJECT["name"])]
    return found


def floor(specifiers: SpecifierSet) -> Version:
    return max(Version(one.version) for one in specifiers if one.operator == ">=")


def test_the_oldest_pins_are_the_floors():
    """Another bug-fix release stands for a floor that was withdrawn."""
    asked = requirements(PROJECT["dependencies"], EXTRAS["dev"], EXTRAS["eval"], EXTRAS["video"])
    oldest = pins("oldest")
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(f">={oldest.pop('python')}")
    assert set(oldest) == set(asked)
    for name, specifiers in asked.items():
        assert oldest[name] in specifiers, name
        assert Version(oldest[name]).release[:2] == (*floor(specifiers).release, 0)[:2], name


def test_the_newest_pins_are_allowed():
    """Of the extras that the suite runs with; the demo and the documentation are made in environments of their own."""
    asked = requirements(PROJECT["dependencies"], *(EXTRAS[name] for name in ("dev", "eval", "video", "peers")))
    newest = pins("newest")
    del newest["python"]
    assert set(newest) == set(asked)
    assert all(newest[name] in specifiers for name, specifiers in asked.items())
    older = [name for name, pin in pins("oldest").items() if name in newest and Version(pin) > Version(newest[name])]
    assert not older


@pytest.mark.parametrize(
    ("here", "outside"),
    [
        ("1.9.9", True),
        ("2.6.0+cpu", False),
        ("2.7.1", False),
        ("2.15.0+cu132", False),
        ("2.15.9", False),  # a bug-fix release
        ("2.16.0.dev20261101", True),
        ("3.0", True),
        (None, False),  # not installed
    ],
)
def test_what_lies_outside_is_said(monkeypatch, here, outside):
    monkeypatch.setattr(tested_versions, "pins", lambda end: {"torch": {"oldest": "2.6.0", "newest": "2.15.0"}[end]})
    monkeypatch.setattr(tested_versions, "_installed", {"torch": here}.get)
    sentence = f"torch {here} is not tested: the tests ran with 2.6.0 to 2.15.0."
    assert untested(["torch", "triton"]) == [sentence] * outside


def test_toca_env_warns_of_untested_versions_and_of_no_other(monkeypatch, capsys):
    # Whatever is installed here is what the range is drawn around.
    monkeypatch.setattr(tested_versions, "pins", lambda end: {"torch": version("torch")})
    run(as_json=False)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(tested_versions, "pins", lambda end: {"torch": "99.0", "python": "2.0"})
    run(as_json=False)
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.err.splitlines()] == ["python", "torch"]
    assert version("torch") in said.out
